/** Removing what is expired, in batches, each a commit of its own; and dropping lines of the log by age on the way. */
import * as Effect from "effect/Effect"
import type { Driver } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import type { KvTables } from "./apply.ts"
import { kvError } from "./error.ts"

const batch = 256
const trimBatch = 4_096

export const makeSweep = (connection: ConnectionService, tables: KvTables, nextId: () => string): Driver["sweep"] => {
  const { logAge, now, prepare, read, write } = connection
  const expired = prepare("SELECT k FROM seams_kv WHERE exp IS NOT NULL AND exp <= ? ORDER BY exp LIMIT ?")
  const next = prepare("SELECT min(exp) AS exp FROM seams_kv WHERE exp IS NOT NULL")
  const oldest = prepare("SELECT at FROM seams_log ORDER BY n LIMIT 1")
  const aged = prepare("SELECT n, at FROM seams_log WHERE n > ? AND n <= ? ORDER BY n")
  const trim = prepare("DELETE FROM seams_log WHERE n <= ?")

  const look = () => ({
    exp: (next.get() as { readonly exp: number | null }).exp,
    at: logAge === Number.POSITIVE_INFINITY ? null : ((oldest.get() as { readonly at: number } | undefined)?.at ?? null)
  })

  const sweepBatch = Effect.suspend(() => {
    const id = nextId()
    return write({
      durable: true,
      bytes: batch * 64,
      run: (tx) => {
        const rows = expired.all(tx.now, batch) as ReadonlyArray<{ readonly k: Uint8Array }>
        if (rows.length > 0)
          tables.expire(
            tx,
            rows.map((row) => row.k),
            id
          )
      }
    })
  })

  const trimAged = write({
    durable: false,
    bytes: 0,
    run: (tx) => {
      let floor = tx.floor
      for (const row of aged.all(tx.floor, tx.floor + trimBatch) as ReadonlyArray<{ n: number; at: number }>) {
        if (row.at > tx.now - logAge) break
        floor = row.n
      }
      if (floor === tx.floor) return
      trim.run(floor)
      tx.floor = floor
    }
  })

  const sweep: Effect.Effect<number | undefined, KvError> = Effect.gen(function* () {
    while (true) {
      const { at, exp } = yield* read(look)
      const due = exp !== null && exp <= now()
      const old = at !== null && at <= now() - logAge
      if (due) yield* sweepBatch
      if (old) yield* trimAged
      if (!due && !old) return exp ?? undefined
    }
  }).pipe(Effect.mapError(kvError("sweep")))
  return sweep
}
