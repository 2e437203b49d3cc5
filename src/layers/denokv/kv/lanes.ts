/** Commits of one process that change the same counters take turns, since they would only make each other's checks fail. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { Packed } from "../../../internal/keyCodec.ts"

interface Lane {
  readonly semaphore: Semaphore.Semaphore
  users: number
}

export class Lanes {
  readonly #lanes = new Map<Packed, Lane>()

  /** `keys` in an order that is the same for all. */
  through<A, E>(keys: ReadonlyArray<Packed>, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return keys.reduceRight((inner, key) => this.#in(key, inner), effect)
  }

  #in<A, E>(key: Packed, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const lane = this.#lanes.get(key) ?? { semaphore: Semaphore.makeUnsafe(1), users: 0 }
      lane.users++
      this.#lanes.set(key, lane)
      return Effect.ensuring(
        lane.semaphore.withPermits(1)(effect),
        Effect.sync(() => {
          lane.users--
          if (lane.users === 0) this.#lanes.delete(key)
        })
      )
    })
  }
}
