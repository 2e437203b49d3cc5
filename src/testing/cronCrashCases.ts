/**
 * Schedulers on one Kv that crash and stand still at random, with clocks minutes apart, on a virtual clock.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Cron from "../Cron.ts"
import type * as Kv from "../Kv.ts"
import { type CronEnd, type CronStart, judgeCron } from "./cronJudge.ts"
import { cuttable, throughGate, withoutClock } from "./cronLines.ts"
import { machinePace } from "./pace.ts"

/**
 * How hard the schedulers are tried.
 *
 * @since 0.1.0
 * @category options
 */
export interface CrashOptions {
  /** Slots to run through, one a second. Default 10,000. */
  readonly slots?: number | undefined
  /** Default 5. */
  readonly schedulers?: number | undefined
  /** Everything random follows from it. Default 1. */
  readonly seed?: number | undefined
  /** Each scheduler goes by its own clock, as over a Kv without one of its own. Default `false`: by that of the Kv. */
  readonly ownClocks?: boolean | undefined
}

const period = 1_000
const lease = 5_000
const minute = 60_000

/** A small generator of numbers from 0 to 1 (mulberry32), so that a run can be repeated. */
const randomFrom = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A clock that is ahead of the real one by some milliseconds. */
const skewed = (clock: Clock.Clock, millis: number): Clock.Clock => {
  const nanos = BigInt(millis) * 1_000_000n
  const now = () => clock.currentTimeMillisUnsafe() + millis
  const nowNanos = () => clock.currentTimeNanosUnsafe() + nanos
  return {
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: nowNanos,
    currentTimeNanos: Effect.sync(nowNanos),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
}

const schedulerOf = (kv: Kv.Service, runner: string) =>
  Effect.flatMap(Effect.orDie(Cron.makeKvStore(kv, { lease, history: 500 })), (store) => Cron.make(store, { runner }))

/** The first scheduler, five minutes fast, does not outlive its hundredth second. */
const isFastOnesEnd = (one: Process, second: number): boolean => one.runner === "runner-1" && second >= 100

interface Process {
  readonly crash: Effect.Effect<void>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly runner: string
  paused: boolean
}

export const crashCases = (
  processes: (count: number) => Effect.Effect<ReadonlyArray<Kv.Service>, never, Scope.Scope>,
  options: CrashOptions
): void => {
  const wanted = options.slots ?? 10_000
  const count = options.schedulers ?? 5
  const seed = options.seed ?? 1
  describe("schedulers that crash and stand still, with clocks minutes apart", () => {
    it.effect(
      `start each of ${wanted} slots once, and again only when the runner lost its lease (${options.ownClocks === true ? "by their own clocks" : "by the clock of the Kv"}, seed ${seed})`,
      () =>
        Effect.gen(function* () {
          const random = randomFrom(seed)
          const clock = yield* Clock.Clock
          const stores = yield* processes(count)
          const kvs = options.ownClocks === true ? stores.map(withoutClock) : stores
          const starts: Array<CronStart> = []
          const ends = new Map<string, CronEnd>()
          const lost = new Set<string>()
          const tally = { crashes: 0, pauses: 0 }
          const id = "proof"
          const observer = yield* schedulerOf(kvs[0]!, "observer")
          let born = 0

          const launch = (kv: Kv.Service): Effect.Effect<Process> =>
            Effect.gen(function* () {
              const runner = `runner-${++born}`
              // The first one is five minutes fast, and is killed like the others.
              const skew = born === 1 ? 5 * minute : Math.floor((random() - 0.5) * 10 * minute)
              const gate = yield* Latch.make(true)
              // Each call takes its time, so that the calls of several processes overlap.
              let isUp = false
              const latency = Effect.suspend(() => (isUp ? Effect.sleep(Math.floor(random() * 20)) : Effect.void))
              const line = cuttable(throughGate(kv, Effect.andThen(latency, gate.await)))
              const scope = yield* Scope.make()
              const job = Cron.job(
                id,
                {
                  schedule: Cron.every(period),
                  overlap: "allow",
                  misfire: { policy: "all", within: "1 day", limit: 1_000 }
                },
                (run) =>
                  Effect.gen(function* () {
                    const { attempt, token } = run
                    starts.push({ slot: run.scheduledTime.epochMilliseconds, runner, attempt, token })
                    yield* Effect.sleep(Math.floor(random() * 1_500))
                    yield* gate.await
                  })
              )
              yield* Effect.gen(function* () {
                const scheduler = yield* schedulerOf(line.kv, runner)
                yield* Effect.orDie(scheduler.scheduleScoped(job))
              }).pipe(Scope.provide(scope), Effect.provideService(Clock.Clock, skewed(clock, skew)))
              isUp = true
              return {
                runner,
                paused: false,
                // Cut off first: who dies tells nobody.
                crash: Effect.gen(function* () {
                  yield* line.cut
                  yield* gate.open
                  yield* Effect.forkDetach(Scope.close(scope, Exit.void))
                }),
                pause: Effect.asVoid(gate.close),
                resume: Effect.asVoid(gate.open)
              }
            })

          const alive: Array<Process | undefined> = yield* Effect.forEach(kvs, launch)
          const back: Array<number> = alive.map(() => 0)
          const collect = Effect.gen(function* () {
            for (const record of yield* Effect.orDie(observer.history(id, { limit: 500 }))) {
              const { attempt, outcome, scheduledTime, token } = record
              ends.set(`${record.id}/${token}`, { slot: scheduledTime.epochMilliseconds, attempt, token, outcome })
            }
          })

          for (let second = 0; second < wanted; second++) {
            for (let i = 0; i < count; i++) {
              const one = alive[i]
              if (one === undefined) {
                if (second >= back[i]!) alive[i] = yield* launch(kvs[i]!)
              } else if (one.paused) {
                if (second < back[i]!) continue
                one.paused = false
                yield* one.resume
              } else if (random() < 0.01 || isFastOnesEnd(one, second)) {
                lost.add(one.runner)
                back[i] = second + Math.ceil(random() * 20)
                if (random() < 0.5 || isFastOnesEnd(one, second)) {
                  tally.crashes++
                  alive[i] = undefined
                  yield* one.crash
                } else {
                  tally.pauses++
                  one.paused = true
                  yield* one.pause
                }
              }
            }
            yield* TestClock.adjust(period)
            if (second % 200 === 0) yield* collect
          }
          // Everybody is well again, and what was lost is taken over.
          for (let i = 0; i < count; i++) {
            const one = alive[i]
            if (one === undefined) alive[i] = yield* launch(kvs[i]!)
            else yield* one.resume
          }
          for (const one of alive) one!.paused = false
          yield* TestClock.adjust(5 * lease)
          // Slots that were caught up with run one after the other; disabling would drop those that still wait.
          for (let i = 0; i < wanted && (yield* Effect.orDie(observer.get(id))).waiting > 0; i++) {
            yield* TestClock.adjust(period)
            if (i % 200 === 0) yield* collect
          }
          yield* Effect.orDie(observer.disable(id))
          yield* TestClock.adjust(5 * lease)
          yield* collect

          const verdict = judgeCron({ period, starts, ends: Array.from(ends.values()), lost })
          // What was proved: few crashes would prove little. Effect's loggers are silent in a test.
          console.log(
            `cron over ${kvs[0]!.capabilities.backend}: ${verdict.slots} slots by ${count} schedulers, ${verdict.starts} starts, ` +
              `${verdict.again} slots started again after ${tally.crashes} crashes and ${tally.pauses} pauses (seed ${seed})`
          )
          assert.deepStrictEqual(verdict.problems.slice(0, 10), [])
          // By their own clocks, slots that a fast scheduler ran early are not run again by slower ones.
          assert.isAtLeast(verdict.slots, options.ownClocks === true ? wanted / 2 : wanted)
          for (const one of alive) yield* one!.crash
        }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None")),
      600_000 * machinePace
    )
  })
}
