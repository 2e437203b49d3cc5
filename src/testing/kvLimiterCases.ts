import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Kv from "../Kv.ts"
import { withoutClock } from "./cronLines.ts"
import { overdrawnBucket, overfullWindow } from "./kvLimiterOracle.ts"
import { failsWith, failureOf, leftOver, type PatternCase, type PatternCases, successOf } from "./kvPatternsSupport.ts"
import { machinePace } from "./pace.ts"

interface Taken {
  readonly at: number
  readonly cost: number
}

/** Consumers of both clients that take at random, some waiting, for a while; answers what was granted. */
const storm = (c: PatternCase, limiter: Kv.Limiter<Kv.Kv>, consumers: number, rounds: number) =>
  Effect.gen(function* () {
    const granted: Array<Taken> = []
    let early = 0
    let refused = 0
    const consume = (kv: Kv.Service) =>
      Effect.gen(function* () {
        for (let i = 0; i < rounds; i++) {
          const cost = 1 + ((yield* Random.nextIntBetween(0, 5)) === 0 ? 1 : 0)
          const wait = (yield* Random.nextBoolean) ? 2_000 : false
          const result = yield* Effect.result(limiter.take([], { cost, wait }))
          if (Result.isSuccess(result)) {
            granted.push({ at: result.success.at, cost })
            if ((yield* kv.now) < result.success.at) early++
          } else if (result.failure._tag === "RateLimited") {
            refused++
            yield* Effect.sleep(Math.min(result.failure.retryAfter, 5 + (yield* Random.nextIntBetween(0, 60))))
          } else return yield* result.failure
        }
      })
    const fibers = yield* Effect.forEach(Array.from({ length: consumers }), (_, i) => {
      const kv = i % 2 === 0 ? c.one : c.two
      return c.beside(kv, consume(kv))
    })
    for (const fiber of fibers) successOf(yield* c.end(fiber))
    assert.strictEqual(early, 0, "nobody goes on before the date of the grant")
    return { granted, refused }
  })

/** The clients as they are below a clock for all, which the store must have for a limiter. */
const hasClock = ({ capabilities }: Kv.Service) => capabilities.clock !== "process" || !capabilities.shared

