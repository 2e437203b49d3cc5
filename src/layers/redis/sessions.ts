/** Connections of their own for transactions with `WATCH`, whose state belongs to a connection. Opened when first needed. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { RedisFault, unsentFault } from "./faults.ts"
import type { Target } from "./target.ts"
import type { Wire } from "./wire.ts"
import { makeWire } from "./wire.ts"

const most = 4

/** Runs with a connection that nobody else uses meanwhile. */
export type WithSession = <A, E>(use: (wire: Wire) => Effect.Effect<A, E>) => Effect.Effect<A, E | RedisFault>

export const makeSessions = (target: Target): Effect.Effect<WithSession, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const permits = yield* Semaphore.make(most)
    const idle: Array<Wire> = []
    /** Connections that could not be opened. */
    let failures = 0
    const open = Effect.gen(function* () {
      // One that fails is closed now and not with the layer: an outage may have thousands of them.
      const own = yield* Scope.fork(scope)
      return yield* Scope.provide(makeWire(target), own).pipe(
        Effect.tapError(() => Effect.sync(() => void failures++)),
        Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(own, Exit.void))),
        Effect.mapError((error) => new RedisFault("unsent", error.message))
      )
    })
    /** `failed`: how many openings had failed when the caller began to wait. */
    const acquire = (failed: number) =>
      Effect.suspend(() => {
        // One that is reconnecting fails at once, and others may stand.
        const ready = idle.findLastIndex(({ client }) => client.status === "ready")
        const wire = ready < 0 ? idle.pop() : idle.splice(ready, 1)[0]
        if (wire !== undefined) return Effect.succeed(wire)
        // The server did not answer while the caller waited for its turn: it has waited for long enough.
        return failures > failed ? Effect.fail(unsentFault) : open
      })
    return (use) =>
      Effect.suspend(() => {
        const failed = failures
        return permits.withPermits(1)(
          // Opening can be interrupted, or a time limit could not end one that gets no answer.
          Effect.uninterruptibleMask((restore) =>
            Effect.flatMap(restore(acquire(failed)), (wire) =>
              Effect.onExit(restore(use(wire)), (exit) =>
                // What it watched must not reach the next one.
                Effect.andThen(
                  Exit.isSuccess(exit)
                    ? Effect.void
                    : Effect.ignore(Effect.timeoutOption(Effect.interruptible(wire.call("unwatch", [])), 1_000)),
                  Effect.sync(() => void idle.push(wire))
                )
              )
            )
          )
        )
      })
  })
