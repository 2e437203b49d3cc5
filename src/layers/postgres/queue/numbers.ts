/**
 * Queues have numbers in the tables. A number is made on first use and remembered by the process; when the tables were made anew since,
 * the functions refuse it and it is learnt again.
 *
 * A transaction of the program looks for a number on its own connection, since all others may be taken by more of its kind. One that is
 * missing is made apart, where nobody who needs it too waits for the transaction; inside it only when no connection becomes free.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { ConnectionService } from "../connection.ts"
import { type PostgresFault, unknownQueue } from "../faults.ts"

export interface Numbers {
  readonly of: (queue: string) => Effect.Effect<number, PostgresFault>
  /** Runs what uses numbers; once more when they are no longer known. */
  readonly using: <A>(effect: Effect.Effect<A, PostgresFault>) => Effect.Effect<A, PostgresFault>
}

/** How long a transaction of the program waits for a second connection. */
const patience = 250

export const makeNumbers = ({ apart, joined, query, realClock, sql }: ConnectionService): Numbers => {
  const numbers = new Map<string, number>()
  const find = sql("SELECT q FROM seams.queue WHERE name = $1")
  const add = sql("INSERT INTO seams.queue (name) VALUES ($1) ON CONFLICT (name) DO NOTHING")
  const addSoon = (queue: string) =>
    Effect.timeoutOption(apart(add, [queue]), patience).pipe(
      Effect.provideService(Clock.Clock, realClock),
      Effect.ignore
    )
  const learn = (queue: string): Effect.Effect<number, PostgresFault> =>
    Effect.gen(function* () {
      const inside = yield* joined
      const run = inside ? query : apart
      for (let round = 0; ; round++) {
        const rows = yield* run(find, [queue])
        if (rows[0] !== undefined) {
          const q = rows[0][0] as number
          numbers.set(queue, q)
          return q
        }
        yield* inside && round === 0 ? addSoon(queue) : run(add, [queue])
      }
    })
  return {
    of: (queue) =>
      Effect.suspend(() => {
        const known = numbers.get(queue)
        return known === undefined ? learn(queue) : Effect.succeed(known)
      }),
    using: (effect) =>
      Effect.catchIf(
        effect,
        (fault) => fault.code === unknownQueue,
        (fault) => {
          numbers.clear()
          // The server has ended a transaction of the program's with this.
          return Effect.flatMap(joined, (inside) => (inside ? Effect.fail(fault) : effect))
        }
      )
  }
}
