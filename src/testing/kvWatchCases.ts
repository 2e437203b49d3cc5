import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Case, Cases } from "./kvSupport.ts"
import { assertOrdered, failure, keyText, setAll, some, untilEqual, valueOf, watching } from "./kvSupport.ts"

/** What a watch said, brief enough to compare: `Put a 1`, `Delete a`, `Synced`. */
const brief = (changes: ReadonlyArray<Kv.Change>): ReadonlyArray<string> =>
  changes.map((change) => {
    if (change._tag === "Put") return `Put ${change.entry.key.slice(1).join(".")} ${JSON.stringify(change.entry.value)}`
    return change._tag === "Delete" || change._tag === "Expire"
      ? `${change._tag} ${change.key.slice(1).join(".")}`
      : change._tag
  })

const cursorOf = (changes: ReadonlyArray<Kv.Change>): Kv.Cursor => {
  const last = changes.findLast((change) => change._tag === "Synced" || change._tag === "Progress")
  return last === undefined ? assert.fail("no cursor was handed out") : last.cursor
}

export const watchCases = (test: Cases): void => {
  describe("a watch", () => {
    test("of a prefix gives the current state in key order, then Synced, then the changes", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv } = c
        yield* kv.set(key("p", "b"), 1)
        yield* kv.set(key("p", "a"), 2)
        yield* kv.set(key("p"), "the prefix itself")
        yield* kv.set(key("q"), "outside")
        const w = yield* watching(c, kv.watchPrefix(key("p")))
        yield* w.synced
        assert.deepStrictEqual(brief(w.events), ["Put p.a 2", "Put p.b 1", "Synced"])
        const seen = (what: string, n: number) => w.until(what, () => w.events.length >= n)
        yield* kv.set(key("p", "new"), 3)
        yield* seen("the new key", 4)
        yield* kv.set(key("p", "a"), 4, { expireIn: 300 })
        yield* seen("the rewrite", 5)
        yield* kv.delete(key("p", "b"))
        yield* seen("the delete", 6)
        yield* advance(301)
        yield* seen("the expiry", 7)
        yield* kv.set(key("p"), "outside")
        yield* kv.set(key("q"), "outside")
        yield* kv.set(key("p\0"), "outside")
        yield* kv.delete(key("p", "never"))
        yield* Kv.sum(key("p", "n"), 5n)
        yield* w.until("the counter", () => w.state().has(keyText(key("p", "n"))))
        const text = brief(w.events.slice(3, 7))
        assert.deepStrictEqual(text, ["Put p.new 3", "Put p.a 4", "Delete p.b", "Expire p.a"])
        assert.isFalse(
          w.events.some((event) => event._tag === "Put" && event.entry.value === "outside"),
          w.tags()
        )
        assert.strictEqual(w.state().get(keyText(key("p", "n")))?.value, 5n)
      }))

    test("of single keys tells of those only, and gives nothing for a missing one until it exists", (c) =>
      Effect.gen(function* () {
        const { key, kv } = c
        yield* kv.set(key("a"), 1)
        const w = yield* watching(c, kv.watch([key("a"), key("b"), key("a")]))
        yield* w.synced
        assert.deepStrictEqual(brief(w.events), ["Put a 1", "Synced"])
        yield* kv.set(key("c"), 1)
        yield* kv.set(key("a", "below"), 1)
        yield* kv.set(key("b"), 2)
        yield* w.until("b", () => w.events.length === 3)
        yield* kv.delete(key("a"))
        yield* w.until("the delete", () => w.events.length === 4)
        assert.deepStrictEqual(brief(w.events.slice(2)), ["Put b 2", "Delete a"])
      }))

    test("gives whole entries, and the versionstamps of the commits it tells of", (c) =>
      Effect.gen(function* () {
        const { key, kv } = c
        yield* kv.set(key("a"), 1, { expireIn: "1 hour" })
        const w = yield* watching(c, kv.watch([key("a")]))
        yield* w.synced
        const [first] = w.events
        assert.deepStrictEqual(first?._tag === "Put" && first.entry, some(yield* kv.get(key("a"))))
        const set = yield* kv.set(key("a"), { b: 2 })
        yield* w.until("the set", () => w.events.length === 3)
        const gone = yield* kv.delete(key("a"))
        yield* w.until("the delete", () => w.events.length === 4)
        assert.deepStrictEqual(
          w.events.slice(2).map((e) => (e._tag === "Put" ? e.entry.versionstamp : e._tag === "Delete" ? e.versionstamp : "")),
          [set, gone]
        )
      }))

    test("without initial state begins with Synced and gives what happens from then on", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        yield* kv.set(key("a"), 1)
        const w = yield* watching(c, kv.watchPrefix([root], { initial: false }))
        const k = yield* watching(c, kv.watch([key("a")], { initial: false }))
        yield* w.synced
        yield* k.synced
        yield* kv.set(key("a"), 2)
        yield* w.until("the set", () => w.events.length === 2)
        yield* k.until("the set", () => k.events.length === 2)
        assert.deepStrictEqual(brief(w.events), ["Synced", "Put a 2"])
        assert.deepStrictEqual(brief(k.events), ["Synced", "Put a 2"])
      }))

    test("shows the final state of every key after a burst, in versionstamp order along each key", (c) =>
      Effect.gen(function* () {
        const { key, kv, root, settle } = c
        const w = yield* watching(c, kv.watchPrefix([root]))
        const k = yield* watching(c, kv.watch([key(0), key(1)]))
        yield* w.synced
        yield* settle(
          Effect.forEach(
            Array.from({ length: 500 }, (_, i) => i),
            (i) =>
              i % 11 === 0
                ? kv.delete(key(i % 10))
                : i % 13 === 0
                  ? Kv.atomic([Kv.set(key(i % 10), i), Kv.set(key((i + 1) % 10), i), Kv.sum(key("n"), 1n)])
                  : kv.set(key(i % 10), i),
            { concurrency: 20, discard: true }
          )
        )
        yield* untilEqual(c, w, [root])
        const both = yield* kv.getMany([key(0), key(1)])
        yield* k.until("the final state", () => [0, 1].every((i) => (k.state().get(keyText(key(i)))?.value ?? "(none)") === valueOf(both[i]!)))
        assertOrdered(w.events)
        assertOrdered(k.events)
        assert.notInclude(w.tags(), "Reset")
      }))

    test("misses nothing between its initial read and its subscription, while others write", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        yield* setAll(
          kv,
          Array.from({ length: 700 }, (_, i) => [key("p", i), 0] as const)
        )
        let stop = false
        const writer = (seed: number) =>
          Effect.gen(function* () {
            for (let i = 0; !stop && i < 3_000; i++) {
              const at = key("p", (i * 37 + seed * 101) % 900)
              yield* (i + seed) % 5 === 0 ? kv.delete(at) : kv.set(at, i)
              if (i % 3 === 0) yield* Effect.yieldNow
            }
          })
        const writers = yield* Effect.forEach([1, 2, 3], (seed) => Effect.forkChild(writer(seed)))
        const watchers = []
        for (let i = 0; i < 12; i++) {
          watchers.push(yield* watching(c, i % 3 === 0 ? kv.watch([key("p", 5), key("p", 37)]) : kv.watchPrefix(key("p"))))
          for (let n = 0; n < i; n++) yield* Effect.yieldNow
        }
        for (const w of watchers) yield* w.synced
        stop = true
        yield* Effect.forEach(writers, Fiber.join)
        for (const [i, w] of watchers.entries()) {
          if (i % 3 !== 0) yield* untilEqual(c, w, key("p"))
          assertOrdered(w.events)
        }
        const both = yield* kv.getMany([key("p", 5), key("p", 37)])
        for (const w of watchers.filter((_, i) => i % 3 === 0)) {
          yield* w.until("the final state", () =>
            [5, 37].every((n, i) => (w.state().get(keyText(key("p", n)))?.value ?? "(none)") === valueOf(both[i]!))
          )
        }
        assert.strictEqual((yield* Stream.runCollect(kv.list({ prefix: [root] }))).length, watchers[1]!.state().size)
      }))

    test("gives a large initial state whole, then the changes made while it was read", (c) =>
      Effect.gen(function* () {
        const { key, kv } = c
        const total = 2_500
        yield* setAll(
          kv,
          Array.from({ length: total }, (_, i) => [key("p", i), i] as const)
        )
        let puts = 0
        const w = yield* watching(c, kv.watchPrefix(key("p")), () =>
          Effect.suspend(() => {
            puts++
            if (puts !== 300 && puts !== 2_000) return Effect.void
            return Effect.orDie(
              Kv.atomic([
                Kv.set(key("p", 10), "changed"),
                Kv.set(key("p", 2_400), "changed"),
                Kv.delete(key("p", 20)),
                Kv.delete(key("p", 2_300)),
                Kv.set(key("p", -1), "new")
              ]).pipe(Effect.provideService(Kv.Kv, kv))
            )
          })
        )
        yield* w.synced
        yield* untilEqual(c, w, key("p"))
        assert.strictEqual(w.state().size, total - 1)
        assert.strictEqual(w.events.filter((event) => event._tag === "Synced").length, 1)
        assertOrdered(w.events)
      }))

    test("lets a consumer be as slow as it likes, with the final state in the end", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const gate = yield* Deferred.make<void>()
        const w = yield* watching(c, kv.watchPrefix([root]), (change) =>
          change._tag === "Put" && change.entry.value === "stop" ? Deferred.await(gate) : Effect.void
        )
        yield* w.synced
        yield* kv.set(key("a"), "stop")
        for (let i = 0; i < 300; i++) yield* kv.set(key("b", i % 7), i)
        yield* kv.delete(key("b", 0))
        yield* Deferred.succeed(gate, undefined)
        yield* untilEqual(c, w, [root])
        assertOrdered(w.events)
      }))

    test("of no keys syncs; of a bad key fails with InvalidKey", (c) =>
      Effect.gen(function* () {
        const { kv } = c
        const w = yield* watching(c, kv.watch([]))
        yield* w.synced
        yield* failure("InvalidKey", Stream.runDrain(kv.watch([[Number.NaN]])))
      }))

    test("can be stopped and started any number of times", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        for (let i = 0; i < 30; i++) {
          const first = yield* kv.watchPrefix([root]).pipe(
            Stream.takeUntil((change) => change._tag === "Synced"),
            Stream.runCollect
          )
          assert.strictEqual(first.length, i + 1)
          yield* kv.set(key(i), i)
        }
        const names = (yield* kv.health).parts.map((part) => part.name)
        assert.strictEqual(new Set(names).size, names.length, `parts are left over: ${names.join(", ")}`)
      }))

    test("of a typed collection decodes, and fails or skips what does not decode, as told", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const Days = Kv.collection([root], { key: Schema.String, value: Schema.Date })
        yield* Days.set("a", new Date(1))
        yield* kv.set(key("b"), "SECRET-VALUE")
        yield* Days.set("c", new Date(3))
        const warnings: Array<string> = []
        const logger = Logger.make((options) => void warnings.push(String(options.message)))
        const skipping = { onInvalid: "skip" } as const
        const times = (changes: ReadonlyArray<Kv.Change<Date>>) =>
          changes.flatMap((change) => (change._tag === "Put" ? [change.entry.value.getTime()] : []))
        const w = yield* watching(c, Days.watchPrefix([], skipping)).pipe(Effect.provide(Logger.layer([logger])))
        yield* w.synced
        assert.deepStrictEqual(times(w.events), [1, 3])
        assert.isAbove(warnings.length, 0)
        yield* kv.set(key("d"), { not: "a date" })
        yield* Days.set("e", new Date(5))
        yield* w.until("what comes after", () => times(w.events).length === 3)
        yield* kv.delete(key("b"))
        yield* w.until("the delete", () => w.events.some((event) => event._tag === "Delete"))
        const k = yield* watching(c, Days.watch(["a", "b", "c"], skipping))
        yield* k.synced
        assert.deepStrictEqual(times(k.events), [1, 3])

        yield* failure("Undecodable", Stream.runDrain(Days.watchPrefix()))
        yield* failure("Undecodable", Stream.runDrain(Days.watch(["d"])))
        yield* failure("Undecodable", Stream.runDrain(Days.list()))
        yield* failure("Undecodable", Days.page())
        const listed = yield* Stream.runCollect(Days.list(skipping))
        assert.deepStrictEqual(
          listed.map((entry) => entry.value.getTime()),
          [1, 3, 5]
        )
        assert.strictEqual((yield* Days.page(skipping)).entries.length, 3)
        assert.notInclude(warnings.join("\n"), "SECRET-VALUE")
      }))
  })
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
          yield* w.until("the changes", () => w.events.filter((e) => e._tag === "Put" || e._tag === "Delete").length === 3)
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
        const k = yield* watching(c, kv.watch(["gone", "kept", "changed", "stop", "many"].map((name) => key(name))), hold)
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
