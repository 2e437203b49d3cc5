/**
 * What is enqueued in one turn of the event loop goes to the server as one call, each caller's batch whole within it. A call that meets a
 * dedupe key or an id of a transaction that is open gives way after a moment: its batches go one by one then, and only the one that has to
 * wait for that transaction does.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Publication, Published } from "../../../queue/driver.ts"
import type { ConnectionService } from "../connection.ts"
import { lockNotAvailable, PostgresFault } from "../faults.ts"

/** Beyond these a further call is made. */
const mostMessages = 1_000
const mostCharacters = 1_048_576
/** Calls that one lane has under way: more gain nothing, and each takes a connection. */
const mostCalls = 3
/** Of those that wait for a transaction, for as long as it lasts. */
const mostHeld = 2

export interface Waiting {
  readonly batch: ReadonlyArray<Publication>
  readonly since: number
  readonly resume: (exit: Exit.Exit<ReadonlyArray<Published>, PostgresFault>) => void
}

interface LaneOptions {
  readonly mostCalls: number
  /** Takes what would wait for a transaction. Without one, it is waited for. */
  readonly held: ((one: Waiting) => void) | undefined
}

/** @param publish - One call. `patient`: it waits for locks until its time is over; else it fails with `lockNotAvailable` soon. */
export const makeLanes = (
  { commandTimeout, realClock }: ConnectionService,
  publish: (
    batch: ReadonlyArray<Publication>,
    patient: boolean
  ) => Effect.Effect<ReadonlyArray<Published>, PostgresFault>
): Effect.Effect<(one: Waiting) => void> =>
  Effect.map(Effect.context(), (context) => {
    const fork = Effect.runForkWith(context)

    const makeLane = ({ held, mostCalls: most }: LaneOptions): ((one: Waiting) => void) => {
      const waiting: Array<Waiting> = []
      /** A group of these has met a lock. */
      const alone = new WeakSet<Waiting>()
      let scheduled = false
      let calls = 0

      const send = (group: ReadonlyArray<Waiting>): void => {
        const all = group.length === 1 ? group[0]!.batch : group.flatMap(({ batch }) => batch)
        const answer = Effect.catchIf(
          publish(all, held === undefined),
          (fault) => held !== undefined && fault.code === lockNotAvailable,
          () => Effect.void
        )
        calls++
        fork(
          Effect.map(Effect.exit(answer), (exit) => {
            calls--
            if (Exit.isSuccess(exit) && exit.value === undefined) meet(group)
            else answerAll(group, exit as Exit.Exit<ReadonlyArray<Published>, PostgresFault>)
            if (Exit.isFailure(exit)) giveUp()
            if (waiting.length > 0) flush()
          })
        )
      }
      const answerAll = (
        group: ReadonlyArray<Waiting>,
        exit: Exit.Exit<ReadonlyArray<Published>, PostgresFault>
      ): void => {
        let at = 0
        for (const { batch, resume } of group)
          resume(Exit.map(exit, (published) => published.slice(at, (at += batch.length))))
      }
      /** Nothing of the group was added. */
      const meet = (group: ReadonlyArray<Waiting>): void => {
        if (group.length === 1) return held!(group[0]!)
        for (const one of group) alone.add(one)
        waiting.unshift(...group)
      }
      /** What waits while calls fail has a time limit of its own, or an outage would be waited out in line. */
      const giveUp = (): void => {
        const now = realClock.currentTimeMillisUnsafe()
        while (waiting.length > 0 && now - waiting[0]!.since >= commandTimeout)
          waiting
            .shift()!
            .resume(Exit.fail(new PostgresFault("unsent", `no connection was free within ${commandTimeout} ms`)))
      }

      /** What goes in one call: whole batches, as many as are small enough together. */
      const nextGroup = (): ReadonlyArray<Waiting> => {
        let messages = 0
        let characters = 0
        let at = 0
        for (; at < waiting.length; at++) {
          const { batch } = waiting[at]!
          messages += batch.length
          characters += batch.reduce((sum, { message }) => sum + message.payload.length, 0)
          if (at === 0) continue
          if (messages > mostMessages || characters > mostCharacters) break
          if (held === undefined || alone.has(waiting[0]!) || alone.has(waiting[at]!)) break
        }
        return waiting.splice(0, at)
      }
      const flush = (): void => {
        scheduled = false
        for (let free = most - calls; free > 0 && waiting.length > 0; free--) send(nextGroup())
      }
      return (one) => {
        waiting.push(one)
        if (scheduled) return
        scheduled = true
        queueMicrotask(flush)
      }
    }

    const held = makeLane({ mostCalls: mostHeld, held: undefined })
    const keyed = makeLane({ mostCalls, held })
    const plain = makeLane({ mostCalls, held })
    return (one) => (one.batch.some(({ message }) => message.dedupe !== undefined) ? keyed : plain)(one)
  })
