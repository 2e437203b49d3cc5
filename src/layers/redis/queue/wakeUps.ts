/** Wake-ups of this process's idle workers: one channel for all of them, on which the server names the one it means. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ConnectionService } from "../connection.ts"
import type { Signal } from "../../../internal/signal.ts"

export interface WakeUps {
  readonly channel: string
  /** Takes a worker in for the life of a scope; answers its entry in the queue's list of those who wait. */
  readonly enter: (woken: Signal) => Effect.Effect<string, never, Scope.Scope>
}

export const makeWakeUps = ({
  clientId,
  hints,
  namespace
}: ConnectionService): Effect.Effect<WakeUps, never, Scope.Scope> =>
  Effect.gen(function* () {
    const channel = `{${namespace}}:wake:${clientId}`
    const workers = new Map<string, Signal>()
    let entered = 0
    yield* hints.listen(channel, (message) => {
      // Some may have been missed: all look.
      if (message === undefined) for (const woken of workers.values()) woken.raise()
      else workers.get(message)?.raise()
    })
    return {
      channel,
      enter: (woken) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => {
              const name = String(++entered)
              workers.set(name, woken)
              return name
            }),
            (name) => Effect.sync(() => workers.delete(name))
          ),
          (name) => `${channel}\n${name}`
        )
    }
  })
