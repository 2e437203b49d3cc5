/**
 * Messages of the server's publish and subscribe: hints that somebody may find something, never data. One connection for all channels,
 * opened with the layer. What a broken connection may have missed is a hint to everybody; a line without an answer to `PING` is given up.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { RedisError } from "./errors.ts"
import type { Target } from "./target.ts"
import { makeWire } from "./wire.ts"

/** How often the line is tested while somebody listens. */
const checkEvery = 5_000

export interface Hints {
  /** Calls `heard` for each message of the channel, and with `undefined` when some may have been missed; until the scope closes. */
  readonly listen: (
    channel: string,
    heard: (message: string | undefined) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Whether the channel is being listened to: without that, look by yourself more often. */
  readonly live: (channel: string) => boolean
}

export const makeHints = (target: Target): Effect.Effect<Hints, RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const wire = yield* makeWire(target)
    const client = wire.client
    const listeners = new Map<string, Set<(message: string | undefined) => void>>()
    /** Subscribed on the connection that stands now. */
    const subscribed = new Set<string>()

    const tell = (channel: string, message: string | undefined) => {
      const those = listeners.get(channel)
      if (those !== undefined) for (const heard of Array.from(those)) heard(message)
    }
    client.on("message", (channel: string, message: string) => tell(channel, message))
    client.on("close", () => subscribed.clear())

    const subscribe = (channel: string): Effect.Effect<void> =>
      Effect.tryPromise(() => client.subscribe(channel)).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            subscribed.add(channel)
            tell(channel, undefined)
          })
        ),
        Effect.ignore
      )
    const catchUp = Effect.suspend(() =>
      client.status === "ready"
        ? Effect.forEach(
            Array.from(listeners.keys()).filter((channel) => !subscribed.has(channel)),
            subscribe,
            { discard: true, concurrency: 16 }
          )
        : Effect.void
    )
    const stir = yield* Latch.make(false)
    client.on("ready", () => stir.openUnsafe())
    // Subscribes what is missing: after a reconnection, and what was refused before.
    const keep = Effect.forever(
      Effect.gen(function* () {
        stir.closeUnsafe()
        yield* catchUp
        yield* Effect.timeoutOption(stir.await, checkEvery)
        if (listeners.size > 0 && !client.isCluster) yield* Effect.ignore(Effect.tryPromise(() => client.ping()))
      })
    )
    yield* Effect.forkScoped(Effect.provideService(keep, Clock.Clock, Clock.Clock.defaultValue()))

    return {
      listen: (channel, heard) =>
        Effect.acquireRelease(
          Effect.suspend(() => {
            const those = listeners.get(channel)
            if (those !== undefined) {
              those.add(heard)
              return Effect.void
            }
            listeners.set(channel, new Set([heard]))
            return subscribe(channel)
          }),
          () =>
            Effect.sync(() => {
              const those = listeners.get(channel)
              those?.delete(heard)
              if (those?.size !== 0) return
              listeners.delete(channel)
              if (!subscribed.delete(channel)) return
              client.unsubscribe(channel).catch(() => undefined)
            })
        ),
      live: (channel) => subscribed.has(channel)
    }
  })
