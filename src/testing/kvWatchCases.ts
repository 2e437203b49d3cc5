import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { assertOrdered, brief, failure, keyText, setAll, some, untilEqual, valueOf, watching } from "./kvSupport.ts"

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
          w.events
            .slice(2)
            .map((e) => (e._tag === "Put" ? e.entry.versionstamp : e._tag === "Delete" ? e.versionstamp : "")),
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
        yield* k.until("the final state", () =>
          [0, 1].every((i) => (k.state().get(keyText(key(i)))?.value ?? "(none)") === valueOf(both[i]!))
        )
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
        const running = new Set([1, 2, 3])
        const writer = (seed: number) =>
          Effect.gen(function* () {
            for (let i = 0; running.has(seed) && i < 3_000; i++) {
              const at = key("p", (i * 37 + seed * 101) % 900)
              yield* (i + seed) % 5 === 0 ? kv.delete(at) : kv.set(at, i)
              if (i % 3 === 0) yield* Effect.yieldNow
            }
          })
        const writers = yield* Effect.forEach([...running], (seed) => Effect.forkChild(writer(seed)))
        const watchers = []
        for (let i = 0; i < 12; i++) {
          watchers.push(
            yield* watching(c, i % 3 === 0 ? kv.watch([key("p", 5), key("p", 37)]) : kv.watchPrefix(key("p")))
          )
          for (let n = 0; n < i; n++) yield* Effect.yieldNow
        }
        for (const w of watchers) yield* w.synced
        running.clear()
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

    test("of a typed collection decodes, and fails or skips what does not decode, as told", (c) => {
      const warnings: Array<string> = []
      const logger = Logger.make((options) => void warnings.push(String(options.message)))
      return Effect.gen(function* () {
        const { key, kv, root } = c
        const Days = Kv.collection([root], { key: Schema.String, value: Schema.Date })
        yield* Days.set("a", new Date(1))
        yield* kv.set(key("b"), "SECRET-VALUE")
        yield* Days.set("c", new Date(3))
        const skipping = { onInvalid: "skip" } as const
        const times = (changes: ReadonlyArray<Kv.Change<Date>>) =>
          changes.flatMap((change) => (change._tag === "Put" ? [change.entry.value.getTime()] : []))
        const w = yield* watching(c, Days.watchPrefix([], skipping))
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
      }).pipe(Effect.provide(Logger.layer([logger])))
    })
  })
}
