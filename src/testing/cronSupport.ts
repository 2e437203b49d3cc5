/**
 * What the Cron contract cases are written with: job ids of their own, time that can be moved, and runs that can be waited
 * for.
 */
import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { makeMessageIds } from "../internal/ids.ts"
import * as Cron from "../Cron.ts"
import { machinePace } from "./pace.ts"

/**
 * Two schedulers over one store, as two processes have them, with a short lease.
 *
 * @since 0.1.0
 * @category options
 */
export interface CronPair {
  readonly first: Cron.Service
  readonly second: Cron.Service
  /** How long the claims of this store hold, in milliseconds. */
  readonly lease: number
  /** Cuts the first scheduler off the store: its calls fail from now on. */
  readonly cut: Effect.Effect<void>
  /** Connects it again. */
  readonly heal: Effect.Effect<void>
}

/**
 * What the Cron contract suite needs to know of a backend.
 *
 * @since 0.1.0
 * @category options
 */
export interface CronSuiteOptions<E = never> {
  /** The backend. It is built for every case; a case keeps to jobs of its own, so the store behind it may be shared. */
  readonly layer: Layer.Layer<Cron.Scheduler, E>
  /** Which clock rules the slots: `"virtual"`, Effect's `TestClock`, or `"live"`, a real one. */
  readonly clock: "virtual" | "live"
  /** Lets this many milliseconds pass. Default: `TestClock.adjust` when virtual, a sleep when live. */
  readonly advance?: ((millis: number) => Effect.Effect<void>) | undefined
  /** What the backend declares of itself; what is given here is compared. */
  readonly capabilities?: Partial<Omit<Cron.Capabilities, "durability">> | undefined
  /** Two schedulers over one store. Cases across schedulers are left out when there is none. */
  readonly pair?: Effect.Effect<CronPair, E, Scope.Scope> | undefined
  /** Real milliseconds a case may take. Default: 30,000. */
  readonly timeout?: number | undefined
}

/** What a case works with. */
export interface Case {
  readonly cron: Cron.Service
  readonly virtual: boolean
  /** The id of the case's job; with a name, of another one. */
  readonly id: (name?: string) => string
  /** The distance of the slots of `every`, in milliseconds. */
  readonly period: number
  readonly every: Cron.Every
  readonly advance: (millis: number) => Effect.Effect<void>
  /** Moves to shortly after the next slot of `every`, and answers with that slot. */
  readonly toSlot: Effect.Effect<number>
  /** Moves on until something holds. */
  readonly until: (what: string, holds: () => boolean) => Effect.Effect<void>
}

export type Body = (c: Case) => Effect.Effect<void, unknown, Cron.Scheduler | Scope.Scope>

/** Registers cases over a layer. */
export interface Cases {
  (name: string, body: Body): void
}

export const casesOver = <E>(options: CronSuiteOptions<E>): Cases => {
  const virtual = options.clock === "virtual"
  // A slot of the real clock has to be long against the noise of a busy machine.
  const period = virtual ? 60_000 : 200 * machinePace
  const advance = options.advance ?? ((millis: number) => (virtual ? TestClock.adjust(millis) : Effect.sleep(millis)))
  const run = virtual ? it.effect : it.live
  return (name, body) =>
    run(
      name,
      () =>
        Effect.gen(function* () {
          const cron = yield* Cron.Scheduler
          const root = `case-${(yield* makeMessageIds)(yield* Clock.currentTimeMillis)}`
          const toSlot = Effect.gen(function* () {
            const now = yield* Clock.currentTimeMillis
            const slot = (Math.floor(now / period) + 1) * period
            yield* advance(slot - now + period / 20)
            return slot
          })
          const until = Effect.fnUntraced(function* (what: string, holds: () => boolean) {
            for (let i = 0; i < 400; i++) {
              if (holds()) return
              yield* advance(period / 10)
            }
            assert.fail(`waited in vain: ${what}`)
          })
          yield* body({
            cron,
            virtual,
            id: (other = "job") => `${root}-${other}`,
            period,
            every: Cron.every(period),
            advance,
            toSlot,
            until
          })
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.fresh(options.layer)),
          // Runs that fail on purpose are logged as warnings.
          Effect.provideService(References.MinimumLogLevel, "Error")
        ),
      (options.timeout ?? 30_000) * machinePace
    )
}

/** Milliseconds since 1970. */
export const millis = (time: DateTime.DateTime): number => DateTime.toEpochMillis(time)

/** The reason of a failure, when it is a CronError with this tag; else the case fails. */
export const failure = <A, R, Tag extends Cron.CronErrorReason["_tag"]>(
  tag: Tag,
  effect: Effect.Effect<A, unknown, R>
): Effect.Effect<Extract<Cron.CronErrorReason, { readonly _tag: Tag }>, never, R> =>
  Effect.map(Effect.result(effect), (result) => {
    if (Result.isSuccess(result)) return assert.fail(`expected ${tag}, but it succeeded`)
    const error: unknown = result.failure
    if (!(error instanceof Cron.CronError)) return assert.fail(`expected ${tag}, got ${String(error)}`)
    assert.strictEqual(error.reason._tag, tag)
    return error.reason as Extract<Cron.CronErrorReason, { readonly _tag: Tag }>
  })

/** Collects the events of some jobs from now on. */
export const collectEvents = (
  cron: Cron.Service,
  ...ids: ReadonlyArray<string>
): Effect.Effect<Array<Cron.Event>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<Cron.Event> = []
    yield* Effect.forkScoped(
      Stream.runForEach(cron.events, (event) =>
        Effect.sync(() => {
          if (ids.includes(event.jobId)) events.push(event)
        })
      ),
      { startImmediately: true }
    )
    return events
  })

export const tags = (events: ReadonlyArray<Cron.Event>): ReadonlyArray<string> => events.map((event) => event._tag)
