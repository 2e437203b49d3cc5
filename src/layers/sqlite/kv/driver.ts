import * as Effect from "effect/Effect"
import { makeCommitIds } from "../../../internal/ids.ts"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes, toBytes } from "../../../internal/keyCodec.ts"
import type { CommitOutcome, Driver, Limits, Stored } from "../../../kv/driver.ts"
import { portableLimits } from "../../../kv/driver.ts"
import { CommitUnknown, KvError } from "../../../kv/KvError.ts"
import { backend, durabilityOf } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { StoreFault } from "../faults.ts"
import { reportExpired } from "../queue/expired.ts"
import { MessageStore } from "../queue/store.ts"
import type { Job } from "../writer.ts"
import { KvTables } from "./apply.ts"
import { kvError } from "./error.ts"
import { makeLog } from "./log.ts"
import type { KvRow } from "./rows.ts"
import { cursorOf, stampOf, storedOf } from "./rows.ts"
import { makeSweep } from "./sweep.ts"

/** What one synchronous transaction can take without holding the event loop for long. */
const naturalLimits: Limits = {
  key: 2_048,
  value: 16_777_216,
  checks: 1_000,
  mutations: 10_000,
  commit: 33_554_432
}

const asSnapshot = { snapshot: true } as const

/** The Kv driver over an open connection. */
export const makeKvDriver = (
  connection: ConnectionService,
  options?: { readonly sharedQueue?: boolean | undefined }
): Effect.Effect<Driver> =>
  Effect.map(makeCommitIds, (nextId): Driver => {
    const { now, prepare, read, storeId, write } = connection
    const messages = new MessageStore(connection)
    const tables = new KvTables(connection, messages)

    // Not the text that `apply.ts` prepares: this statement gives arrays, and statements are shared by their text.
    const one = prepare("SELECT exp, kind, v, vs FROM seams_kv WHERE k = ?")
    one.setReturnArrays(true)
    const counter = prepare("SELECT counter, floor FROM seams_meta WHERE id = 1")
    const range = (order: "ASC" | "DESC") =>
      prepare(
        `SELECT k, kind, v, vs, exp FROM seams_kv WHERE k >= ? AND k < ? AND (exp IS NULL OR exp > ?) ORDER BY k ${order} LIMIT ?`
      )
    const upwards = range("ASC")
    const downwards = range("DESC")

    /** `time` is one for all that is read together: what one commit gave one deadline is there or gone as a whole. */
    const get = (key: Packed, time: number): Stored | undefined => {
      const row = one.get(toBytes(key)) as readonly [number | null, number, string | Uint8Array, string] | undefined
      if (row === undefined) return undefined
      const [exp, kind, v, vs] = row
      return exp === null || exp > time ? storedOf(key, { exp, kind, v, vs }) : undefined
    }
    const getAll = (keys: ReadonlyArray<Packed>, time: number) => keys.map((key) => get(key, time))
    const getManyError = kvError("getMany")
    const head = () => counter.get() as { readonly counter: number; readonly floor: number }

    /** Commits whose COMMIT failed, with the store's counter when they were tried: `absent` is certain from there on. */
    const doubtful = new Map<string, number>()
    const commitFault = (commitId: string, counterThen: number, fault: StoreFault): KvError => {
      if (fault.kind !== "unknown") return kvError("commit")(fault)
      doubtful.set(commitId, counterThen)
      return new KvError({
        reason: new CommitUnknown({ backend, commitId, detail: fault.detail, cause: fault.cause })
      })
    }

    const commit: Driver["commit"] = (request) => {
      let expired: ReadonlyMap<string, number> | undefined
      let counterThen = 0
      const job: Job<CommitOutcome | KvError> = {
        durable: true,
        bytes: request.size + request.mutations.length * 128,
        run: (tx) => {
          counterThen = tx.counter
          expired = undefined
          messages.begin()
          const outcome = tables.commit(tx, request)
          expired = messages.expired
          return outcome
        }
      }
      const written = Effect.mapError(write(job), (fault) => commitFault(request.id, counterThen, fault))
      return Effect.flatMap(written, (outcome) =>
        outcome instanceof KvError
          ? Effect.fail(outcome)
          : expired === undefined
            ? Effect.succeed(outcome)
            : Effect.as(reportExpired(expired), outcome)
      )
    }

    const found = prepare("SELECT n FROM seams_log WHERE cid = ? LIMIT 1")
    const fence = prepare("UPDATE seams_meta SET fence = fence + 1 WHERE id = 1")
    const outcome: Driver["outcome"] = (commitId) =>
      write({
        durable: true,
        bytes: 0,
        run: (tx) => {
          const row = found.get(commitId) as { readonly n: number } | undefined
          if (row !== undefined) return { _tag: "Committed", versionstamp: stampOf(row.n, commitId) } as const
          // Lines that the log has dropped may have named it.
          if (tx.floor > (doubtful.get(commitId) ?? 0)) return "unknown" as const
          // Frames of a COMMIT that failed may lie in the write-ahead log: this write goes over them, so they cannot come back.
          fence.run()
          return "absent" as const
        }
      }).pipe(
        Effect.tap(() => Effect.sync(() => doubtful.delete(commitId))),
        Effect.mapError(kvError("outcome"))
      )

    return {
      capabilities: {
        backend,
        shared: connection.shared,
        changeLog: true,
        clock: "machine",
        limits: connection.limits === "portable" ? portableLimits : naturalLimits,
        durability: durabilityOf(connection),
        sharedQueue: options?.sharedQueue === true
      },
      store: connection.store,
      now: Effect.sync(now),
      getMany: (keys) =>
        Effect.mapError(
          keys.length === 1 ? read(() => [get(keys[0]!, now())]) : read(() => getAll(keys, now()), asSnapshot),
          getManyError
        ),
      list: ({ end, start }, { limit, reverse }) =>
        read(() => {
          const rows = (reverse ? downwards : upwards).all(toBytes(start), toBytes(end), now(), limit)
          const entries: Array<Stored> = []
          for (const row of rows as ReadonlyArray<KvRow & { readonly k: Uint8Array }>)
            entries.push(storedOf(fromBytes(row.k), row))
          return { entries, at: cursorOf(storeId, head().counter) }
        }, asSnapshot).pipe(Effect.mapError(kvError("list"))),
      commit,
      outcome,
      sweep: makeSweep(connection, tables, nextId),
      log: makeLog(connection, head, get),
      ping: Effect.andThen(read(head), connection.inPlace).pipe(Effect.mapError(kvError("ping"))),
      timeout: undefined
    }
  })
