/** Dead letters: rows of `seams_dead`, in the order in which they died. */
import * as Effect from "effect/Effect"
import type { DeadLetters } from "../../../queue/driver.ts"
import { placeOfCursor, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { Tx } from "../writer.ts"
import { queueError } from "./error.ts"
import { ready } from "./lines.ts"
import type { DeadRow, RecordRow } from "./rows.ts"
import { deadOf, recordColumns, revivedHead } from "./rows.ts"
import type { MessageStore } from "./store.ts"

const batch = 500

export const makeDeadLetters = (
  connection: ConnectionService,
  store: MessageStore,
  numberOf: (queue: string) => Effect.Effect<number, QueueError>
): DeadLetters => {
  const { prepare, read, write } = connection
  const columns = `n, attempt, deliveries, reason, error, died, ${recordColumns}`
  const page = prepare(`SELECT ${columns} FROM seams_dead WHERE q = ? AND n > ? ORDER BY n LIMIT ?`)
  const latest = prepare(`SELECT ${columns} FROM seams_dead WHERE q = ? AND id = ? ORDER BY n DESC LIMIT 1`)
  const count = prepare("SELECT count(*) AS n FROM seams_dead WHERE q = ?")
  const last = prepare("SELECT max(n) AS n FROM seams_dead WHERE q = ?")
  const take = prepare(
    `DELETE FROM seams_dead WHERE n IN (SELECT n FROM seams_dead WHERE q = ? AND n <= ? ORDER BY n LIMIT ?)
      RETURNING n, deliveries, ${recordColumns}`
  )
  const takeId = prepare(`DELETE FROM seams_dead WHERE q = ? AND id = ? RETURNING n, deliveries, ${recordColumns}`)
  const insert = prepare(
    `INSERT INTO seams_message (seq, q, state, rank, due, deliveries, grp, id, name, enqueued, head, payload)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
  )

  const revive = (tx: Tx, q: number, row: TakenRow): void => {
    const seq = ++tx.seq
    const state = row.grp === null ? ready : store.lines.join(q, row.grp, seq, tx.now)
    insert.run(
      seq,
      q,
      state,
      row.rank,
      tx.now,
      row.deliveries,
      row.grp,
      row.id,
      row.name,
      row.enqueued,
      revivedHead(row.head),
      row.payload
    )
  }

  /** Takes letters away, in transactions of a bounded size, and hands each to `each` in the same transaction. */
  const takeAll = (
    operation: string,
    queue: string,
    ids: ReadonlyArray<string> | "all",
    each: (tx: Tx, q: number, row: TakenRow) => void
  ): Effect.Effect<number, QueueError> =>
    Effect.gen(function* () {
      const q = yield* numberOf(queue)
      const run = (rows: (tx: Tx) => ReadonlyArray<TakenRow>) =>
        write({
          durable: true,
          bytes: batch * 256,
          run: (tx) => {
            const taken = rows(tx).toSorted((a, b) => a.n - b.n)
            for (const row of taken) each(tx, q, row)
            if (taken.length > 0) tx.touched.add(q)
            return taken.length
          }
        })
      let total = 0
      if (ids === "all") {
        // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
        const { n } = (yield* read(() => last.get(q))) as { readonly n: number | null }
        let taken = n === null ? 0 : batch
        while (taken === batch) {
          taken = yield* run(() => take.all(q, n, batch) as ReadonlyArray<TakenRow>)
          total += taken
        }
        return total
      }
      const unique = [...new Set(ids)]
      for (let i = 0; i < unique.length; i += batch) {
        const some = unique.slice(i, i + batch)
        total += yield* run(() => some.flatMap((id) => takeId.all(q, id) as ReadonlyArray<TakenRow>))
      }
      return total
    }).pipe(Effect.mapError((fault) => (fault._tag === "StoreFault" ? queueError(operation)(fault) : fault)))

  const reading = <A>(queue: string, f: (q: number) => A): Effect.Effect<A, QueueError> =>
    Effect.flatMap(numberOf(queue), (q) =>
      Effect.mapError(
        read(() => f(q)),
        queueError("deadLetters")
      )
    )

  return {
    list: (queue, { cursor, limit }) => {
      const after = cursor === undefined ? 0 : placeOfCursor(queue, cursor)
      if (after instanceof QueueError) return Effect.fail(after)
      return reading(queue, (q) => {
        const rows = page.all(q, after, limit + 1) as ReadonlyArray<DeadRow>
        const shown = rows.slice(0, limit)
        return {
          letters: shown.map((row) => deadOf(queue, row)),
          cursor: rows.length > limit ? String(shown.at(-1)?.n ?? 0) : undefined
        }
      })
    },
    get: (queue, id) =>
      reading(queue, (q) => {
        const row = latest.get(q, id) as DeadRow | undefined
        return row === undefined ? undefined : deadOf(queue, row)
      }),
    requeue: (queue, ids) => takeAll("requeue", queue, ids, revive),
    purge: (queue, ids) => takeAll("purge", queue, ids, () => {}),
    count: (queue) => reading(queue, (q) => (count.get(q) as { readonly n: number }).n)
  }
}

interface TakenRow extends RecordRow {
  readonly n: number
  readonly deliveries: number
}
