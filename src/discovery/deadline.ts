import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"

/**
 * What an effect opens, or an error after so many milliseconds. Nobody waits longer for what has to be closed then: a room takes leave
 * of a server that says nothing, which may take as long again. It is closed in the background.
 */
export const withDeadline = <A, E, R, E2>(
  opening: Effect.Effect<A, E, R>,
  millis: number,
  late: () => E2
): Effect.Effect<A, E | E2, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const own = yield* Scope.make()
      const fiber = yield* Effect.forkDetach(
        Effect.onError(Effect.interruptible(Scope.provide(opening, own)), (cause) =>
          Scope.close(own, Exit.failCause(cause))
        )
      )
      // Also what was opened at the last moment.
      const abandon = Effect.andThen(Fiber.interrupt(fiber), Scope.close(own, Exit.void))
      const exit = yield* Effect.onInterrupt(restore(Effect.timeoutOption(Fiber.await(fiber), millis)), () => abandon)
      if (Option.isNone(exit)) {
        yield* Effect.forkDetach(abandon)
        return yield* Effect.fail(late())
      }
      const opened = yield* exit.value
      yield* Scope.addFinalizerExit(scope, (end) => Scope.close(own, end))
      return opened
    })
  )
