import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Case, Cases } from "./kvSupport.ts"
import { assertOrdered, brief, failure, keyText, untilEqual, watching } from "./kvSupport.ts"

const cursorOf = (changes: ReadonlyArray<Kv.Change>): Kv.Cursor => {
  const last = changes.findLast((change) => change._tag === "Synced" || change._tag === "Progress")
  return last === undefined ? assert.fail("no cursor was handed out") : last.cursor
}

export const resumeCases = (test: Cases): void => {
  describe("resuming a watch", () => {
    const away = (c: Case) =>
      Effect.gen(function* () {
        const { key, kv } = c
        yield* Kv.atomic([Kv.set(key("a"), 1), Kv.set(key("b"), 1), Kv.set(key("c"), 1)])
        return yield* kv.set(key("a"), 2)
      })

    test("since a cursor gives what happened after it, and nothing else", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        if (!kv.capabilities.changeLog) return
        yield* away(c)
        const before = yield* watching(c, kv.watchPrefix([root]))
        yield* before.synced
        yield* before.stop
        const since = cursorOf(before.events)
        const stamp = yield* kv.set(key("a"), 3)
        yield* kv.delete(key("b"))
        yield* kv.set(key("d"), 1)
        for (const w of [
          yield* watching(c, kv.watchPrefix([root], { since })),
          yield* watching(c, kv.watch([key("a"), key("b"), key("c"), key("d")], { since }))
        ]) {
          yield* w.until(
            "the changes",
            () => w.events.filter((e) => e._tag === "Put" || e._tag === "Delete").length === 3
          )
          yield* kv.set(key("e"), w.events.length)
          const changes = w.events.filter((e) => e._tag === "Put" || e._tag === "Delete").slice(0, 3)
          assert.deepStrictEqual(brief(changes), ["Put a 3", "Delete b", "Put d 1"])
          assert.strictEqual(changes[0]?._tag === "Put" && changes[0].entry.versionstamp, stamp)
          assert.notInclude(w.tags(), "Reset")
        }
      }))

    test("since a versionstamp skips nothing that came after it", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        if (!kv.capabilities.changeLog) return
        const since = yield* away(c)
        yield* kv.set(key("a"), 3)
        yield* kv.delete(key("b"))
        yield* kv.set(key("d"), 1)
        const w = yield* watching(c, kv.watchPrefix([root], { since }))
        const wanted = ["Put a 3", "Delete b", "Put d 1"]
        yield* w.until("the changes", () => wanted.every((one) => brief(w.events).includes(one)))
        assertOrdered(w.events)
      }))

    test("with the initial state as well, when that is asked for", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        if (!kv.capabilities.changeLog) return
        const since = yield* away(c)
        yield* kv.set(key("d"), 1)
        const w = yield* watching(c, kv.watchPrefix([root], { since, initial: true }))
        yield* w.synced
        yield* untilEqual(c, w, [root])
        assert.strictEqual(w.state().size, 4)
      }))

    test("chained over many stops loses no change", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        if (!kv.capabilities.changeLog) return
        const first = yield* watching(c, kv.watchPrefix([root]))
        yield* first.synced
        yield* first.stop
        const since = cursorOf(first.events)
        const seen = new Map<string, unknown>()
        for (let round = 0; round < 10; round++) {
          for (let i = 0; i < 5; i++) yield* kv.set(key(i), `${round}.${i}`)
          // Stops in the middle: the next round repeats from the same cursor, and must see the end state too.
          yield* kv.watchPrefix([root], { since }).pipe(
            Stream.takeUntil((change) => change._tag === "Put" && change.entry.value === `${round}.4`),
            Stream.runForEach((change) =>
              Effect.sync(() => {
                if (change._tag === "Put") seen.set(keyText(change.entry.key), change.entry.value)
              })
            )
          )
          for (let i = 0; i < 5; i++) assert.strictEqual(seen.get(keyText(key(i))), `${round}.${i}`)
        }
      }))

    test("is possible for a watcher of a quiet prefix too: Progress hands out later cursors", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv, pause, virtual } = c
        if (!kv.capabilities.changeLog) return
        const w = yield* watching(c, kv.watchPrefix(key("quiet")))
        yield* w.synced
        const progressed = () => w.events.some((event) => event._tag === "Progress")
        for (let i = 0; i < 2_000 && !progressed(); i++) {
          yield* kv.set(key("busy"), i)
          yield* virtual ? advance(100) : pause
        }
        yield* w.until("Progress", progressed)
        yield* w.stop
        yield* kv.set(key("quiet", "a"), 1)
        const again = yield* watching(c, kv.watchPrefix(key("quiet"), { since: cursorOf(w.events) }))
        yield* again.until("the change", () => brief(again.events).includes("Put quiet.a 1"))
        assert.strictEqual(again.events.filter((event) => event._tag === "Put").length, 1)
      }))

    test("fails with Compacted for a cursor or a versionstamp the store does not know", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        if (!kv.capabilities.changeLog) return
        const stamp = yield* away(c)
        const w = yield* watching(c, kv.watchPrefix([root]))
        yield* w.synced
        const cursor = cursorOf(w.events)
        const digit = (text: string) => (text === "0" ? "1" : "0")
        const foreign = `${digit(cursor[0]!)}${cursor.slice(1)}` as Kv.Cursor
        const unknown = `${stamp.slice(0, -1)}${digit(stamp.at(-1)!)}` as Kv.Versionstamp
        for (const since of [foreign, unknown, "nonsense" as Kv.Cursor, "non.sense" as Kv.Cursor, "" as Kv.Cursor]) {
          yield* failure("Compacted", Stream.runDrain(kv.watchPrefix([root], { since })))
          yield* failure("Compacted", Stream.runDrain(kv.watch([key("a")], { since })))
        }
      }))
  })
}

