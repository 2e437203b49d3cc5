import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeCommitIds } from "../../../internal/ids.ts"
import type { Driver } from "../../../kv/driver.ts"
import { backend, durabilityOf, limits } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { KvOptions } from "../options.ts"
import { makeCommit, settle } from "./commit.ts"
import { Doubts } from "./doubt.ts"
import { kvError, reservedKey } from "./error.ts"
import { makeExclusive } from "./exclusive.ts"
import { isOwn } from "./keys.ts"
import { makeLog } from "./log.ts"
import { makeReads } from "./reads.ts"
import { makeStore } from "./store.ts"
import { makeSweep } from "./sweep.ts"
import { trim } from "./trim.ts"

/** Commits of a generation: renewing it disturbs those under way, reading the log looks at all lines of one. */
const mostPerGeneration = 256
const leastPerGeneration = 16

/**
 * The Kv driver over a connection. Dies with a `RangeError` when `logLength` is not a whole number above zero.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvDriver = (
  connection: ConnectionService,
  options?: KvOptions
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const logLength = options?.logLength ?? 10_000
    if (!(Number.isInteger(logLength) && logLength > 0))
      return yield* Effect.die(
        new RangeError(`logLength of the Deno KV layer is ${logLength}: give a whole number above zero`)
      )
    const scope = yield* Effect.scope
    const nextId = yield* makeCommitIds
    const store = makeStore(connection)
    const doubts = new Doubts()
    const reads = makeReads(store)

    let trimming = false
    const trimOnce = trim(store, logLength).pipe(
      // What stays is forgotten next time.
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logDebug("effect-seams: the change log of Deno KV was not trimmed", cause)
      ),
      Effect.ensuring(Effect.sync(() => void (trimming = false)))
    )
    const renewed = Effect.suspend(() => {
      if (trimming) return Effect.void
      trimming = true
      return Effect.asVoid(Effect.forkIn(trimOnce, scope))
    })

    const commit = makeCommit(store, doubts, {
      perGeneration: Math.max(leastPerGeneration, Math.min(mostPerGeneration, Math.floor(logLength / 4))),
      renewed,
      exclusive: makeExclusive(store, doubts)
    })

    return {
      capabilities: {
        backend,
        shared: connection.kind !== "memory",
        changeLog: true,
        clock: "process",
        limits,
        durability: durabilityOf(connection),
        sharedQueue: false
      },
      store: connection.store,
      now: Effect.sync(connection.now),
      getMany: reads.getMany,
      list: reads.list,
      commit: (request) => {
        for (const { key } of request.checks) if (isOwn(key)) return Effect.fail(reservedKey(key))
        for (const mutation of request.mutations)
          if ("key" in mutation && isOwn(mutation.key)) return Effect.fail(reservedKey(mutation.key))
        return commit(request)
      },
      outcome: (commitId) =>
        settle(store, doubts, commitId).pipe(
          Effect.tap(() => Effect.sync(() => doubts.resolved(commitId))),
          Effect.mapError(kvError("outcome"))
        ),
      sweep: makeSweep(store, nextId),
      log: makeLog(store, reads),
      ping: Effect.asVoid(store.read([])).pipe(Effect.mapError(kvError("ping"))),
      timeout: connection.timeout
    }
  })
