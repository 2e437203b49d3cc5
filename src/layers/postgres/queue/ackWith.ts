/** Acks inside transactions: of the program (`ackWith`), and of a Kv commit that holds `enqueue` and `ack` steps. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import { ClaimLost } from "../../../internal/claimLost.ts"
import type { Step } from "../../../kv/op.ts"
import type { Delivery, SettleError } from "../../../queue/model.ts"
import { QueueError } from "../../../queue/QueueError.ts"
import { Connection, type ConnectionService } from "../connection.ts"
import { faultOf, type PostgresFault } from "../faults.ts"
import type { SharedQueue } from "../kv/driver.ts"
import { bigint, toKey } from "../params.ts"
import type { Session } from "../session.ts"
import { queueError } from "./error.ts"
import { makeNumbers } from "./numbers.ts"
import { makePublisher } from "./publisher.ts"
import { parseToken } from "./records.ts"

/** False: the claim is lost. */
const ackIn = (
  { sql }: ConnectionService,
  query: Session["query"],
  { id, token }: { readonly id: string; readonly token: string }
): Effect.Effect<boolean, PostgresFault> => {
  const parsed = parseToken(token)
  return parsed === undefined
    ? Effect.succeed(false)
    : Effect.map(
        query(sql("SELECT seams.ack($1, $2, $3)"), [
          bigint(BigInt(parsed.seq)),
          bigint(BigInt(parsed.claim)),
          toKey(id)
        ]),
        (rows) => rows[0]![0] as boolean
      )
}

/** The queue's part of a commit of the Kv, inside its transaction. */
export const makeSharedQueue = (connection: ConnectionService): Effect.Effect<SharedQueue> =>
  Effect.map(makePublisher(connection, makeNumbers(connection)), ({ publishIn }) => ({
    enqueue: (query, publications) => Effect.asVoid(publishIn(query, publications)),
    ack: (query, one) => ackIn(connection, query, one)
  }))

/**
 * Runs an effect and acks the message in one transaction of the connection's client: what the effect wrote through that client is there
 * if and only if the message is done, so that each message has its effect once, whoever crashes. When the effect or the commit fails
 * everything is rolled back and the delivery goes on as if nothing had been tried: a handler that fails with it is retried.
 *
 * The message is acked first: while the transaction is open nobody else gets it, also when its lease ends meanwhile. Fails with
 * `ClaimLost` when the claim is lost already. Inside a transaction of the program it is a savepoint of that one, and the message is
 * done when the whole is committed.
 *
 * The delivery must be one of a queue of this room over the same {@link Connection}; another's claim is not found, and is `ClaimLost`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Effect, Layer, Schema } from "effect"
 * import { Queue } from "effect-seams"
 * import * as Postgres from "effect-seams/layers/postgres"
 *
 * const Payments = Queue.define("payments", { payload: Schema.Struct({ account: Schema.String, cents: Schema.Int }) })
 *
 * const Worker = Payments.worker(({ account, cents }, delivery) =>
 *   Effect.gen(function* () {
 *     const sql = yield* PgClient.PgClient
 *     yield* Postgres.ackWith(delivery)(sql`UPDATE accounts SET cents = cents + ${cents} WHERE id = ${account}`)
 *   })
 * )
 *
 * export const main = Worker.pipe(
 *   Layer.provide(Postgres.layerQueueConnected()),
 *   Layer.provide(Postgres.layerConnection({ url: "postgres://localhost/shop" }))
 * )
 * ```
 */
export const ackWith =
  (delivery: Delivery<unknown>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SettleError | SqlError, R | Connection> =>
    Effect.gen(function* () {
      const connection = yield* Connection
      const { client } = connection
      const steps = (yield* delivery.ack["~steps"]) as ReadonlyArray<Extract<Step, { readonly _tag: "Ack" }>>
      const step = steps[0]!
      const end = step.join()
      const inside = Effect.gen(function* () {
        const held = yield* Effect.mapError(ackIn(connection, connection.query, step), queueError("settle"))
        if (!held) return yield* new ClaimLost({ id: step.id, queue: step.queue })
        const answer = yield* effect
        yield* client.afterCommit(Effect.sync(() => end(true)))
        return answer
      })
      return yield* Effect.onExit(client.withTransaction(inside), (exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) end(isUnknown(exit.cause) ? undefined : false)
        })
      )
    })

/** The connection broke, perhaps behind the commit. */
const isUnknown = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => {
    const error = Cause.isFailReason(reason) ? reason.error : undefined
    if (error instanceof QueueError) return false
    return (error as { readonly _tag?: string } | undefined)?._tag === "SqlError"
      ? faultOf(error as SqlError).kind === "unknown"
      : false
  })
