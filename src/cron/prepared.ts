import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Definition, Local } from "./definition.ts"
import type { CronError } from "./errors.ts"
import type { AttemptHost, Host } from "./host.ts"
import type { CurrentRun, Run } from "./run.ts"

/**
 * A job whose options were checked and whose handler has its services: what a scheduler registers. Opaque to users.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prepared {
  readonly definition: Definition
  readonly local: Local
  /** Why a scheduler cannot keep this job's promises, if it cannot. */
  readonly unfit?: ((host: Host) => CronError | undefined) | undefined
  /** One attempt; gives the encoded success value when there is a schema for it. */
  readonly handler: (
    run: Run,
    attempt: AttemptHost
  ) => Effect.Effect<Schema.Json | undefined, unknown, Scope.Scope | CurrentRun>
  /** The encoded error, when there is a schema and the error fits it. */
  readonly encodeError: (error: unknown) => Effect.Effect<Schema.Json | undefined>
}
