import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Definition } from "./definition.ts"
import type { CronError } from "./errors.ts"

/**
 * What wakes a scheduler in place of its own timer: the scheduler of a runtime or a platform. Which slots are due, and what becomes
 * of them, is decided by this library all the same, so waking too often does no harm.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface WakeUps {
  /** Why a job cannot be woken this way, if it cannot; nothing is stored then. */
  readonly unfit: (definition: Definition) => CronError | undefined
  /** Runs `fire` at every slot of the job, or more often, until the scope closes. */
  readonly register: (definition: Definition, fire: Effect.Effect<void>) => Effect.Effect<void, CronError, Scope.Scope>
}
