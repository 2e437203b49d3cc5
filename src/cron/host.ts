import type * as Effect from "effect/Effect"
import type { Step } from "../kv/op.ts"
import type { Capabilities, Store } from "./store.ts"

/**
 * What a job may ask of the scheduler it is registered with.
 *
 * @internal
 */
export interface Host {
  readonly capabilities: Capabilities
  readonly joins: Store["joins"]
  readonly marks: Store["marks"]
}

/**
 * The same for one attempt of a run.
 *
 * @internal
 */
export interface AttemptHost extends Host {
  /** When the first attempt of the run started, by the store's clock, in milliseconds since 1970. */
  readonly startedAt: number
  /** The store's clock. */
  readonly now: Effect.Effect<number>
  /** Messages that are committed together with the record of this attempt's success, if the claim still holds then. */
  readonly commitWith: (steps: ReadonlyArray<Step>) => void
}
