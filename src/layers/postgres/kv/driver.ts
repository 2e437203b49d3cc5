import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeCommitIds } from "../../../internal/ids.ts"
import { fromBytes, toBytes } from "../../../internal/keyCodec.ts"
import type { Driver, Limits, Stored } from "../../../kv/driver.ts"
import { portableLimits } from "../../../kv/driver.ts"
import { backend, durabilityOf, unloggedDurability } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { KvOptions } from "../options.ts"
import { bytea, byteas, int } from "../params.ts"
import { makeCommitting, type SharedQueue } from "./commit.ts"
import { kvError } from "./error.ts"
import { makeLog } from "./log.ts"
import { writeShowing } from "./place.ts"
import { type EntryRow, storedOf } from "./rows.ts"
import { makeTending } from "./sweep.ts"

export type { SharedQueue } from "./commit.ts"

/** What one statement can take without holding others up for long. */
const naturalLimits: Limits = {
  key: 2_048,
  value: 16_777_216,
  checks: 1_000,
  mutations: 10_000,
  commit: 33_554_432
}

/**
 * The Kv driver over a connection. Dies with a `RangeError` when `logLength` is not a whole number above zero.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvDriver = (
  connection: ConnectionService,
  options?: Omit<KvOptions, "tracing"> & { readonly sharedQueue?: SharedQueue | undefined }
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { query, server, sql } = connection
    const logLength = options?.logLength ?? 100_000
    if (!(Number.isSafeInteger(logLength) && logLength > 0))
      return yield* Effect.die(
        new RangeError(`logLength of the PostgreSQL layer is ${logLength}: give a whole number above zero`)
      )
    const { sweep, written } = yield* makeTending(connection, yield* makeCommitIds, logLength)
    const { commit, outcome } = yield* makeCommitting(connection, options?.sharedQueue, written)

    const getSql = sql("SELECT place, n, cid, doc, bytes, counter, expires FROM seams.kv_get($1)")
    const getMany: Driver["getMany"] = (keys) =>
      keys.length === 0
        ? Effect.succeed([])
        : Effect.map(query(getSql, [byteas(keys.map(toBytes))]), (rows) => {
            const found: Array<Stored | undefined> = keys.map(() => undefined)
            for (const row of rows) {
              const [place, ...entry] = row as unknown as [number, ...EntryRow]
              found[place - 1] = storedOf(keys[place - 1]!, entry)
            }
            return found
          }).pipe(Effect.mapError(kvError("getMany")))

    const listSql = sql("SELECT k, n, cid, doc, bytes, counter, expires FROM seams.kv_list($1, $2, $3, $4)")
    const list: Driver["list"] = ({ end, start }, { limit, reverse }) =>
      Effect.map(
        query(listSql, [bytea(toBytes(start)), bytea(toBytes(end)), int(Math.min(limit, 2_147_483_647)), reverse]),
        ([first, ...rows]) => {
          const [, n, , snapshot] = first as unknown as [null, bigint, null, string]
          const entries = rows.map((row) => {
            const [k, ...entry] = row as unknown as [Uint8Array, ...EntryRow]
            return storedOf(fromBytes(k), entry)
          })
          return { entries, at: writeShowing(snapshot, n) }
        }
      ).pipe(Effect.mapError(kvError("list")))

    return {
      capabilities: {
        backend,
        shared: true,
        changeLog: true,
        clock: "server",
        limits: options?.limits === "portable" ? portableLimits : naturalLimits,
        durability: connection.unlogged ? unloggedDurability : durabilityOf(server),
        sharedQueue: options?.sharedQueue !== undefined
      },
      store: connection.store,
      now: Effect.mapError(connection.now, kvError("now")),
      getMany,
      list,
      commit,
      outcome,
      sweep,
      log: yield* makeLog(connection),
      ping: Effect.mapError(connection.ping, kvError("ping")),
      // The connection bounds every statement by itself.
      timeout: undefined
    }
  })