export const limiterCases = (test: PatternCases): void => {
  const timed: PatternCases = (name, body) => test(name, (c) => (hasClock(c.kv) ? body(c) : Effect.void))

  describe("limiter", () => {
    timed("grants a hundred consumers of both processes exactly the limit", (c) =>
      Effect.gen(function* () {
        const limiter = Kv.limiter(c.key("a"), { limit: 37, window: "1 minute" })
        const fibers = yield* Effect.forEach(Array.from({ length: 100 }), (_, i) =>
          c.beside(i % 2 === 0 ? c.one : c.two, Effect.result(limiter.take()))
        )
        const results = yield* Effect.forEach(fibers, (fiber) => Effect.map(c.end(fiber), successOf))
        const granted = results.filter(Result.isSuccess).map(({ success }) => success)
        assert.strictEqual(granted.length, 37)
        assert.strictEqual(Math.min(...granted.map(({ remaining }) => remaining)), 0)
        for (const result of results)
          if (Result.isFailure(result)) {
            const { retryAfter } = failureOf("RateLimited", Exit.fail(result.failure))
            assert.isTrue(retryAfter > 0 && retryAfter <= 60_000)
          }
        assert.deepStrictEqual((yield* c.on(c.two)(limiter.peek())).available, 0)
      })
    )

    timed("never grants more than the limit in any window, whatever is asked when", (c) =>
      Effect.gen(function* () {
        const rule = { limit: 9, window: 250 }
        const { granted, refused } = yield* storm(c, Kv.limiter(c.key("a"), rule), 20, 5)
        assert.isUndefined(overfullWindow(granted, rule))
        assert.isAbove(granted.length, 30)
        assert.isAbove(refused, 0)
      })
    )

    timed("never grants more than a bucket holds and gets back", (c) =>
      Effect.gen(function* () {
        const rule = { limit: 20, window: 500, burst: 6 }
        const limiter = Kv.limiter(c.key("a"), { algorithm: "token-bucket", ...rule })
        const { granted, refused } = yield* storm(c, limiter, 20, 5)
        assert.isUndefined(overdrawnBucket(granted, rule))
        assert.isAbove(granted.length, 30)
        assert.isAbove(refused, 0)
      })
    )

    timed("says when it can be tried again, and keeps its word", (c) =>
      Effect.gen(function* () {
        const window = 600 * machinePace
        const limiter = Kv.limiter(c.key("a"), { limit: 2, window })
        const refused = Effect.fnUntraced(function* (attempt: number) {
          const first = yield* limiter.take([attempt])
          yield* c.advance(200 * machinePace)
          yield* limiter.take([attempt])
          const third = yield* Effect.exit(limiter.take([attempt]))
          if (Exit.isFailure(third)) return { attempt, first, third }
          assert.isAtLeast(third.value.at - first.at, window, "granted, and not because the machine stood still")
          return undefined
        })
        let found = yield* refused(0)
        for (let attempt = 1; found === undefined; attempt++) found = yield* refused(attempt)
        const { attempt, first, third } = found
        const { key, retryAfter } = failureOf("RateLimited", third)
        assert.include(key, c.root)
        assert.isTrue(retryAfter > 0 && retryAfter <= 400 * machinePace)
        yield* c.advance(retryAfter)
        const last = yield* limiter.take([attempt])
        assert.isAtLeast(last.at - first.at, window)
      })
    )

    timed("lets wait for a turn: not before its date, in the order of asking, and not longer than told", (c) =>
      Effect.gen(function* () {
        const window = 1_000 * machinePace
        const limiter = Kv.limiter(c.key("a"), { limit: 2, window })
        const first = yield* c.on(c.one)(limiter.take([], { cost: 2 }))
        const fibers = []
        for (let i = 0; i < 4; i++) fibers.push(yield* c.beside(c.one, limiter.take([], { wait: true })))
        yield* c.settle(
          Effect.repeat(c.on(c.two)(limiter.peek()), {
            until: ({ retryAfter }) => retryAfter > 2 * window,
            schedule: Schedule.spaced(5)
          })
        )
        const { retryAfter } = yield* failsWith("RateLimited", c.on(c.two)(limiter.take([], { wait: window })))
        assert.isTrue(retryAfter > window && retryAfter <= 3 * window, `${retryAfter}`)
        const dates = yield* Effect.forEach(fibers, (fiber) => Effect.map(c.end(fiber), (exit) => successOf(exit).at))
        assert.deepStrictEqual(
          dates,
          dates.toSorted((a, b) => a - b)
        )
        assert.isAtLeast(dates[0]! - first.at, window)
        assert.isAtLeast(dates[2]! - dates[0]!, window)
        assert.isAtLeast((yield* c.two.now) - dates[3]!, 0)
      })
    )

    timed("gives the turn back of one who stopped waiting", (c) =>
      Effect.gen(function* () {
        for (const algorithm of ["sliding-window", "token-bucket"] as const) {
          const limiter = Kv.limiter(c.key(algorithm), { algorithm, limit: 1, window: 30_000 })
          yield* limiter.take()
          const waiting = yield* c.beside(c.kv, limiter.take([], { wait: true }))
          yield* c.settle(
            Effect.repeat(limiter.peek(), {
              until: ({ retryAfter }) => retryAfter > 30_000,
              schedule: Schedule.spaced(5)
            })
          )
          yield* Fiber.interrupt(waiting)
          const { retryAfter } = yield* limiter.peek()
          assert.isTrue(retryAfter > 0 && retryAfter <= 30_000, `${algorithm} ${retryAfter}`)
        }
      })
    )

    timed("counts each key for itself, and forgets what it is told to", (c) =>
      Effect.gen(function* () {
        const limiter = Kv.limiter(c.key("a"), { limit: 1, window: "1 hour" })
        yield* limiter.take(["x"])
        yield* limiter.take(["y"])
        yield* limiter.take(["x", 1])
        yield* failsWith("RateLimited", limiter.take(["x"]))
        assert.deepStrictEqual(yield* limiter.peek(["z"]), { available: 1, retryAfter: 0 })
        yield* limiter.reset(["x"])
        assert.strictEqual((yield* limiter.take(["x"])).remaining, 0)
        yield* failsWith("RateLimited", limiter.take(["y"]))
      })
    )

    timed("grants nothing to a clock that was set back, until it is where it was", (c) =>
      Effect.gen(function* () {
        let back = 0
        const shifted: Kv.Service = { ...c.kv, now: Effect.map(c.kv.now, (now) => now - back) }
        for (const algorithm of ["sliding-window", "token-bucket"] as const) {
          back = 0
          const limiter = Kv.limiter(c.key(algorithm), { algorithm, limit: 2, window: 200 })
          const taking = c.on(shifted)(limiter.take())
          yield* taking
          yield* c.advance(220)
          const last = yield* taking
          back = 300
          const { retryAfter } = yield* failsWith("RateLimited", taking)
          assert.isAbove(retryAfter, 0)
          yield* c.advance(330)
          const next = yield* taking
          assert.isAtLeast(next.at, last.at)
        }
      })
    )

    timed("remembers no more than it must", (c) =>
      Effect.gen(function* () {
        const limiter = Kv.limiter(c.key("a"), { limit: 3, window: 30 })
        for (let i = 0; i < 12; i++) {
          yield* c.settle(limiter.take([], { wait: true }))
        }
        const keys = yield* leftOver(c.kv, "~effect-seams/limiter", c.root)
        assert.strictEqual(keys.length, 1)
        const entry = yield* c.kv.get(keys[0]!)
        assert.isTrue(entry._tag === "Some" && JSON.stringify(entry.value.value).length < 100, String(entry))
        assert.isTrue(entry._tag === "Some" && entry.value.expiresAt._tag === "Some", "it expires")
        if (!c.virtual) return
        yield* c.advance(61_000)
        assert.deepStrictEqual(yield* leftOver(c.kv, "~effect-seams/limiter", c.root), [])
      })
    )

    test("is refused where processes go by clocks of their own", (c) =>
      Effect.gen(function* () {
        const limiter = Kv.limiter(c.key("a"), { limit: 3, window: 30 })
        const without = c.on(withoutClock(c.kv))
        for (const effect of [limiter.take(), limiter.peek(), limiter.reset()])
          assert.include((yield* failsWith("Unsupported", without(effect))).message, "a clock of its own")
      }))

    timed("refuses unusable options, each by its name", (c) =>
      Effect.gen(function* () {
        const refused = (name: string, effect: Effect.Effect<unknown, unknown, Kv.Kv>) =>
          Effect.map(failsWith("Unsupported", effect), (reason) =>
            assert.include(reason.message, `The option ${name} of Kv.limiter`)
          )
        const good = { limit: 5, window: "1 second" } as const
        for (const [name, options] of [
          ["limit", { ...good, limit: 0 }],
          ["limit", { ...good, limit: 1.5 }],
          ["limit", { ...good, limit: 5_001 }],
          ["window", { ...good, window: 0 }],
          ["window", { ...good, window: "Infinity" }],
          ["window", { ...good, window: "400 days" }],
          ["burst", { ...good, burst: 3 }],
          ["burst", { ...good, algorithm: "token-bucket", burst: 0 }],
          ["algorithm", { ...good, algorithm: "guess" as never }]
        ] as const)
          yield* refused(name, Kv.limiter(c.key("a"), options).take())
        const limiter = Kv.limiter(c.key("a"), good)
        yield* refused("cost", limiter.take([], { cost: 6 }))
        yield* refused("cost", limiter.take([], { cost: 0 }))
        yield* refused("wait", limiter.take([], { wait: "-1 second" as never }))
        assert.strictEqual((yield* limiter.peek()).available, 5)
      })
    )
  })
}
