/**
 * Queues have numbers in the tables. A number is made on first use, apart from any transaction of the program, and remembered by the
 * process; when the tables were made anew since, the functions refuse it and it is learnt again.
 */
import * as Effect from "effect/Effect"
import type { ConnectionService } from "../connection.ts"
import { type PostgresFault, unknownQueue } from "../faults.ts"

export interface Numbers {
  readonly of: (queue: string) => Effect.Effect<number, PostgresFault>
  /** Runs what uses numbers; once more when they are no longer known. */
  readonly using: <A>(effect: Effect.Effect<A, PostgresFault>) => Effect.Effect<A, PostgresFault>
}

export const makeNumbers = ({ apart, joined, sql }: ConnectionService): Numbers => {
  const numbers = new Map<string, number>()
  const find = sql("SELECT q FROM seams.queue WHERE name = $1")
  const add = sql("INSERT INTO seams.queue (name) VALUES ($1) ON CONFLICT (name) DO NOTHING")
  const learn = (queue: string): Effect.Effect<number, PostgresFault> =>
    Effect.gen(function* () {
      while (true) {
        const rows = yield* apart(find, [queue])
        if (rows[0] !== undefined) {
          const q = rows[0][0] as number
          numbers.set(queue, q)
          return q
        }
        yield* apart(add, [queue])
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
