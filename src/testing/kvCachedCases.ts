import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Kv from "../Kv.ts"
import { failsWith, type PatternCase, type PatternCases, successOf } from "./kvPatternsSupport.ts"

class NoSuch extends Schema.TaggedError<NoSuch>()("NoSuch", { id: Schema.String, at: Schema.Date }) {}
class Down extends Schema.TaggedError<Down>()("Down", {}) {}

/** A cache on each client, and what their lookups did. */
const caches = <E>(
  c: PatternCase,
  lookup: (id: string, n: number, who: "one" | "two") => Effect.Effect<number, E>,
  options?: {
    readonly timeToLive?: number
    readonly staleFor?: number
    readonly errorTimeToLive?: number
    readonly jitter?: number
  }
) =>
  Effect.gen(function* () {
    const looked: Array<string> = []
    const cacheOn = (kv: Kv.Service, who: "one" | "two") =>
      c.on(kv)(
        Kv.cached([c.root, "cache"], {
          key: Schema.String,
          success: Schema.Finite,
          error: NoSuch,
          lookup: (id) => Effect.suspend(() => lookup(id, looked.push(`${who} ${id}`), who)),
          timeToLive: options?.timeToLive ?? 60_000,
          errorTimeToLive: options?.errorTimeToLive ?? 60_000,
          staleFor: options?.staleFor ?? 0,
          jitter: options?.jitter ?? 0,
          lease: c.lease
        })
      )
    return { looked, one: yield* cacheOn(c.one, "one"), two: yield* cacheOn(c.two, "two") }
  })

/** Milliseconds of virtual time, and as many of real time as a busy machine may need for what must happen within. */
const span = (c: PatternCase, millis: number) => (c.virtual ? millis : 5 * millis)

