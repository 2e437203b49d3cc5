/** Waiting until keys come or go, by a watch and without polling. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Packed } from "../../internal/keyCodec.ts"
import { KvError } from "../KvError.ts"
import { packKey } from "../list.ts"
import type { Key } from "../model.ts"
import type { Service } from "../service.ts"

interface Awaited {
  /** Until one of these has no entry. */
  readonly gone?: ReadonlyArray<Key> | undefined
  /** Or one of these has one. */
  readonly present?: ReadonlyArray<Key> | undefined
}

/** Completes when a key has come or gone, at once if it has already. Outages are waited out, so give it a time limit. */
const change = (kv: Service, { gone = [], present = [] }: Awaited): Effect.Effect<void, KvError> =>
  Effect.gen(function* () {
    const leaving = new Set<Packed>()
    const coming = new Set<Packed>()
    for (const [keys, into] of [[gone, leaving] as const, [present, coming] as const])
      for (const key of keys) {
        const packed = packKey(key)
        if (packed instanceof KvError) return yield* packed
        into.add(packed)
      }
    const seen = new Set<unknown>()
    yield* kv.watch([...gone, ...present]).pipe(
      Stream.filter((event) => {
        switch (event._tag) {
          case "Put": {
            const packed = packKey(event.entry.key) as Packed
            seen.add(packed)
            return coming.has(packed)
          }
          case "Delete":
          case "Expire":
            return leaving.has(packKey(event.key) as Packed)
          case "Synced":
            return Array.from(leaving).some((key) => !seen.has(key))
          case "Reset":
            seen.clear()
            return false
          default:
            return false
        }
      }),
      Stream.runHead
    )
  })

/** {@link change}, or until the time is over: who waits looks again then, and so learns of an outage. */
export const waitFor = (kv: Service, millis: number, awaited: Awaited): Effect.Effect<void, KvError> =>
  Effect.timeoutOrElse(change(kv, awaited), { duration: millis, orElse: () => Effect.void })

/** A wait survives an outage shorter than the lease: what fails for want of the store is tried again for that long. */
export const patiently = <A, R>(lease: number, effect: Effect.Effect<A, KvError, R>): Effect.Effect<A, KvError, R> =>
  Effect.retry(effect, { schedule: withinLease(lease), while: (error) => error.isRetryable })

/** Tries again, ever less often, for as long as a lease. */
export const withinLease = (lease: number) =>
  Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced(Duration.millis(lease / 8))]).pipe(
    Schedule.jittered,
    Schedule.upTo({ duration: lease })
  )

/** Milliseconds after which a waiter looks again in any case; a watch says all, but not that the store is down. */
export const lookAgain = (lease: number): number => Math.max(lease, 5_000)
