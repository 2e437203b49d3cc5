/** Reading the change log. Commit numbers are dense, so a window of numbers bounds what one read looks at. */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes, toBytes } from "../../../internal/keyCodec.ts"
import type { Driver, Log, LogLine, LogRead, Stored, Watched } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import { kvTopic, opDelete, opPut } from "./apply.ts"
import { kvError } from "./error.ts"
import { cursorCounter, cursorOf, stampCounter, stampOf } from "./rows.ts"

/** Commits looked at in one read: passing over other keys must not hold the event loop. */
const window = 4_096
/** Lines fetched in one read when they are filtered here and not by SQLite. */
const rawLines = 2_048

interface LineRow {
  readonly n: number
  readonly k: Uint8Array
  readonly op: number
  readonly cid: string
}

export const makeLog = (
  connection: ConnectionService,
  meta: () => { readonly counter: number; readonly floor: number },
  get: (key: Packed, time: number) => Stored | undefined
): Driver["log"] => {
  const { now, prepare, read, storeId, wake } = connection
  const lines = "SELECT n, k, op, cid FROM seams_log WHERE n > ? AND n <= ? AND op > 0"
  const all = prepare(`${lines} ORDER BY n, k LIMIT ?`)
  const within = prepare(`${lines} AND k >= ? AND k < ? ORDER BY n, k LIMIT ?`)
  const first = prepare("SELECT cid FROM seams_log WHERE n = ? LIMIT 1")

  const fetch = (watched: Watched, after: number, upto: number, limit: number) =>
    (watched._tag === "Range"
      ? within.all(after, upto, toBytes(watched.range.start), toBytes(watched.range.end), limit)
      : all.all(after, upto, limit)) as ReadonlyArray<LineRow>

  const readLines = (after: string, watched: Watched, limit: number): LogRead => {
    const from = cursorCounter(storeId, after)
    if (from === undefined) return { _tag: "Trimmed", detail: "the position belongs to another store" }
    const { counter, floor } = meta()
    if (from < floor)
      return { _tag: "Trimmed", detail: `the change log begins at commit ${floor + 1} and the position is ${from}` }
    if (from > counter)
      return {
        _tag: "Trimmed",
        detail: `the position ${from} lies behind the store's last commit ${counter}: it was set back`
      }
    const upto = Math.min(counter, from + window)
    const most = watched._tag === "Range" ? limit : Math.max(limit, rawLines)
    let rows = fetch(watched, from, upto, most + 1)
    let next = upto
    const last = rows.at(-1)
    if (rows.length > most && last !== undefined) {
      // Cut between commits: a cursor cannot stand inside one.
      const whole = rows.filter((row) => row.n < last.n)
      next = whole.length > 0 ? last.n - 1 : last.n
      rows = whole.length > 0 ? whole : fetch(watched, last.n - 1, last.n, Number.MAX_SAFE_INTEGER)
    }
    const time = now()
    const found: Array<LogLine> = []
    for (const row of rows) {
      const key = fromBytes(row.k)
      if (watched._tag === "Keys" && !watched.keys.has(key)) continue
      found.push({
        key,
        versionstamp: stampOf(row.n, row.cid),
        op: row.op === opPut ? "put" : row.op === opDelete ? "delete" : "expire",
        entry: get(key, time)
      })
    }
    return { _tag: "Lines", lines: found, next: cursorOf(storeId, next), more: next < counter }
  }

  const grown: Log["grown"] = (after) => {
    const from = cursorCounter(storeId, after) ?? -1
    const look: Effect.Effect<void, KvError> = Effect.suspend(() => {
      const version = wake.version(kvTopic)
      return Effect.flatMap(Effect.mapError(read(meta), kvError("watch")), ({ counter }) =>
        counter !== from ? Effect.void : Effect.andThen(wake.wait(kvTopic, version), look)
      )
    })
    return look
  }

  return {
    head: Effect.mapError(
      read(() => cursorOf(storeId, meta().counter)),
      kvError("watch")
    ),
    read: ({ after, limit, watched }) =>
      read(() => readLines(after, watched, limit), { snapshot: true }).pipe(Effect.mapError(kvError("watch"))),
    covers: (at, line) => line.versionstamp.slice(0, 16) <= at.slice(17),
    locate: (versionstamp) =>
      read(
        () => {
          const n = stampCounter(versionstamp)
          if (!Number.isSafeInteger(n) || n <= meta().floor) return undefined
          const row = first.get(n) as { readonly cid: string } | undefined
          return row?.cid === versionstamp.slice(16) ? cursorOf(storeId, n) : undefined
        },
        { snapshot: true }
      ).pipe(Effect.mapError(kvError("watch"))),
    grown
  }
}
