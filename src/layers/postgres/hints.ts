/**
 * `LISTEN` and `NOTIFY`: hints that somebody may find something, never data. One connection and one channel for all seams of a layer;
 * what a broken connection may have missed is a hint to everybody.
 *
 * A payload is words with blanks between: `kv` for the change log, a queue's number for a queue, with `@` and the lowest number of a fresh
 * message behind it when there is one. Words are gathered and sent apart from the transaction that they tell of: `NOTIFY` holds a
 * lock of the whole database until its commit is on the disk, which would let one commit through at a time.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Pool from "effect/Queue"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Reactivity from "effect/reactivity/Reactivity"
import { limited, type Session } from "./session.ts"
import { farewell, type Sockets } from "./sockets.ts"
import type { Settings } from "./target.ts"

/** Between two notifications of a process. */
const gap = 3
/** How long a layer that is built waits for its first `LISTEN`: without it, it polls at first. */
const patience = 2_000
/** Between two calls to oneself that nobody hears. */
const longestCall = 30_000
/** A payload has 8,000 bytes. */
const mostWords = 200

const unheard = (detail: string, pollInterval: number) =>
  Effect.logWarning(
    `effect-seams: notifications of PostgreSQL do not arrive (${detail}); workers and watchers look every ${pollInterval} ms until they do`
  )

export interface Hints {
  /** Calls `heard` with what stands behind the word's `@`, and with `undefined` when some may have been missed; until the scope closes. */
  readonly listen: (
    topic: string,
    heard: (low: number | undefined, missed: boolean) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Tells this process at once, and the others soon. */
  readonly tell: (topic: string, low?: number) => void
  /** Whether hints of other processes arrive: without that, look by yourself more often. */
  readonly live: () => boolean
  readonly channel: string
}

export const makeHints = (
  client: PgClient.PgClient,
  session: Session,
  { listen, pollInterval }: Settings,
  store: string,
  sockets: Sockets,
  realClock: Clock.Clock
): Effect.Effect<Hints, never, Scope.Scope> =>
  Effect.gen(function* () {
    const channel = `seams_${store.replaceAll("-", "")}`
    const listeners = new Map<string, Set<(low: number | undefined, missed: boolean) => void>>()
    let live = false
    const first = Latch.makeUnsafe(false)
    const hear = (topic: string, low: number | undefined, missed: boolean) => {
      for (const heard of Array.from(listeners.get(topic) ?? [])) heard(low, missed)
    }
    const missed = () => {
      for (const topic of Array.from(listeners.keys())) hear(topic, undefined, true)
    }
    const read = (payload: string) => {
      for (const word of payload.split(" ")) {
        const at = word.indexOf("@")
        if (at < 0) hear(word, undefined, false)
        else hear(word.slice(0, at), Number(word.slice(at + 1)), false)
      }
    }

    const direct =
      typeof listen === "boolean"
        ? Effect.succeed(client)
        : Effect.provideServiceEffect(
            PgClient.makeClient(sockets.of(listen.config, listen)),
            Reactivity.Reactivity,
            Reactivity.make
          )
    const notify = (payload: string) => session.apart("SELECT pg_notify($1, $2)", [channel, payload])
    /** Until it is heard. A pooler in transaction mode accepts a `LISTEN` and passes nothing on. */
    const calling = (echo: string, round = 0): Effect.Effect<void> =>
      Effect.suspend(() =>
        live
          ? Effect.void
          : Effect.gen(function* () {
              if (round === 2)
                yield* unheard("is a pooler between? Give listen: false or a direct address", pollInterval)
              yield* Effect.ignore(notify(echo))
              yield* Effect.sleep(Math.min(longestCall, 500 * 2 ** round))
              yield* calling(echo, round + 1)
            })
      )
    const once = Effect.acquireUseRelease(
      Scope.make(),
      (scope) =>
        Effect.gen(function* () {
          const notifications = yield* Effect.flatMap(direct, (one) => one.listen(channel))
          const echo = `echo-${globalThis.crypto.randomUUID()}`
          yield* Effect.forkScoped(calling(echo))
          while (true) {
            const { payload } = yield* Pool.take(notifications)
            if (payload !== echo) read(payload)
            else if (!live) {
              live = true
              first.openUnsafe()
              missed()
            }
          }
        }).pipe(Scope.provide(scope)),
      (scope, exit) => {
        live = false
        // It waits for the answer to an UNLISTEN.
        return Effect.ignore(limited(Scope.close(scope, exit), farewell, realClock, () => undefined))
      }
    )
    const listening = Effect.gen(function* () {
      let failures = 0
      while (true) {
        const begun = realClock.currentTimeMillisUnsafe()
        const exit = yield* Effect.exit(once)
        if (realClock.currentTimeMillisUnsafe() - begun > 10_000) failures = 0
        if (failures++ === 0 && Exit.isFailure(exit)) yield* unheard(String(Cause.squash(exit.cause)), pollInterval)
        yield* Effect.sleep(Math.min(2_000, 25 * 2 ** Math.min(failures, 7)) * (0.5 + (yield* Random.next)))
      }
    })
    if (listen !== false) {
      yield* Effect.forkScoped(Effect.provideService(listening, Clock.Clock, realClock))
      yield* Effect.provideService(Effect.timeoutOption(first.await, patience), Clock.Clock, realClock)
    }

    let pending = new Map<string, number | undefined>()
    const something = Latch.makeUnsafe(false)
    const send = Effect.suspend(() => {
      something.closeUnsafe()
      const words = Array.from(pending, ([topic, low]) => (low === undefined ? topic : `${topic}@${low}`))
      pending = new Map()
      const payloads: Array<string> = []
      for (let i = 0; i < words.length; i += mostWords) payloads.push(words.slice(i, i + mostWords).join(" "))
      // One that is lost is made up for by those who look by themselves.
      return Effect.ignore(Effect.forEach(payloads, notify, { discard: true }))
    })
    const telling = Effect.forever(Effect.andThen(something.await, Effect.andThen(send, Effect.sleep(gap))))
    // Also without a listener of our own: others of the schema may have one.
    yield* Effect.forkScoped(Effect.provideService(telling, Clock.Clock, realClock))

    return {
      channel,
      listen: (topic, heard) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const those = listeners.get(topic)
            if (those === undefined) listeners.set(topic, new Set([heard]))
            else those.add(heard)
          }),
          () =>
            Effect.sync(() => {
              const those = listeners.get(topic)
              those?.delete(heard)
              if (those?.size === 0) listeners.delete(topic)
            })
        ),
      tell: (topic, low) => {
        hear(topic, low, false)
        const before = pending.get(topic)
        pending.set(topic, low === undefined ? before : before === undefined ? low : Math.min(before, low))
        something.openUnsafe()
      },
      live: () => live
    }
  })
