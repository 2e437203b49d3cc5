/** Dead letters: rows of `dead`, in the order in which they died. */
import * as Effect from "effect/Effect"
import type { DeadLetters } from "../../../queue/driver.ts"
import { placeOfCursor, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { bigint, texts, toKey } from "../params.ts"
import type { Rows } from "../session.ts"
import { queueError } from "./error.ts"
import type { Numbers } from "./numbers.ts"
import { deadColumns, deadOf } from "./records.ts"

/** Moved in one transaction. */
const batch = 500

const one = (rows: Rows) => rows[0]![0] as number

export const makeDeadLetters = ({ hints, joined, query, sql }: ConnectionService, numbers: Numbers): DeadLetters => {
  const page = sql(`SELECT ${deadColumns} FROM seams.dead WHERE q = $1 AND n > $2 ORDER BY n LIMIT $3`)
  const latest = sql(`SELECT ${deadColumns} FROM seams.dead WHERE q = $1 AND id = $2 ORDER BY n DESC LIMIT 1`)
  const count = sql("SELECT count(*)::double precision FROM seams.dead WHERE q = $1")
  const last = sql("SELECT max(n)::double precision FROM seams.dead WHERE q = $1")
  const takeSql = sql("SELECT seams.take_dead($1, $2, $3, $4, $5, $6)")

  const reading = <A>(
    operation: string,
    queue: string,
    run: (q: number) => Effect.Effect<A, PostgresFault>
  ): Effect.Effect<A, QueueError> =>
    Effect.mapError(numbers.using(Effect.flatMap(numbers.of(queue), run)), queueError(operation))

  const take =
    (operation: string, back: boolean) =>
    (queue: string, ids: ReadonlyArray<string> | "all"): Effect.Effect<number, QueueError> =>
      reading(operation, queue, (q) =>
        Effect.gen(function* () {
          const inside = yield* joined
          const some = (named: ReadonlyArray<string> | null, upto: number) =>
            Effect.map(
              query(takeSql, [
                q,
                named === null ? null : texts(named.map(toKey)),
                bigint(BigInt(upto)),
                batch,
                back,
                !inside
              ]),
              (rows) => rows[0]![0] as number
            )
          let total = 0
          if (ids === "all") {
            // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
            const upto = (yield* query(last, [q]))[0]![0] as number | null
            let taken = upto === null ? 0 : batch
            while (taken === batch) {
              taken = yield* some(null, upto ?? 0)
              total += taken
            }
          } else {
            const unique = Array.from(new Set(ids))
            for (let i = 0; i < unique.length; i += batch) total += yield* some(unique.slice(i, i + batch), 0)
          }
          // Inside a transaction of the program: at its commit.
          if (back && total > 0 && inside) yield* query("SELECT pg_notify($1, $2)", [hints.channel, String(q)])
          else if (back && total > 0) hints.tell(String(q))
          return total
        })
      )

  return {
    list: (queue, { cursor, limit }) => {
      const after = cursor === undefined ? 0 : placeOfCursor(queue, cursor)
      if (after instanceof QueueError) return Effect.fail(after)
      return reading("deadLetters", queue, (q) =>
        Effect.map(query(page, [q, bigint(BigInt(after)), limit + 1]), (rows) => {
          const shown = rows.slice(0, limit)
          return {
            letters: shown.map((row) => deadOf(queue, row)),
            cursor: rows.length > limit ? String(shown.at(-1)?.[0] ?? 0) : undefined
          }
        })
      )
    },
    get: (queue, id) =>
      reading("deadLetters", queue, (q) =>
        Effect.map(query(latest, [q, toKey(id)]), ([row]) => (row === undefined ? undefined : deadOf(queue, row)))
      ),
    requeue: take("requeue", true),
    purge: take("purge", false),
    count: (queue) => reading("deadLetters", queue, (q) => Effect.map(query(count, [q]), one))
  }
}
