/** The change log, read by the difference of snapshots: what a transaction did is behind a place whose snapshot did not see it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes, toBytes } from "../../../internal/keyCodec.ts"
import { Signal } from "../../../internal/signal.ts"
import type { Driver, Log, LogLine, LogRead, Stored, Watched } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { Cursor } from "../../../kv/model.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { bigint, bigints, bytea, byteas, int, text } from "../params.ts"
import { kvError } from "./error.ts"
import { isSeen, type Place, readPlace, readShowing, readSnapshot, type Shown, writePlace } from "./place.ts"
import { type EntryRow, stampOf, stampParts, storedOf } from "./rows.ts"

/** Commits of one page. Each may hold a thousand keys. */
const window = 512

/** Milliseconds that each watcher leaves the store between two reads, for itself and every other: under a stream of commits a read takes many. */
const gap = 1

const foreign: LogRead = { _tag: "Trimmed", detail: "the position belongs to another store" }

const operations: ReadonlyArray<LogLine["op"]> = ["put", "delete", "expire"]

type ReadRow = readonly [
  what: "L" | "T" | "l" | "e",
  k: Uint8Array,
  op: number,
  xid: bigint,
  n: bigint | null,
  cid: string | null,
  json: string,
  bytes: Uint8Array | null,
  counter: bigint | null,
  expires: number | null,
  cut: bigint | null,
  identity: string
]

const shownOf = (snapshot: string, n: bigint | null, cid: string | null): Shown => ({
  snapshot: readSnapshot(snapshot)!,
  n: n ?? 0n,
  cid: cid ?? ""
})

const failing = <A>(effect: Effect.Effect<A, PostgresFault>): Effect.Effect<A, KvError> =>
  Effect.mapError(effect, kvError("watch"))

