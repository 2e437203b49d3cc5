/**
 * An outage, the same in all seams: how its message reads, and how a driver call without an answer becomes one.
 */
import * as Effect from "effect/Effect"

export interface Outage {
  readonly backend: string
  readonly operation: string
  readonly detail: string
  /** The cause does not pass by itself: retrying does not help. */
  readonly lasting?: boolean | undefined
}

/** `nothing` says what did not happen: "nothing was written". */
export const outageMessage = ({ backend, detail, lasting, operation }: Outage, nothing: string, noun: string): string =>
  `${operation} failed, ${nothing}: ${detail} (${backend} ${noun})${lasting === true ? "." : ". It may work when tried again later."}`

/** Ends a driver call after `timeout` milliseconds with an outage; without a timeout calls bound themselves and cost no timer. */
export type Bounded<E> = <A>(operation: string, effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

export const boundedBy =
  <E>(backend: string, timeout: number | undefined, failure: (outage: Outage) => E): Bounded<E> =>
  (operation, effect) =>
    timeout === undefined
      ? effect
      : Effect.timeoutOrElse(effect, {
          duration: timeout,
          orElse: () => Effect.fail(failure({ backend, operation, detail: `no answer within ${timeout} ms` }))
        })