export const shortLogCases = (test: Cases, lines: number): void => {
  describe("a trimmed change log", () => {
    const overflow = (kv: Kv.Service, key: Kv.Key) =>
      Effect.forEach(Array.from({ length: lines + 50 }), (_, i) => kv.set(key, i), { discard: true })

    test("gives a slow watcher Reset, then the full state; what is not repeated is gone", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const gate = yield* Deferred.make<void>()
        yield* Kv.atomic([Kv.set(key("gone"), 1), Kv.set(key("kept"), 1), Kv.set(key("changed"), 1)])
        const hold = (change: Kv.Change) =>
          change._tag === "Put" && change.entry.value === "stop" ? Deferred.await(gate) : Effect.void
        const w = yield* watching(c, kv.watchPrefix([root]), hold)
        const k = yield* watching(
          c,
          kv.watch(["gone", "kept", "changed", "stop", "many"].map((name) => key(name))),
          hold
        )
        yield* w.synced
        yield* k.synced
        yield* kv.set(key("stop"), "stop")
        for (const one of [w, k]) {
          yield* one.until("the stop", () => one.events.some((e) => e._tag === "Put" && e.entry.value === "stop"))
        }
        yield* kv.delete(key("gone"))
        yield* kv.set(key("changed"), 2)
        yield* kv.set(key("stop"), "go")
        yield* overflow(kv, key("many"))
        yield* Deferred.succeed(gate, undefined)
        for (const one of [w, k]) {
          yield* one.until("Reset and Synced", () => one.events.filter((e) => e._tag === "Synced").length === 2)
          yield* untilEqual(c, one, [root])
          assert.strictEqual(one.events.filter((event) => event._tag === "Reset").length, 1)
          const after = one.events.slice(one.events.findIndex((event) => event._tag === "Reset") + 1)
          assert.isFalse(after.some((event) => event._tag === "Put" && event.entry.key[1] === "gone"))
          assert.isTrue(after.some((event) => event._tag === "Put" && event.entry.key[1] === "kept"))
        }
        yield* kv.set(key("kept"), "goes on")
        yield* untilEqual(c, w, [root])
      }))

    test("makes old cursors and versionstamps fail with Compacted, never skip", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const stamp = yield* kv.set(key("a"), 1)
        const w = yield* watching(c, kv.watchPrefix([root]))
        yield* w.synced
        yield* w.stop
        yield* overflow(kv, key("many"))
        for (const since of [cursorOf(w.events), stamp]) {
          yield* failure("Compacted", Stream.runDrain(kv.watchPrefix([root], { since })))
          yield* failure("Compacted", Stream.runDrain(kv.watch([key("a")], { since })))
        }
        const recent = yield* kv.set(key("a"), 2)
        yield* kv.set(key("a"), 3)
        const again = yield* watching(c, kv.watchPrefix([root], { since: recent }))
        yield* again.until("the change", () => brief(again.events).includes("Put a 3"))
      }))

    test("takes a commit with more entries than it has lines", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const w = yield* watching(c, kv.watchPrefix([root]))
        yield* w.synced
        const total = Math.min(1_000, lines + 10)
        yield* Kv.atomic(Array.from({ length: total }, (_, i) => Kv.set(key(i), i)))
        yield* untilEqual(c, w, [root])
        assert.strictEqual(w.state().size, total)
      }))
  })
}