export const cachedCases = (test: PatternCases): void => {
  describe("cached", () => {
    test("computes once for all who ask at the same time, in both processes", (c) =>
      Effect.gen(function* () {
        const { looked, one, two } = yield* caches(c, (_, n) => Effect.as(Effect.sleep(60), n))
        const fibers = yield* Effect.forEach(Array.from({ length: 30 }), (_, i) =>
          c.beside(c.one, (i % 2 === 0 ? one : two).get(i % 3 === 0 ? "b" : "a"))
        )
        const values = yield* Effect.forEach(fibers, (fiber) => Effect.map(c.end(fiber), successOf))
        assert.strictEqual(looked.length, 2, looked.join(", "))
        assert.strictEqual(new Set(values.filter((_, i) => i % 3 === 0)).size, 1)
        assert.strictEqual(new Set(values.filter((_, i) => i % 3 !== 0)).size, 1)
        assert.deepStrictEqual([yield* one.get("a"), yield* two.get("b")], [values[1], values[0]])
        assert.strictEqual(looked.length, 2)
      }))

    test("computes again when the time to live is over", (c) =>
      Effect.gen(function* () {
        const timeToLive = span(c, 500)
        const { looked, one, two } = yield* caches(c, (_, n) => Effect.succeed(n), { timeToLive })
        assert.strictEqual(yield* one.get("a"), 1)
        assert.strictEqual(yield* two.get("a"), 1)
        yield* c.advance(timeToLive + 20)
        assert.strictEqual(yield* two.get("a"), 2)
        assert.strictEqual(yield* one.get("a"), 2)
        assert.deepStrictEqual(looked, ["one a", "two a"])
      }))

    test("hands out a stale value at once, and computes a new one behind it, once", (c) =>
      Effect.gen(function* () {
        const timeToLive = span(c, 300)
        const gate = yield* Deferred.make<void>()
        const { looked, one, two } = yield* caches(
          c,
          (_, n) => (n === 1 ? Effect.succeed(1) : Effect.as(Deferred.await(gate), n)),
          { timeToLive, staleFor: 60_000 }
        )
        assert.strictEqual(yield* one.get("a"), 1)
        yield* c.advance(timeToLive + 20)
        for (const cache of [one, two, one, two]) assert.strictEqual(yield* cache.get("a"), 1)
        yield* c.until("the computation", () => looked.length === 2)
        yield* c.advance(30)
        assert.strictEqual(looked.length, 2)
        yield* Deferred.succeed(gate, undefined)
        const fresh = yield* c.beside(
          c.two,
          Effect.repeat(two.get("a"), { until: (n) => n === 2, schedule: Schedule.spaced(5) })
        )
        assert.strictEqual(successOf(yield* c.end(fresh)), 2)
        assert.strictEqual(yield* one.get("a"), 2)
        assert.strictEqual(looked.length, 2)
      }))

    test("keeps the stale value when it cannot be computed anew, and no longer than it may", (c) =>
      Effect.gen(function* () {
        const [timeToLive, staleFor] = [span(c, 300), span(c, 800)]
        const { looked, one } = yield* caches(c, (_, n) => (n === 1 ? Effect.succeed(1) : Effect.fail(new Down())), {
          timeToLive,
          staleFor
        })
        assert.strictEqual(yield* one.get("a"), 1)
        yield* c.advance(timeToLive + 20)
        const before = yield* c.one.now
        assert.strictEqual(yield* one.get("a"), 1)
        yield* c.until("the computation", () => looked.length === 2)
        yield* c.advance(30)
        for (let i = 0; i < 5; i++) assert.strictEqual(yield* one.get("a"), 1)
        if ((yield* c.one.now) - before < Math.min(timeToLive, 1_000))
          assert.strictEqual(looked.length, 2, "the next try comes later")
        yield* c.advance(staleFor)
        yield* failsWith("Down", one.get("a"))
      }))

    test("keeps failures that fit the schema for their own time, and no others", (c) =>
      Effect.gen(function* () {
        const errorTimeToLive = span(c, 500)
        const { looked, one, two } = yield* caches<NoSuch | Down>(
          c,
          (id) => Effect.fail(id === "down" ? new Down() : new NoSuch({ id, at: new Date(7) })),
          { errorTimeToLive }
        )
        for (const cache of [one, two]) {
          const failure = yield* failsWith("NoSuch", cache.get("a"))
          assert.instanceOf(failure, NoSuch)
          assert.deepStrictEqual([failure.id, failure.at.getTime()], ["a", 7])
        }
        assert.deepStrictEqual(looked, ["one a"])
        yield* c.advance(errorTimeToLive + 20)
        yield* failsWith("NoSuch", two.get("a"))
        assert.deepStrictEqual(looked, ["one a", "two a"])
        yield* failsWith("Down", two.get("down"))
        yield* failsWith("Down", one.get("down"))
        assert.deepStrictEqual(looked, ["one a", "two a", "two down", "one down"])
      }))

    test("takes a value that does not decode for a missing one", (c) =>
      Effect.gen(function* () {
        const cache = <S extends Schema.Top>(success: S, value: S["Type"]) =>
          Kv.cached([c.root], { key: Schema.String, success, lookup: () => Effect.succeed(value), timeToLive: 60_000 })
        const before = yield* cache(Schema.String, "text")
        assert.strictEqual(yield* before.get("a"), "text")
        const after = yield* cache(Schema.Finite, 1)
        assert.strictEqual(yield* after.get("a"), 1)
        assert.strictEqual(yield* after.get("a"), 1)
      }))

    test("forgets what is invalidated, in both processes, and what was being computed at that moment", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { looked, one, two } = yield* caches(c, (_, n) =>
          n === 2 ? Effect.as(Deferred.await(gate), 2) : Effect.succeed(n)
        )
        assert.strictEqual(yield* one.get("a"), 1)
        yield* two.invalidate("a")
        const early = yield* c.beside(c.one, one.get("a"))
        yield* c.until("the second computation", () => looked.length === 2)
        yield* two.invalidate("a")
        assert.strictEqual(yield* two.get("a"), 3)
        yield* Deferred.succeed(gate, undefined)
        // The second one began before the invalidation: it is not kept, nor handed out.
        assert.strictEqual(successOf(yield* c.end(early)), 3)
        assert.strictEqual(yield* one.get("a"), 3)
        assert.strictEqual(looked.length, 3)
      }))

    test("computes anew when told to refresh", (c) =>
      Effect.gen(function* () {
        const { looked, one, two } = yield* caches(c, (_, n) => Effect.succeed(n), { staleFor: 60_000 })
        assert.strictEqual(yield* one.get("a"), 1)
        assert.strictEqual(yield* two.refresh("a"), 2)
        assert.strictEqual(yield* one.get("a"), 2)
        assert.strictEqual(looked.length, 2)
      }))

    test("computes in another process when the one that did is cut off", (c) =>
      Effect.gen(function* () {
        const { looked, one, two } = yield* caches(c, (_, n, who) => (who === "one" ? Effect.never : Effect.succeed(n)))
        yield* c.beside(c.one, Effect.ignore(one.get("a")))
        yield* c.until("the computation", () => looked.length === 1)
        const other = yield* c.beside(c.two, two.get("a"))
        yield* c.advance(2 * c.lease)
        assert.strictEqual(looked.length, 1)
        const cutAt = yield* c.two.now
        yield* c.cut
        yield* c.until("the take-over", () => looked.length === 2)
        assert.isAtMost((yield* c.two.now) - cutAt, c.lease + 1_000)
        assert.strictEqual(successOf(yield* c.end(other)), 2)
      }))

    test("leaves a computation to the others when one who waits is interrupted, and ends it with its scope", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        let looked = 0
        let interrupted = 0
        const scope = yield* Scope.make()
        const cache = yield* Scope.provide(
          Kv.cached([c.root], {
            key: Schema.String,
            success: Schema.Finite,
            lookup: (id) =>
              Effect.as(
                Effect.sync(() => void looked++).pipe(Effect.andThen(id === "a" ? Deferred.await(gate) : Effect.never)),
                1
              ).pipe(Effect.onInterrupt(() => Effect.sync(() => void interrupted++))),
            timeToLive: 60_000
          }),
          scope
        )
        const first = yield* c.beside(c.kv, cache.get("a"))
        const second = yield* c.beside(c.kv, cache.get("a"))
        yield* c.advance(30)
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(successOf(yield* c.end(second)), 1)
        assert.strictEqual(interrupted, 0)
        const third = yield* c.beside(c.kv, cache.get("b"))
        yield* c.until("the computation", () => looked === 2)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(interrupted, 1)
        assert.isTrue(Exit.isFailure(yield* c.end(third)))
      }))

    test("spreads the ends of what was computed at once", (c) =>
      Effect.gen(function* () {
        const { one } = yield* caches(c, (_, n) => Effect.succeed(n), { timeToLive: 60_000, jitter: 0.5 })
        const ids = Array.from({ length: 40 }, (_, i) => `k${i}`)
        const before = yield* c.one.now
        yield* Effect.forEach(ids, one.get, { concurrency: 8, discard: true })
        const after = yield* c.one.now
        const { entries } = yield* c.one.page({ prefix: ["~effect-seams/cached", "value", c.root] }, { limit: 100 })
        const ends = entries.flatMap(({ expiresAt }) => (expiresAt._tag === "Some" ? [expiresAt.value] : []))
        assert.strictEqual(ends.length, 40)
        assert.isAtLeast(Math.min(...ends), before + 30_000)
        assert.isAtMost(Math.max(...ends), after + 60_000 + 1)
        // Forty that all lie within a third of the spread come once in 10^18 times.
        assert.isAbove(Math.max(...ends) - Math.min(...ends), after - before + 10_000)
      }))

    test("refuses unusable options and keys, each by its name", (c) =>
      Effect.gen(function* () {
        const making = (options: Partial<Kv.CachedOptions<any, any, any, any, any, any>>) =>
          Kv.cached([c.root], {
            key: Schema.String.check(Schema.isMaxLength(3)),
            success: Schema.Finite,
            lookup: () => Effect.succeed(1),
            timeToLive: 1_000,
            ...options
          } as Kv.CachedOptions<Schema.String, Schema.Finite, Schema.Never, never, never, Kv.Kv>)
        for (const [name, options] of [
          ["timeToLive", { timeToLive: 0 }],
          ["staleFor", { staleFor: "-1 second" as never }],
          ["errorTimeToLive", { errorTimeToLive: 10 }],
          ["errorTimeToLive", { error: NoSuch }],
          ["jitter", { jitter: 2 }],
          ["lease", { lease: 1 }]
        ] as const)
          assert.include((yield* failsWith("Unsupported", making(options))).message, `The option ${name} of Kv.cached`)
        const cache = yield* making({})
        yield* failsWith("InvalidKey", cache.get("a long key"))
      }))
  })
}
