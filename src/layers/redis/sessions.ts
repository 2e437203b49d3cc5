/** Connections of their own for transactions with `WATCH`, whose state belongs to a connection. Opened when first needed. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { RedisFault } from "./faults.ts"
import type { Target } from "./target.ts"
import type { Wire } from "./wire.ts"
import { makeWire } from "./wire.ts"

const most = 8

/** Runs with a connection that nobody else uses meanwhile. */
export type WithSession = <A, E>(use: (wire: Wire) => Effect.Effect<A, E>) => Effect.Effect<A, E | RedisFault>

export const makeSessions = (target: Target): Effect.Effect<WithSession, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const permits = yield* Semaphore.make(most)
    const idle: Array<Wire> = []
    const open = Scope.provide(makeWire(target), scope).pipe(
      Effect.mapError((error) => new RedisFault("unsent", error.message))
    )
    const acquire = Effect.suspend(() => {
      const wire = idle.pop()
      return wire === undefined ? open : Effect.succeed(wire)
    })
    return (use) =>
      permits.withPermits(1)(
        Effect.acquireUseRelease(acquire, use, (wire, exit) =>
          // What it watched must not reach the next one.
          Effect.andThen(
            Exit.isSuccess(exit) ? Effect.void : Effect.ignore(wire.call("unwatch", [])),
            Effect.sync(() => void idle.push(wire))
          )
        )
      )
  })
