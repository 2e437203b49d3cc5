import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeCommitIds } from "../../../internal/ids.ts"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Driver, Limits, Stored } from "../../../kv/driver.ts"
import { portableLimits } from "../../../kv/driver.ts"
import { CommitUnknown, KvError } from "../../../kv/KvError.ts"
import { backend, durabilityOf } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import type { KvOptions } from "../options.ts"
import type { Reply } from "../wire.ts"
import { makeScriptedCommit } from "./commit.ts"
import { kvError } from "./error.ts"
import { kvKeys } from "./keys.ts"
import { makeList } from "./list.ts"
import { makeLog } from "./log.ts"
import { fence, rememberedOutcome } from "./outcomes.ts"
import { storedOf } from "./stamps.ts"
import { makeSweep } from "./sweep.ts"
import { makeWatchedCommit } from "./watchedCommit.ts"

/** What one step can take without holding the server for long. */
const naturalLimits: Limits = {
  key: 2_048,
  value: 16_777_216,
  checks: 1_000,
  mutations: 10_000,
  commit: 33_554_432
}

/** Milliseconds in which the outcome of a commit can be asked for, and in which one that did not arrive is refused. */
const remembered = 60_000
const fenced = 3_600_000
/** Less than `remembered`, for the time between sending and arriving. */
const certain = 45_000

const entriesOf = (wanted: ReadonlyArray<Packed>, reply: Reply): ReadonlyArray<Stored | undefined> => {
  const found = reply as ReadonlyArray<Buffer | null>
  return wanted.map((key, i) => storedOf(key, found[i] ?? null, found[wanted.length + i] ?? null))
}

/**
 * The Kv driver over a connection. Dies with a `RangeError` when `logLength` is not a whole number above zero.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvDriver = (
  connection: ConnectionService,
  options?: KvOptions & { readonly sharedQueue?: boolean | undefined }
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { call, namespace, realClock, server, snapshot } = connection
    const nextId = yield* makeCommitIds
    const keys = kvKeys(namespace)
    const logLength = options?.logLength ?? 100_000
    if (!(Number.isInteger(logLength) && logLength > 0))
      return yield* Effect.die(
        new RangeError(`logLength of the Redis layer is ${logLength}: give a whole number above zero`)
      )

    /** One command is one snapshot on a server that runs scripts; Garnet locks the keys of a transaction only. */
    const getMany = (wanted: ReadonlyArray<Packed>): Effect.Effect<ReadonlyArray<Stored | undefined>, RedisFault> => {
      if (wanted.length === 0) return Effect.succeed([])
      const names = [...wanted.map(keys.value), ...wanted.map(keys.stamp)]
      return server.scripts
        ? Effect.map(call("mget", names), (reply) => entriesOf(wanted, reply))
        : Effect.map(snapshot([{ name: "mget", keys: names }]), ([reply]) => entriesOf(wanted, reply))
    }

    const commitOptions = { logLength, remembered }
    const commit = server.scripts
      ? makeScriptedCommit(connection, keys, commitOptions)
      : yield* makeWatchedCommit(connection, keys, commitOptions)
    /** Commits without an answer, and when they were sent. */
    const doubtful = new Map<string, number>()

    const outcome: Driver["outcome"] = (commitId) =>
      Effect.gen(function* () {
        const key = keys.outcome(commitId)
        // One that is not known is refused from now on, should it still arrive.
        yield* call("set", [key, fence, "PX", fenced, "NX"])
        const found = rememberedOutcome(String(yield* call("get", [key])), commitId)
        const sent = doubtful.get(commitId)
        doubtful.delete(commitId)
        if (found !== "absent") return found
        return sent !== undefined && realClock.currentTimeMillisUnsafe() - sent < certain
          ? ("absent" as const)
          : ("unknown" as const)
      }).pipe(Effect.mapError(kvError("outcome")))

    return {
      capabilities: {
        backend,
        shared: true,
        changeLog: true,
        clock: "server",
        limits: options?.limits === "portable" ? portableLimits : naturalLimits,
        durability: durabilityOf(server),
        sharedQueue: options?.sharedQueue === true && server.scripts
      },
      store: connection.store,
      now: Effect.mapError(connection.now, kvError("now")),
      getMany: (wanted) => Effect.mapError(getMany(wanted), kvError("getMany")),
      list: makeList(connection, keys),
      commit: (request) =>
        Effect.suspend(() => {
          const sent = realClock.currentTimeMillisUnsafe()
          return Effect.tapError(commit(request), (error) =>
            Effect.sync(() => {
              if (error instanceof KvError && error.reason instanceof CommitUnknown) doubtful.set(request.id, sent)
            })
          )
        }),
      outcome,
      sweep: makeSweep(connection, keys, nextId, logLength),
      log: yield* makeLog(connection, keys, getMany),
      ping: Effect.mapError(connection.ping, kvError("ping")),
      // The connection bounds every command by itself.
      timeout: undefined
    }
  })
