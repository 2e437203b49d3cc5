/** Dead letters, in the order in which they died. */
import * as Effect from "effect/Effect"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { DeadLetters } from "../../../queue/driver.ts"
import { placeOfCursor, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import { queueError } from "./error.ts"
import { deadOf } from "./records.ts"
import { getDeadScript, listDeadScript, takeDeadScript } from "./scripts.ts"

/** Moved in one step: more would hold the server. */
const batch = 200

export const makeDeadLetters = (
  { call, run, server }: ConnectionService,
  keysOf: (queue: string) => ReadonlyArray<string>
): DeadLetters => {
  const uncounted = server.cluster ? 1 : 0
  const lettersKey = (queue: string) => keysOf(queue)[15]!

  const takeSome = (queue: string, what: "requeue" | "purge", which: ReadonlyArray<string | number>) =>
    Effect.flatMap(run(takeDeadScript, keysOf(queue), [uncounted, what, ...which]), (reply) => {
      const [expired, taken] = reply as readonly [number, number]
      return Effect.as(messageExpired(queue, expired), taken)
    })

  const take =
    (what: "requeue" | "purge") =>
    (queue: string, ids: ReadonlyArray<string> | "all"): Effect.Effect<number, QueueError> => {
      const taking: Effect.Effect<number, RedisFault> = Effect.gen(function* () {
        let total = 0
        if (ids === "all") {
          // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
          const last = (yield* call("zrange", [lettersKey(queue), -1, -1, "WITHSCORES"])) as ReadonlyArray<Buffer>
          let taken = last[1] === undefined ? 0 : batch
          while (taken === batch) {
            taken = yield* takeSome(queue, what, ["upto", last[1]!.toString(), batch])
            total += taken
          }
          return total
        }
        const unique = Array.from(new Set(ids))
        for (let i = 0; i < unique.length; i += batch)
          total += yield* takeSome(queue, what, ["ids", ...unique.slice(i, i + batch)])
        return total
      })
      return Effect.mapError(taking, queueError(what))
    }

  return {
    list: (queue, { cursor, limit }) => {
      const after = cursor === undefined ? 0 : placeOfCursor(queue, cursor)
      if (after instanceof QueueError) return Effect.fail(after)
      return Effect.map(
        Effect.mapError(run(listDeadScript, keysOf(queue), [after, limit + 1]), queueError("deadLetters")),
        (reply) => {
          const found = reply as ReadonlyArray<Buffer>
          const shown = Math.min(limit, found.length / 2)
          return {
            letters: Array.from({ length: shown }, (_, i) => deadOf(queue, found[i * 2 + 1]!)),
            cursor: found.length / 2 > limit ? String(Number(found[shown * 2 - 2])) : undefined
          }
        }
      )
    },
    get: (queue, id) =>
      Effect.map(Effect.mapError(run(getDeadScript, keysOf(queue), [id]), queueError("deadLetters")), (reply) =>
        reply === null ? undefined : deadOf(queue, reply as Buffer)
      ),
    requeue: take("requeue"),
    purge: take("purge"),
    count: (queue) => Effect.mapError(Effect.map(call("zcard", [lettersKey(queue)]), Number), queueError("deadLetters"))
  }
}
