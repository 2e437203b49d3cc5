/** What fault tests of any room are written with: waiting with a bound, errors as they are told, work beside the test. */
import * as util from "node:util"
import { assert } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Result, Schedule, Scope } from "effect"
import { afterAll } from "vitest"
import { machinePace } from "../../src/testing/pace.ts"

/** Started when a test first asks for it, and ended when all tests of the file have. */
export const once = <A, E>(start: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A> => {
  const scope = Scope.makeUnsafe()
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return Effect.runSync(Effect.cached(Effect.orDie(Scope.provide(start, scope))))
}

/** Waits for a condition, and says what it waited for when it does not come. */
export const until = <E = never, R = never>(
  what: string,
  condition: (() => boolean) | Effect.Effect<boolean, E, R>,
  limit: Duration.Input = "15 seconds"
): Effect.Effect<void, never, R> =>
  (typeof condition === "function" ? Effect.sync(condition) : Effect.orElseSucceed(condition, () => false)).pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("5 millis") }),
    Effect.timeoutOrElse({
      duration: Duration.times(Duration.fromInputUnsafe(limit), machinePace),
      orElse: () => Effect.die(new Error(`not within ${Duration.format(Duration.fromInputUnsafe(limit))}: ${what}`))
    }),
    Effect.asVoid
  )

/** The result and the milliseconds it took. Dies when it takes longer than the limit: nothing may wait without bound. */
export const timed = <A, E, R>(
  what: string,
  limit: number,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<{ readonly result: Result.Result<A, E>; readonly millis: number }, never, R> =>
  Effect.gen(function* () {
    const start = performance.now()
    // Detached: the end of a race would wait for an interruption that may not come.
    const fiber = yield* Effect.forkDetach(
      Effect.map(Effect.result(effect), (result) => ({ result, millis: performance.now() - start }))
    )
    return yield* Effect.timeoutOrElse(Fiber.join(fiber), {
      duration: limit * machinePace,
      orElse: () => Effect.die(new Error(`${what} took longer than ${limit} ms`))
    })
  })

export interface Reason {
  readonly _tag: string
  readonly message: string
  readonly isRetryable: boolean
  /** Of `Unavailable`: it does not pass by itself. */
  readonly lasting: boolean | undefined
}

/** Of an error of this library. */
export const reasonIn = (error: unknown): Reason => {
  const { _tag, isRetryable = false, message, reason } = error as Partial<Reason> & { readonly reason?: Reason }
  const tag = reason?._tag ?? _tag
  if (tag === undefined || message === undefined) throw new Error(`not an error of this library: ${String(error)}`)
  return { _tag: tag, message, isRetryable, lasting: reason?.lasting }
}

/** Why something failed that must fail within the limit. */
export const reasonOf = <R>(
  what: string,
  limit: number,
  effect: Effect.Effect<unknown, unknown, R>
): Effect.Effect<Reason, never, R> =>
  Effect.map(timed(what, limit, effect), ({ result }) => {
    assert.isTrue(Result.isFailure(result), `${what} did not fail`)
    return reasonIn((result as Result.Failure<unknown, unknown>).failure)
  })

export const succeeds = <A, E, R>(what: string, limit: number, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(timed(what, limit, effect), ({ result }) =>
    Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.die(new Error(`${what} failed: ${String(result.failure)}`))
  )

/** Everything a failure may be printed as. */
export const printed = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause) as Error
  const ways = [String(error), error.message, error.stack, JSON.stringify(error), Cause.pretty(cause)]
  return [...ways, util.inspect(error, { depth: 20, showHidden: true }), util.inspect(cause, { depth: 20 })].join("\n")
}

/** Every rejection that nobody handles while the test runs. */
export const rejections: Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const seen: Array<string> = []
      const note = (what: unknown) => void seen.push(String(what))
      process.on("unhandledRejection", note)
      return { note, seen }
    }),
    ({ note }) => Effect.sync(() => process.off("unhandledRejection", note))
  ),
  ({ seen }) => seen
)

/** Runs an effect over and over beside the test, until told to stop. */
export const keepDoing = <R>(effect: Effect.Effect<unknown, never, R>, pause: Duration.Input = "1 millis") =>
  Effect.suspend(() => {
    let going = true
    return Effect.map(
      Effect.forkScoped(
        Effect.suspend(() => effect).pipe(Effect.repeat({ while: () => going, schedule: Schedule.spaced(pause) }))
      ),
      (fiber) =>
        Effect.andThen(
          Effect.sync(() => (going = false)),
          Effect.orDie(Effect.timeout(Fiber.await(fiber), "20 seconds"))
        )
    )
  })

export const percentile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!
