/** The rules of limiters against a brute-force check of every window, over random schedules. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Rule, slidingWindow, tokenBucket } from "../../src/kv/patterns/limiterRules.ts"
import { overdrawnBucket, overfullWindow } from "../../src/testing/kvLimiterOracle.ts"

interface Move {
  /** The clock goes on by this much; now and then back. */
  readonly elapse: number
  readonly cost: number
  /** How long the request would wait. */
  readonly most: number
  /** Which of the grants that are still to come is given back, as a share of them. */
  readonly giveBack: number | undefined
}

const moves = (largest: number, clock: "forward" | "any") =>
  fc.array(
    fc.record({
      elapse: fc.oneof(
        { weight: 8, arbitrary: fc.nat(30) },
        { weight: 2, arbitrary: fc.nat(400) },
        { weight: clock === "any" ? 2 : 0, arbitrary: fc.integer({ min: -300, max: -1 }) }
      ),
      cost: fc.oneof(
        { weight: 4, arbitrary: fc.constant(1) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: largest }) }
      ),
      most: fc.oneof(fc.constant(0), fc.nat(500), fc.constant(Infinity)),
      giveBack: fc.option(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), { nil: undefined, freq: 5 })
    }),
    { maxLength: 120 }
  )

/** Plays a schedule; the state goes through its stored form each time. */
const play = <State>(rule: Rule<State>, schedule: ReadonlyArray<Move>, largestState: number) => {
  let now = 1_000_000
  let state = rule.empty
  let refused = 0
  let granted: Array<{ readonly at: number; readonly cost: number; used: boolean }> = []
  for (const { cost, elapse, giveBack, most } of schedule) {
    now += elapse
    for (const one of granted) one.used ||= one.at <= now
    if (giveBack !== undefined) {
      const open = granted.filter(({ used }) => !used)
      const one = open[Math.floor(giveBack * open.length)]
      if (one !== undefined) {
        granted = granted.filter((each) => each !== one)
        state = rule.giveBack(state, one.cost, one.at)
      }
    }
    const stored: unknown = JSON.parse(JSON.stringify(rule.encode(state)))
    const read = rule.decode(stored)
    assert.isDefined(read)
    state = read!
    const available = rule.available(state, now)
    const at = rule.next(state, cost, now)
    assert.isAtLeast(at, now)
    assert.strictEqual(available >= cost, at === now, `${available} are there, and ${cost} at ${at} of ${now}`)
    if (at - now > most) {
      refused++
      continue
    }
    state = rule.grant(state, cost, at, now)
    granted.push({ at, cost, used: at <= now })
    assert.isAtMost(JSON.stringify(rule.encode(state)).length, largestState)
    assert.isAtLeast(rule.lasts(state, now), 0)
  }
  return { granted, refused }
}

describe("a sliding window", () => {
  for (const clock of ["forward", "any"] as const)
    it(`holds its limit in every window, with a clock that goes ${clock === "any" ? "back too" : clock}`, () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 12 }).chain((limit) =>
            fc.record({
              limit: fc.constant(limit),
              window: fc.integer({ min: 1, max: 200 }),
              schedule: moves(limit, clock)
            })
          ),
          ({ limit, schedule, window }) => {
            const { granted } = play(slidingWindow(limit, window), schedule, 60 + limit * 10)
            assert.isUndefined(overfullWindow(granted, { limit, window }))
          }
        ),
        { numRuns: 2_000 }
      )
    })

  it("grants all that the limit allows: what is refused would have overfilled a window", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 5, max: 100 }),
        fc.array(fc.nat(30), { maxLength: 80 }),
        (limit, window, gaps) => {
          const rule = slidingWindow(limit, window)
          let state = rule.empty
          let now = 500
          const granted: Array<{ readonly at: number; readonly cost: number }> = []
          for (const gap of gaps) {
            now += gap
            const fits = overfullWindow([...granted, { at: now, cost: 1 }], { limit, window }) === undefined
            assert.strictEqual(rule.next(state, 1, now) === now, fits)
            if (!fits) continue
            state = rule.grant(state, 1, now, now)
            granted.push({ at: now, cost: 1 })
          }
        }
      ),
      { numRuns: 1_000 }
    )
  })

  it("remembers the largest limit of the longest window in less than the smallest value that every store takes", () => {
    const limit = 5_000
    const window = 366 * 86_400_000
    const rule = slidingWindow(limit, window)
    let state = rule.empty
    let now = 1_700_000_000_000
    for (let i = 0; i < limit + 20; i++) {
      // No two dates alike, and steps as long as can be.
      now += Math.floor(window / limit) + (i % 2)
      state = rule.grant(state, 1, rule.next(state, 1, now), now)
    }
    const { length } = JSON.stringify(rule.encode(state))
    assert.isAbove(length, 40_000)
    assert.isBelow(length, 65_536)
  })
})

describe("a token bucket", () => {
  for (const clock of ["forward", "any"] as const)
    it(`holds its bound in every window, with a clock that goes ${clock === "any" ? "back too" : clock}`, () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 12 }).chain((burst) =>
            fc.record({
              burst: fc.constant(burst),
              limit: fc.integer({ min: 1, max: 40 }),
              window: fc.integer({ min: 1, max: 500 }),
              schedule: moves(burst, clock)
            })
          ),
          ({ burst, limit, schedule, window }) => {
            const { granted } = play(tokenBucket(limit, window, burst), schedule, 60)
            assert.isUndefined(overdrawnBucket(granted, { burst, limit, window }))
          }
        ),
        { numRuns: 2_000 }
      )
    })

  it("is exact at its largest numbers", () => {
    const most = Math.floor(2 ** 52 / (366 * 86_400_000) / 2)
    const rule = tokenBucket(most, 366 * 86_400_000, most)
    const now = 1_700_000_000_000
    let state = rule.grant(rule.empty, most, now, now)
    assert.strictEqual(rule.available(state, now), 0)
    const next = rule.next(state, 1, now)
    assert.strictEqual(next - now, Math.ceil((366 * 86_400_000) / most))
    assert.strictEqual(rule.available(state, next), 1)
    assert.strictEqual(rule.available(state, next - 1), 0)
    state = rule.grant(state, most, rule.next(state, most, now), now)
    assert.strictEqual(rule.next(state, most, now) - now, 2 * 366 * 86_400_000)
  })
})

describe("the oracle", () => {
  it("finds what is too much", () => {
    const at = (...times: ReadonlyArray<number>) => times.map((one) => ({ at: one, cost: 1 }))
    assert.isDefined(overfullWindow(at(0, 9), { limit: 1, window: 10 }))
    assert.isUndefined(overfullWindow(at(0, 10), { limit: 1, window: 10 }))
    assert.isDefined(overfullWindow(at(5, 100, 103, 107, 109), { limit: 3, window: 10 }))
    assert.isDefined(overdrawnBucket(at(0, 0, 0), { burst: 2, limit: 1, window: 10 }))
    assert.isUndefined(overdrawnBucket(at(0, 0, 9), { burst: 2, limit: 1, window: 10 }))
    assert.isDefined(overdrawnBucket(at(0, 0, 8), { burst: 2, limit: 1, window: 10 }))
  })
})