export const makeLog = (connection: ConnectionService): Effect.Effect<Driver["log"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const { apart, hints, pollInterval, query, realClock, sql } = connection
    const scope = yield* Effect.scope
    const headSql = sql("SELECT identity, snapshot, n, cid FROM seams.kv_head()")
    const readSql = sql(
      "SELECT what, k, op, xid, n, cid, doc, bytes, counter, expires, cut, identity FROM seams.kv_read($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    )
    const grownSql = sql("SELECT seams.kv_grown($1, $2, $3, $4, $5, $6)")
    const locateSql = sql("SELECT identity, floor FROM seams.kv_locate($1, $2)")

    /** The transactions of lines, for `covers`. */
    const transactions = new WeakMap<LogLine, { readonly xid: bigint; readonly n: bigint }>()
    const heard = new Signal()
    let waiting = 0
    /**
     * Places behind which a read found nothing more, with what was heard before it, and when: who waits there need not look again.
     */
    const ends = new Map<Cursor, { readonly version: number; readonly at: number }>()
    const ended = (cursor: Cursor, version: number) => {
      ends.delete(cursor)
      ends.set(cursor, { version, at: realClock.currentTimeMillisUnsafe() })
      if (ends.size > 1_000) ends.delete(ends.keys().next().value!)
    }

    const pageOf = (place: Place, rows: ReadonlyArray<ReadRow>): LogRead => {
      const lines: Array<Omit<LogLine, "entry"> & { readonly n: bigint; readonly xid: bigint }> = []
      const entries = new Map<Packed, Stored>()
      for (const [what, k, op, xid, n, cid, json, bytes, counter, expires] of rows.slice(0, -1)) {
        const key = fromBytes(k)
        if (what === "e") entries.set(key, storedOf(key, [n!, cid!, json, bytes, counter, expires] satisfies EntryRow))
        else lines.push({ key, op: operations[op - 1]!, versionstamp: stampOf(n!, cid!), n: n!, xid })
      }
      const [, , , , last, lastId, snapshot, , , , cut, identity] = rows.at(-1)!
      const upto = place.upto ?? shownOf(snapshot, last, lastId)
      const next: Place =
        cut === null
          ? { identity, snapshot: upto.snapshot, n: upto.n, cid: upto.cid, upto: undefined }
          : { ...place, upto: { snapshot: upto.snapshot, n: upto.n, cid: upto.cid, after: cut } }
      return {
        _tag: "Lines",
        lines: lines.map(({ key, n, op, versionstamp, xid }) => {
          const line: LogLine = { key, op, versionstamp, entry: entries.get(key) }
          transactions.set(line, { n, xid })
          return line
        }),
        next: writePlace(next),
        // Behind the end of what one snapshot showed others may be there.
        more: cut !== null || place.upto !== undefined
      }
    }

    const read = (after: Cursor, watched: Watched, limit: number): Effect.Effect<LogRead, PostgresFault> =>
      Effect.suspend(() => {
        const place = readPlace(after)
        if (place === undefined) return Effect.succeed(foreign)
        const { cid, identity, n, snapshot, upto } = place
        const { version } = heard
        const range = watched._tag === "Range" ? watched.range : undefined
        const params = [
          text(identity),
          bigint(snapshot.xmin),
          bigint(snapshot.xmax),
          bigints(snapshot.running),
          bigint(n),
          bigint((upto ?? place).n),
          text(upto === undefined ? cid : upto.cid),
          bigint(upto?.snapshot.xmax ?? null),
          bigints(upto?.snapshot.running ?? []),
          bigint(upto?.n ?? null),
          bigint(upto?.after ?? 0n),
          bytea(range === undefined ? null : toBytes(range.start)),
          bytea(range === undefined ? null : toBytes(range.end)),
          watched._tag === "Keys" ? byteas(Array.from(watched.keys, toBytes)) : byteas(null),
          int(limit),
          int(window)
        ]
        return Effect.map(apart(readSql, params), (rows): LogRead => {
          const all = rows as unknown as ReadonlyArray<ReadRow>
          const end = all.at(-1)!
          if (end[0] === "T") return { _tag: "Trimmed", detail: end[6] }
          const page = pageOf(place, all)
          if (page._tag === "Lines" && !page.more) ended(page.next, version)
          return page
        })
      })

    let listening = false
    /** From the first watch on. */
    const listen = Effect.suspend(() => {
      if (listening) return Effect.void
      listening = true
      return Scope.provide(
        hints.listen("kv", () => heard.raise()),
        scope
      )
    })

    /** True: something was heard since. False: it is time to look. */
    const wait = (version: number): Effect.Effect<boolean> =>
      Effect.map(Effect.timeoutOption(heard.after(version), pollInterval()), Option.isSome)

    const grown = (after: Cursor): Effect.Effect<void, PostgresFault> =>
      Effect.suspend(() => {
        const place = readPlace(after)
        if (place === undefined) return Effect.void
        const { cid, identity, n, snapshot } = place
        const look: Effect.Effect<boolean, PostgresFault> = Effect.map(
          apart(grownSql, [
            text(identity),
            bigint(snapshot.xmin),
            bigint(snapshot.xmax),
            bigints(snapshot.running),
            bigint(n),
            text(cid)
          ]),
          ([row]) => row![0] as boolean
        )
        const looked: Effect.Effect<void, PostgresFault> = Effect.suspend(() => {
          const { version } = heard
          return Effect.flatMap(look, (there) =>
            there ? Effect.void : Effect.flatMap(wait(version), (told) => (told ? Effect.void : looked))
          )
        })
        const end = ends.get(after)
        if (end === undefined) return looked
        return Effect.flatMap(wait(end.version), (told) => {
          if (!told) return looked
          const left = end.at + waiting * gap - realClock.currentTimeMillisUnsafe()
          return left > 0 ? Effect.sleep(left) : Effect.void
        })
      })

    const head: Log["head"] = failing(
      // What a watch is shown first comes from the program's transaction too, when there is one: the place must not lie behind it.
      Effect.map(query(headSql, []), ([row]) => {
        const [identity, snapshot, n, cid] = row as unknown as [string, string, bigint | null, string | null]
        return writePlace({ identity, ...shownOf(snapshot, n, cid), upto: undefined })
      })
    )

    return {
      head,
      read: ({ after, limit, watched }) => Effect.andThen(listen, failing(read(after, watched, limit))),
      covers: (at, line) => {
        const shown = readShowing(at)
        const transaction = transactions.get(line)
        return (
          shown !== undefined &&
          transaction !== undefined &&
          transaction.n <= shown.n &&
          isSeen(shown.snapshot, transaction.xid)
        )
      },
      locate: (versionstamp) => {
        const { cid, n } = stampParts(versionstamp)
        return failing(
          Effect.map(apart(locateSql, [bigint(n), text(cid)]), ([row]) => {
            const [identity, floor] = row as unknown as [string, bigint | null]
            if (floor === null) return undefined
            // What had ended when that commit was under way came before it; the rest may be told again.
            const snapshot = { xmin: floor, xmax: floor, running: [] }
            return writePlace({ identity, snapshot, n, cid, upto: undefined })
          })
        )
      },
      grown: (after) =>
        Effect.suspend(() => {
          waiting++
          return Effect.andThen(listen, failing(grown(after)))
        }).pipe(Effect.ensuring(Effect.sync(() => void waiting--)), Effect.provideService(Clock.Clock, realClock))
    }
  })
