/** What nobody else does on an idle queue: its messages expire, dead letters are kept within their limits, old ids are forgotten. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Retention } from "../../../internal/retention.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { float } from "../params.ts"

/** Each process looks at every queue of the schema this often. */
export const housekeepingEvery = 30_000

/** 0 means no limit. */
const limit = (given: number) => float(given === 0 ? null : given)

export const forkHousekeeper = (
  { apart, realClock, sql }: ConnectionService,
  retention: Retention
): Effect.Effect<void, never, Scope.Scope> => {
  const tendSql = sql("SELECT seams.tend($1, clock_timestamp())")
  const deadSql = sql("SELECT seams.forget_dead($1, $2, $3)")
  /** `most`: what one call does at most. */
  const untilNone = (
    statement: string,
    params: ReadonlyArray<unknown>,
    most = 1_000
  ): Effect.Effect<number, PostgresFault> =>
    Effect.flatMap(apart(statement, params), (rows) => {
      const some = rows[0]![0] as number
      return some < most ? Effect.succeed(some) : Effect.map(untilNone(statement, params, most), (more) => some + more)
    })
  const forget = Effect.andThen(
    apart(sql("SELECT seams.forget_ids()"), []),
    untilNone(sql("SELECT seams.forget()"), [], 10_000)
  )
  const round = Effect.gen(function* () {
    yield* forget
    for (const row of yield* apart(sql("SELECT q, name FROM seams.queue"), [])) {
      const [q, name] = row as readonly [number, string]
      yield* messageExpired(name, yield* untilNone(tendSql, [q]))
      yield* untilNone(deadSql, [q, limit(retention.count), limit(retention.age)])
    }
  })
  const loop = Effect.forever(
    Effect.gen(function* () {
      yield* Effect.sleep(housekeepingEvery * (0.5 + (yield* Random.next)))
      yield* round
    })
  )
  // At once as well: processes that live for moments are all that some programs have.
  // An outage shows in the health of the queue; here it is waited out.
  return Effect.andThen(forget, loop).pipe(
    Effect.retry(Schedule.spaced("5 seconds")),
    Effect.provideService(Clock.Clock, realClock),
    Effect.forkScoped,
    Effect.asVoid
  )
}
