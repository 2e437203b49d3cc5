/**
 * Who waits for a change, and how a change of somebody else is noticed. Every commit counts the bump key. Commits of this connection
 * wake their waiters at once. Another process on the same file is noticed by reading the bump key every 20 to 250 ms, since Deno KV's own
 * watch never tells of other processes; a remote server is watched, and asked now and then besides. Nobody else can reach a store in
 * memory: there is no timer then, and none while nobody waits.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { Signal } from "../../internal/signal.ts"
import type { NativeFault } from "./faults.ts"
import type { NativeWatch } from "./native.ts"

const quickPoll = 20
const slowPoll = 250
/** A remote store is asked by itself this often, in case its watch failed to tell; more often without a watch. */
const safetyPoll = 10_000
const unwatchedPoll = 500
const rewatch = 1_000

export interface Wake {
  /** Take it before you look: then `wait` misses nothing that came since. */
  readonly version: () => number
  /** Completes when there may have been a change since. May complete for nothing. */
  readonly wait: (version: number) => Effect.Effect<void>
  /** A commit of this connection, with its place. */
  readonly changed: (versionstamp: string) => void
  /** All who wait look again, once the store is closed: their reads then fail, and nothing else would wake them. */
  readonly closed: () => void
}

export interface WakeOptions {
  readonly kind: "memory" | "file" | "remote"
  /** The versionstamp of the bump key. */
  readonly bump: Effect.Effect<string, NativeFault>
  readonly watch: () => NativeWatch
  readonly realClock: Clock.Clock
}

export const makeWake = (options: WakeOptions): Effect.Effect<Wake, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const signal = new Signal()
    const own = { seen: "" }
    const changed = (versionstamp: string) => {
      if (versionstamp > own.seen) own.seen = versionstamp
      signal.raise()
    }
    const version = () => signal.version
    const closed = () => signal.raise()
    switch (options.kind) {
      case "memory":
        return { version, changed, closed, wait: (since) => signal.after(since) }
      case "file":
        return { version, changed, closed, wait: yield* polled(options, signal, own) }
      case "remote": {
        let watching = false
        const live = { yes: false }
        const wait: Wake["wait"] = (since) =>
          Effect.suspend(() => {
            const waited = Effect.timeoutOption(signal.after(since), live.yes ? safetyPoll : unwatchedPoll)
            if (watching) return waited
            watching = true
            return Effect.andThen(Effect.forkIn(watched(options, signal, live), scope), waited)
          }).pipe(Effect.asVoid, Effect.provideService(Clock.Clock, options.realClock))
        return { version, changed, closed, wait }
      }
    }
  })

/** One poller for all who wait, as long as somebody does. */
const polled = (
  { bump, realClock }: WakeOptions,
  signal: Signal,
  own: { seen: string }
): Effect.Effect<Wake["wait"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const wanted = yield* Latch.make(false)
    let waiting = 0
    const poll = Effect.gen(function* () {
      let interval = quickPoll
      while (true) {
        yield* wanted.await
        // A fault is the business of the reads that follow.
        const found = yield* Effect.orElseSucceed(bump, () => own.seen)
        const news = found > own.seen
        if (news) {
          own.seen = found
          signal.raise()
        }
        interval = news ? quickPoll : Math.min(interval * 1.5, slowPoll)
        if (waiting === 0) wanted.closeUnsafe()
        else yield* Effect.sleep(interval)
      }
    })
    yield* Effect.forkScoped(Effect.provideService(poll, Clock.Clock, realClock))
    return (since) =>
      Effect.suspend(() => {
        waiting++
        wanted.openUnsafe()
        return Effect.ensuring(
          signal.after(since),
          Effect.sync(() => void waiting--)
        )
      })
  })

/** Reads the server's watch for as long as the scope lives, and begins again when it ends. */
const watched = ({ realClock, watch }: WakeOptions, signal: Signal, live: { yes: boolean }): Effect.Effect<never> => {
  const once = Effect.acquireUseRelease(
    Effect.sync(() => watch().getReader()),
    (reader) =>
      Effect.tryPromise(() => reader.read()).pipe(
        Effect.tap(({ done }) =>
          Effect.sync(() => {
            live.yes = !done
            signal.raise()
          })
        ),
        Effect.repeat({ until: ({ done }) => done })
      ),
    (reader) =>
      Effect.sync(() => {
        live.yes = false
        reader.cancel().catch(() => undefined)
      })
  )
  return Effect.forever(Effect.andThen(Effect.ignoreCause(once), Effect.sleep(rewatch))).pipe(
    Effect.provideService(Clock.Clock, realClock)
  )
}
