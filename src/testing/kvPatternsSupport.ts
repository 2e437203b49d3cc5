/**
 * What the cases of the patterns over a Kv are written with: two clients of one store, of which the first can be cut off, and
 * waiting with a bound, on either clock.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Kv from "../Kv.ts"
import { cuttable } from "./cronLines.ts"
import type { Case, Cases, KvSuiteOptions } from "./kvSupport.ts"
import { machinePace } from "./pace.ts"

/**
 * What the suite of the patterns needs to know of a backend: as for `kvSuite`, with two clients of one store.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvPatternsSuiteOptions<E = never> extends Pick<
  KvSuiteOptions<E>,
  "layer" | "clock" | "advance" | "timeout"
> {
  /** Two clients of one store, as two processes have them. */
  readonly pair: NonNullable<KvSuiteOptions<E>["pair"]>
  /**
   * Real milliseconds of the leases of the cases, where the clock is real: long enough for a heartbeat at every third of it on a busy
   * machine. Default: 1,500.
   */
  readonly lease?: number | undefined
}

export interface PatternCase extends Case {
  /** The client that can be cut off. */
  readonly one: Kv.Service
  readonly two: Kv.Service
  /** Reads and commits of the first client fail from now on. */
  readonly cut: Effect.Effect<void>
  readonly heal: Effect.Effect<void>
  /** Milliseconds. */
  readonly lease: number
  /** Waits for a condition, at most twenty real seconds, moving a virtual clock along. */
  readonly until: (what: string, condition: () => boolean) => Effect.Effect<void>
  /** Runs beside the case, on one of the clients; it ends with the case. */
  readonly beside: <A, E>(
    kv: Kv.Service,
    effect: Effect.Effect<A, E, Kv.Kv | Scope.Scope>
  ) => Effect.Effect<Fiber.Fiber<A, E>, never, Scope.Scope>
  /** The end of a fiber, moving a virtual clock along. */
  readonly end: <A, E>(fiber: Fiber.Fiber<A, E>) => Effect.Effect<Exit.Exit<A, E>>
  readonly on: (kv: Kv.Service) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Kv.Kv>>
}

export type PatternBody = (c: PatternCase) => Effect.Effect<void, unknown, Kv.Kv | Scope.Scope>

/** Registers cases over two clients of a store. */
export interface PatternCases {
  (name: string, body: PatternBody): void
}

const patience = 20_000 * machinePace
const realTime = (virtual: boolean) => (virtual ? TestClock.withLive(Clock.currentTimeMillis) : Clock.currentTimeMillis)

export const patternCases =
  <E>(test: Cases, options: KvPatternsSuiteOptions<E>): PatternCases =>
  (name, body) =>
    test(name, (c) =>
      Effect.gen(function* () {
        const [first, two] = yield* options.pair
        const { cut, heal, kv: one } = cuttable(first)
        const until: PatternCase["until"] = (what, condition) =>
          Effect.gen(function* () {
            const start = yield* realTime(c.virtual)
            while (!condition()) {
              if ((yield* realTime(c.virtual)) - start > patience) assert.fail(`not within ${patience} ms: ${what}`)
              if (c.virtual) yield* c.advance(10)
              yield* c.pause
            }
          })
        const on: PatternCase["on"] = (kv) => (effect) => Effect.provideService(effect, Kv.Kv, kv)
        yield* body({
          ...c,
          one,
          two,
          cut,
          heal,
          lease: c.virtual ? 900 : (options.lease ?? 1_500),
          until,
          on,
          beside: (kv, effect) => Effect.forkScoped(on(kv)(Effect.scoped(effect)), { startImmediately: true }),
          end: (fiber) =>
            Effect.andThen(
              until("the end of what runs beside the case", () => fiber.pollUnsafe() !== undefined),
              Fiber.await(fiber)
            )
        })
      })
    )

/** The error of an effect, which must have this tag; or the reason of a `KvError`. */
export const failsWith = <A, E, R>(tag: string, effect: Effect.Effect<A, E, R>): Effect.Effect<any, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => failureOf(tag, exit))

export const failureOf = (tag: string, exit: Exit.Exit<unknown, unknown>): any => {
  const found = Exit.findErrorOption(exit)
  if (found._tag === "None") return assert.fail(`expected ${tag}, got ${String(exit)}`)
  const error = found.value as { readonly _tag: string; readonly reason?: { readonly _tag: string } }
  assert.strictEqual(error.reason?._tag ?? error._tag, tag)
  return error.reason ?? error
}

export const successOf = <A>(exit: Exit.Exit<A, unknown>): A =>
  Exit.isSuccess(exit) ? exit.value : assert.fail(`expected a success, got ${String(exit)}`)

/** Entries that a pattern keeps for the keys of a case. */
export const leftOver = (
  kv: Kv.Service,
  room: string,
  root: string
): Effect.Effect<ReadonlyArray<Kv.Key>, Kv.KvError> =>
  Effect.map(kv.page({ prefix: [room] }, { limit: 1_000 }), ({ entries }) =>
    entries.map(({ key }) => key).filter((key) => key.includes(root))
  )
