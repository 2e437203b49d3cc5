/**
 * Enqueues that share commits. A few go out at the same time, each in a commit of its own; those that come meanwhile wait for the
 * first answer and then go together. A store that answers slowly gets fewer and larger commits that way, and a quick one is not
 * slowed down.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Limits } from "../../kv/driver.ts"
import type { Published } from "../driver.ts"
import type { QueueError } from "../QueueError.ts"
import { checksOf, type Draft, Room } from "./drafts.ts"
import { accept, unknown } from "./publish.ts"

/** Commits that are under way before others wait. */
const parallel = 4

type Accepted = ReadonlyArray<Published>

interface Waiting {
  readonly drafts: ReadonlyArray<Draft>
  readonly done: Deferred.Deferred<Accepted, QueueError>
}

/** Takes from the front what fits one commit with a check for each mark; one at least. */
const takeGroup = (limits: Limits, waiting: Array<Waiting>): ReadonlyArray<Waiting> => {
  const room = new Room(limits)
  let checks = 0
  let n = 0
  for (const { drafts } of waiting) {
    checks += drafts.reduce((sum, draft) => sum + checksOf(draft), 0)
    if (checks > limits.checks || !drafts.every((draft) => room.take(draft))) break
    n++
  }
  return waiting.splice(0, Math.max(1, n))
}

const acceptAlone = ({ done, drafts }: Waiting): Effect.Effect<unknown> =>
  Effect.flatMap(Effect.exit(accept(drafts)), (exit) => Deferred.done(done, exit))

const acceptGroup = (group: ReadonlyArray<Waiting>): Effect.Effect<unknown> =>
  group.length === 1
    ? acceptAlone(group[0]!)
    : Effect.flatMap(Effect.exit(accept(group.flatMap(({ drafts }) => drafts))), (exit) => {
        if (Exit.isSuccess(exit)) {
          let from = 0
          return Effect.forEach(group, ({ done, drafts }) =>
            Deferred.succeed(done, exit.value.slice(from, (from += drafts.length)))
          )
        }
        const failed = Exit.findErrorOption(exit)
        if (failed._tag === "Some" && failed.value.reason._tag === "EnqueueUnknown") {
          const { cause, detail } = failed.value.reason
          return Effect.forEach(group, ({ done, drafts }) => Deferred.fail(done, unknown(drafts, detail, cause)))
        }
        // It may be the fault of one of them.
        return Effect.forEach(group, acceptAlone)
      })

/** Accepts batches, of which several may share a commit. */
export const makeSharing = (
  limits: Limits
): ((drafts: ReadonlyArray<Draft>) => Effect.Effect<Accepted, QueueError>) => {
  const waiting: Array<Waiting> = []
  let underWay = 0
  /** Whose answer is there leaves its place to those who wait. */
  const next: Effect.Effect<void> = Effect.suspend(() => {
    if (waiting.length > 0) return Effect.andThen(acceptGroup(takeGroup(limits, waiting)), next)
    underWay--
    return Effect.void
  })
  return (drafts) =>
    Effect.suspend(() => {
      if (underWay < parallel) {
        underWay++
        return Effect.ensuring(accept(drafts), Effect.forkDetach(next, { startImmediately: true }))
      }
      const done = Deferred.makeUnsafe<Accepted, QueueError>()
      waiting.push({ drafts, done })
      return Deferred.await(done)
    })
}
