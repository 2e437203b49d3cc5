/**
 * How statements reach the server. Outside of a transaction each has a time limit and a connection for itself; inside one of the
 * program's (`withTransaction` of the same client) it joins that transaction, whose limits are the program's.
 */
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { closedFault, faultOf, PostgresFault } from "./faults.ts"

export type Row = ReadonlyArray<unknown>
export type Rows = ReadonlyArray<Row>

export interface Session {
  /** Rows as arrays. Joins the program's transaction when one is open. */
  readonly query: (sql: string, params: ReadonlyArray<unknown>) => Effect.Effect<Rows, PostgresFault>
  /** The same on a connection of its own, whatever transaction is open. */
  readonly apart: (sql: string, params: ReadonlyArray<unknown>) => Effect.Effect<Rows, PostgresFault>
  /** Statements of one transaction: that of the program when one is open, within a savepoint. */
  readonly transaction: <A, E>(
    body: (query: Session["query"]) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E | PostgresFault>
  /** Whether a transaction of the program is open here. */
  readonly joined: Effect.Effect<boolean>
}

/** How often a statement that the server undid because of others is sent again. */
const contendedTries = 10

const valuesOn =
  (connection: Connection) =>
  (sql: string, params: ReadonlyArray<unknown>): Effect.Effect<Rows, PostgresFault> =>
    Effect.mapError(connection.executeValues(sql, params) as Effect.Effect<Rows, SqlError>, faultOf)

/**
 * Ends at its time also when the connection does not: a server that is frozen answers no request to cancel either. Nobody but a client
 * that is closed interrupts the effect itself.
 */
export const limited = <A, E, F>(
  effect: Effect.Effect<A, E>,
  millis: number,
  realClock: Clock.Clock,
  failed: (why: "late" | "interrupted") => F
): Effect.Effect<A, E | F> =>
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
    Effect.timeoutOption(Fiber.await(fiber), millis).pipe(
      Effect.provideService(Clock.Clock, realClock),
      Effect.onInterrupt(() => Effect.sync(() => fiber.interruptUnsafe())),
      Effect.flatMap((ended): Effect.Effect<A, E | F> => {
        if (Option.isNone(ended)) {
          fiber.interruptUnsafe()
          return Effect.fail(failed("late"))
        }
        const exit = ended.value
        return Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? Effect.fail(failed("interrupted")) : exit
      })
    )
  )

export const makeSession = (client: PgClient, commandTimeout: number, realClock: Clock.Clock): Session => {
  const { transactionService } = client
  const without = Context.omit(transactionService) as unknown as <R>(context: Context.Context<R>) => Context.Context<R>

  const within = <A, E>(statement: (sent: () => void) => Effect.Effect<A, E>): Effect.Effect<A, E | PostgresFault> =>
    Effect.suspend(() => {
      let sent = false
      return limited(
        statement(() => void (sent = true)),
        commandTimeout,
        realClock,
        (why) =>
          why === "interrupted"
            ? closedFault
            : sent
              ? new PostgresFault("unknown", `no answer within ${commandTimeout} ms`)
              : new PostgresFault("unsent", `no connection was free within ${commandTimeout} ms`)
      )
    })

  const alone = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.updateContext(effect, without<never>)

  const again = <A, E>(effect: Effect.Effect<A, E | PostgresFault>): Effect.Effect<A, E | PostgresFault> => {
    const attempt = (n: number): Effect.Effect<A, E | PostgresFault> =>
      Effect.catchIf(
        effect,
        (error): error is E | PostgresFault => n < contendedTries && error instanceof PostgresFault && error.contended,
        () =>
          Effect.flatMap(Random.next, (share) =>
            Effect.andThen(
              Effect.provideService(Effect.sleep(2 ** Math.min(n, 6) * (0.5 + share)), Clock.Clock, realClock),
              attempt(n + 1)
            )
          )
      )
    return attempt(0)
  }

  const apart: Session["apart"] = (sql, params) =>
    again(
      within((sent) =>
        alone(
          Effect.scoped(
            Effect.flatMap(Effect.mapError(client.reserve, faultOf), (connection) => {
              sent()
              return valuesOn(connection)(sql, params)
            })
          )
        )
      )
    )

  const open = Effect.serviceOption(transactionService)

  return {
    apart,
    query: (sql, params) =>
      Effect.flatMap(open, (found) =>
        Option.isNone(found) ? apart(sql, params) : valuesOn(found.value[0])(sql, params)
      ),
    transaction: (body) => {
      const inside = client.withTransaction(
        Effect.flatMap(open, (found) => body(valuesOn(Option.getOrThrow(found)[0])))
      )
      const failing = Effect.mapError(inside, (error) => (isSqlError(error) ? faultOf(error) : error))
      return Effect.flatMap(open, (found) =>
        Option.isSome(found)
          ? failing
          : again(
              within((sent) => {
                sent()
                return alone(failing)
              })
            )
      )
    },
    joined: Effect.map(open, Option.isSome)
  }
}

const isSqlError = (error: unknown): error is SqlError =>
  (error as { readonly _tag?: string } | undefined)?._tag === "SqlError"
