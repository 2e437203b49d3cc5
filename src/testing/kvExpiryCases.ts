import { assert, describe } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Case, Cases } from "./kvSupport.ts"
import { conflict, failure, setAll, some, valueOf, watching } from "./kvSupport.ts"
import { machinePace } from "./pace.ts"

const ttl = 300 * machinePace

const refusedExpiry: ReadonlyArray<unknown> = [
  0,
  -1,
  Number.NaN,
  "0 millis",
  "-5 seconds",
  "soon",
  -1n,
  {},
  "-Infinity"
]

/** Whether a key is there, only said when the clock did not pass the deadline during the read. */
const alive = ({ kv }: Case, key: Kv.Key, deadline: number) =>
  Effect.gen(function* () {
    const before = yield* kv.now
    const there = yield* kv.has(key)
    const after = yield* kv.now
    if (after < deadline) assert.isTrue(there, `gone ${deadline - after} ms before its deadline`)
    if (before >= deadline) assert.isFalse(there, `still there ${before - deadline} ms after its deadline`)
    return there
  })

const count = (events: ReadonlyArray<Kv.Change>, tag: Kv.Change["_tag"]) =>
  events.filter((event) => event._tag === tag).length

export const expiryCases = (test: Cases): void => {
  describe("expiry", () => {
    test("lies its duration after the commit, by the store's clock, and says so in the entry", ({ key, kv }) =>
      Effect.gen(function* () {
        const before = yield* kv.now
        yield* kv.set(key("a"), 1, { expireIn: ttl })
        yield* Kv.atomic([Kv.set(key("b"), 1, { expireIn: "2 hours" })])
        const after = yield* kv.now
        const [a, b] = yield* kv.getMany([key("a"), key("b")])
        const of = (entry: Option.Option<Kv.Entry>) => some(some(entry).expiresAt)
        assert.isTrue(of(a!) >= before + ttl && of(a!) <= after + ttl)
        assert.isTrue(of(b!) >= before + 7_200_000 && of(b!) <= after + 7_200_000)
      }))

    test("is exact: there until its deadline, gone from it on", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv, virtual } = c
        yield* kv.set(key("a"), 1, { expireIn: ttl })
        const deadline = some(some(yield* kv.get(key("a"))).expiresAt)
        assert.isTrue(yield* alive(c, key("a"), deadline))
        yield* advance(ttl - 50)
        for (let i = 0; i < 50; i++) {
          yield* advance(1)
          const there = yield* alive(c, key("a"), deadline)
          if (virtual) assert.strictEqual(there, i < 49)
        }
        while ((yield* kv.now) < deadline) yield* advance(1)
        assert.isFalse(yield* alive(c, key("a"), deadline))
      }))

    test("hides the entry from get, getMany, has, list, pages, counting and checks alike", ({
      advance,
      key,
      kv,
      root
    }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root, "p"], { key: Schema.String, value: Schema.String })
        const expireIn = ttl
        yield* Kv.atomic([
          Kv.set(key("p", "a"), "goes", { expireIn }),
          Kv.set(key("p", "b"), "stays"),
          Names.set("c", "goes", { expireIn }),
          Kv.set(key("p", "d"), "stays"),
          Kv.set(key("p", "e"), "goes", { expireIn })
        ])
        const old = yield* kv.get(key("p", "a"))
        assert.strictEqual((yield* Stream.runCollect(kv.list({ prefix: key("p") }))).length, 5)
        yield* advance(ttl)
        assert.isTrue(Option.isNone(yield* kv.get(key("p", "a"))))
        assert.isTrue(Option.isNone(yield* Names.get("c")))
        assert.isFalse(yield* kv.has(key("p", "e")))
        const many = yield* kv.getMany(["a", "b", "c", "d", "e"].map((name) => key("p", name)))
        assert.deepStrictEqual(many.map(valueOf), ["(none)", "stays", "(none)", "stays", "(none)"])
        const keys = (entries: ReadonlyArray<Kv.Entry>) => entries.map((entry) => entry.key[2])
        assert.deepStrictEqual(keys(yield* Stream.runCollect(kv.list({ prefix: key("p") }))), ["b", "d"])
        assert.deepStrictEqual(keys(yield* Stream.runCollect(kv.list({ prefix: key("p") }, { reverse: true }))), [
          "d",
          "b"
        ])
        const page = yield* kv.page({ prefix: key("p") }, { limit: 2 })
        assert.deepStrictEqual(keys(page.entries), ["b", "d"])
        assert.isTrue(Option.isNone(page.cursor))
        yield* conflict(Kv.atomic([Kv.check(key("p", "a"), old)]))
        yield* Kv.atomic([Kv.check(key("p", "a"), null), Kv.set(key("p", "a"), "new")])
        assert.strictEqual(valueOf(yield* kv.get(key("p", "a"))), "new")
      }))

    test("lets sum and min begin anew at an expired key, without an expiry", ({ advance, key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.sum(key("n"), 5n)
        const steps = [Kv.set(key("json"), 1, { expireIn: ttl }), Kv.set(key("kept"), 1, { expireIn: ttl })]
        yield* Kv.atomic(steps)
        yield* advance(ttl)
        yield* Kv.sum(key("json"), 2n)
        yield* Kv.min(key("kept"), 9n)
        const found = yield* kv.getMany([key("n"), key("json"), key("kept")])
        assert.deepStrictEqual(found.map(valueOf), [5n, 2n, 9n])
        assert.deepStrictEqual(
          found.map((entry) => Option.isNone(some(entry).expiresAt)),
          [true, true, true]
        )
      }))

    test("is removed by setting without expireIn, and replaced by setting with another", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv, root } = c
        const Names = Kv.collection([root, "names"], { key: Schema.String, value: Schema.String })
        const expireIn = ttl
        yield* Kv.atomic([
          Kv.set(key("plain"), 1, { expireIn }),
          Kv.set(key("infinite"), 1, { expireIn }),
          Kv.set(key("longer"), 1, { expireIn }),
          Kv.set(key("shorter"), 1, { expireIn: 100 * ttl }),
          Names.set("set", "1", { expireIn }),
          Names.set("updated", "1", { expireIn })
        ])
        const watcher = yield* watching(c, kv.watchPrefix([root]))
        yield* watcher.synced
        yield* kv.set(key("plain"), 2)
        yield* kv.set(key("infinite"), 2, { expireIn: "Infinity" })
        yield* kv.set(key("longer"), 2, { expireIn: 100 * ttl })
        yield* kv.set(key("shorter"), 2, { expireIn })
        yield* Names.set("set", "2")
        const updated = yield* Names.update("updated", () => Effect.succeed("2"))
        assert.isTrue(Option.isNone(updated.expiresAt))
        yield* advance(ttl + 1)
        const found = yield* kv.getMany([
          ...["plain", "infinite", "longer", "shorter"].map((name) => key(name)),
          Names.at("set"),
          Names.at("updated")
        ])
        assert.deepStrictEqual(found.map(valueOf), [2, 2, 2, "(none)", "2", "2"])
        assert.isTrue(Option.isNone(some(found[0]!).expiresAt))
        assert.isTrue(Option.isNone(some(found[1]!).expiresAt))
        assert.isTrue(Option.isSome(some(found[2]!).expiresAt))
        yield* watcher.until("one Expire", (w) => count(w.events, "Expire") === 1)
      }))

    test("is kept by update when it is given again", ({ advance, key, kv, root }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root], { key: Schema.String, value: Schema.String })
        const entry = yield* Names.update("a", () => Effect.succeed("1"), { expireIn: ttl })
        assert.deepStrictEqual(some(yield* kv.get(key("a"))).expiresAt, entry.expiresAt)
        assert.isTrue(Option.isSome(entry.expiresAt))
        yield* advance(ttl)
        assert.isFalse(yield* kv.has(key("a")))
      }))

    test("must be a duration above zero: anything else is InvalidExpiry", ({ key, kv }) =>
      Effect.gen(function* () {
        for (const bad of refusedExpiry) {
          const expireIn = bad as Duration.Input
          yield* failure("InvalidExpiry", kv.set(key("a"), 1, { expireIn }))
          yield* failure("InvalidExpiry", Kv.atomic([Kv.set(key("a"), 1, { expireIn })]))
        }
        assert.isFalse(yield* kv.has(key("a")))
        yield* kv.set(key("a"), 1, { expireIn: "Infinity" })
        assert.isTrue(Option.isNone(some(yield* kv.get(key("a"))).expiresAt))
        yield* kv.set(key("a"), 1, { expireIn: undefined })
        assert.isTrue(Option.isNone(some(yield* kv.get(key("a"))).expiresAt))
      }))

    test("may be a fraction of a millisecond or thousands of years", ({ advance, key, kv, virtual }) =>
      Effect.gen(function* () {
        yield* kv.set(key("short"), 1, { expireIn: "500 micros" })
        if (virtual) assert.isTrue(yield* kv.has(key("short")))
        yield* kv.set(key("long"), 1, { expireIn: "3652000 days" })
        yield* kv.set(key("longest"), 1, { expireIn: Number.MAX_SAFE_INTEGER })
        yield* advance(1)
        assert.isFalse(yield* kv.has(key("short")))
        const [long, longest] = yield* kv.getMany([key("long"), key("longest")])
        assert.isTrue(some(some(long!).expiresAt) > 3_652_000 * 86_399_000)
        assert.isTrue(Option.isSome(some(longest!).expiresAt))
      }))

    test("is told to watchers as Expire, exactly once, also when nobody reads", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv, pause, root } = c
        const total = 600
        // Long enough for all of them to be seen before the first is over, on a busy machine too.
        const long = 4 * ttl
        const ranges = yield* watching(c, kv.watchPrefix([root]))
        const single = yield* watching(c, kv.watch([key(7)]))
        yield* ranges.synced
        yield* single.synced
        for (let i = 0; i < total; i += 300) {
          yield* Kv.atomic(
            Array.from({ length: 300 }, (_, n) => Kv.set(key(i + n), n, { expireIn: long + ((i + n) % 3) * 100 }))
          )
        }
        yield* ranges.until("all Puts", (w) => w.state().size === total)
        yield* advance(long - 200)
        yield* advance(500)
        yield* ranges.until("all Expires", (w) => count(w.events, "Expire") >= total)
        yield* single.until("its Expire", (w) => count(w.events, "Expire") === 1)
        for (let i = 0; i < 20; i++) yield* pause
        yield* advance(1_000)
        const expired = ranges.events.flatMap((event) => (event._tag === "Expire" ? [event.key[1]] : []))
        assert.strictEqual(expired.length, total)
        assert.strictEqual(new Set(expired).size, total)
        assert.strictEqual(ranges.state().size, 0)
        assert.strictEqual(count(ranges.events, "Delete"), 0)
        assert.strictEqual(count(single.events, "Expire"), 1)
      }))

    test("is told once, or not at all, when the key is written or deleted from its deadline on", (c) =>
      Effect.gen(function* () {
        const { advance, key, kv, pause, root } = c
        // Long enough for all of them to be there when the watch begins, on a slow store too.
        for (let i = 0; i < 20; i++) yield* kv.set(key(i), "old", { expireIn: 6 * ttl })
        const watcher = yield* watching(c, kv.watchPrefix([root]))
        yield* watcher.synced
        const deadline = some(some(yield* kv.get(key(19))).expiresAt)
        while ((yield* kv.now) < deadline) yield* advance(deadline - (yield* kv.now))
        for (let i = 0; i < 20; i++) yield* i % 2 === 0 ? kv.set(key(i), "new") : kv.delete(key(i))
        yield* watcher.until("the end state", (w) => w.state().size === 10 && count(w.events, "Put") === 30)
        for (let i = 0; i < 20; i++) yield* pause
        const ends = (i: number) =>
          watcher.events.filter((event) => (event._tag === "Expire" || event._tag === "Delete") && event.key[1] === i)
            .length
        for (let i = 0; i < 20; i++) {
          if (i % 2 === 0) assert.isAtMost(ends(i), 1)
          else assert.strictEqual(ends(i), 1)
        }
      }))

    test("never comes early: an hour is an hour, and a year a year", ({ advance, key, kv, virtual }) =>
      Effect.gen(function* () {
        const hour = 3_600_000
        yield* setAll(kv, [[key("stays"), 1]])
        yield* kv.set(key("hour"), 1, { expireIn: "1 hour" })
        yield* kv.set(key("year"), 1, { expireIn: "365 days" })
        yield* advance(virtual ? hour - 1 : 50)
        assert.isTrue(yield* kv.has(key("hour")))
        if (!virtual) return
        yield* advance(1)
        assert.isFalse(yield* kv.has(key("hour")))
        yield* advance(364 * 24 * hour)
        yield* advance(23 * hour - 1)
        assert.isTrue(yield* kv.has(key("year")))
        yield* advance(1)
        assert.isFalse(yield* kv.has(key("year")))
        assert.isTrue(yield* kv.has(key("stays")))
      }))
  })
}
