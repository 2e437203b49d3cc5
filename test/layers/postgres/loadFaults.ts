/** Producers and workers, while something is done to the server; and what must be true afterwards. */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import * as Queue from "../../../src/Queue.ts"
import { keepDoing, reasonIn, succeeds, timed, until } from "../../support/faults.ts"
import { Jobs } from "./supportFaults.ts"

export interface LoadOptions {
  /** Each is used as a process would use it: by two producers and a worker of its own. */
  readonly rooms: ReadonlyArray<Context.Context<Queue.Queue>>
  /** The longest that a call may take. */
  readonly limit?: number | undefined
  /** What workers did in the last moments may be undone, as by a crash: they are told so by nobody. */
  readonly crashes?: boolean | undefined
}

export interface Load {
  readonly accepted: () => number
  readonly handled: () => number
  /** Ends it, waits for rest, prints the counts, and checks what must be true. */
  readonly end: (what: string) => Effect.Effect<void, never, Scope.Scope>
}

export const load = ({
  crashes = false,
  limit = 8_000,
  rooms
}: LoadOptions): Effect.Effect<Load, Queue.QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const accepted = new Set<number>()
    const refused = new Set<number>()
    /** Handlings of each message, by how often it had been delivered. */
    const handled = new Map<number, Array<number>>()
    const strange: Array<string> = []
    let unknown = 0
    let longest = 0
    let next = 0
    const stops: Array<Effect.Effect<unknown>> = []

    /** Until it is known what became of it: the ids are the producer's. */
    const enqueue = (room: Context.Context<Queue.Queue>, batch: ReadonlyArray<number>): Effect.Effect<void> =>
      Effect.gen(function* () {
        const call = Jobs.enqueueAll(batch, (n) => ({ id: `id-${n}` }))
        const { millis, result } = yield* timed("an enqueue", 20_000, Effect.provide(call, room))
        longest = Math.max(longest, millis)
        if (result._tag === "Success") return batch.forEach((n) => accepted.add(n))
        const { _tag, message } = reasonIn(result.failure)
        if (_tag === "Unavailable") return batch.forEach((n) => refused.add(n))
        if (_tag !== "EnqueueUnknown") return void strange.push(message)
        unknown += batch.length
        yield* Effect.sleep("20 millis")
        return yield* again(room, batch)
      })
    const again = (room: Context.Context<Queue.Queue>, batch: ReadonlyArray<number>): Effect.Effect<void> =>
      Effect.gen(function* () {
        const before = refused.size
        yield* enqueue(room, batch)
        // Refused the second time, it may have been accepted the first.
        if (refused.size === before) return
        for (const n of batch) refused.delete(n)
        yield* Effect.sleep("20 millis")
        yield* again(room, batch)
      })

    for (const room of rooms) {
      yield* Effect.provide(
        Layer.build(
          Jobs.worker(
            (n, { deliveryCount }) =>
              Effect.sync(() => void handled.set(n, [...(handled.get(n) ?? []), deliveryCount])),
            { concurrency: 4, prefetch: 4, lease: "2 seconds" }
          )
        ),
        room
      )
      for (const _ of [0, 1])
        stops.push(yield* keepDoing(Effect.suspend(() => enqueue(room, [next++, next++, next++]))))
    }

    return {
      accepted: () => accepted.size,
      handled: () => handled.size,
      end: (what) =>
        Effect.gen(function* () {
          for (const stop of stops) yield* stop
          const room = rooms[0]!
          yield* until("the queue works again", Effect.as(Effect.provide(Jobs.stats, room), true))
          yield* succeeds("the queue is idle", 15_000, Effect.provide(Jobs.awaitIdle, room))
          const lost = Array.from(accepted).filter((n) => !handled.has(n))
          const all = Array.from(handled.values())
          const times = all.reduce((sum, one) => sum + one.length, 0)
          const dead = yield* Effect.orDie(Effect.provide(Jobs.deadLetters.count, room))
          console.log(
            `${what}: accepted ${accepted.size}, refused ${refused.size}, unknown ${unknown}, handled ${handled.size}, ` +
              `lost ${lost.length}, duplicated ${times - handled.size}, dead ${dead}; slowest call ${Math.round(longest)} ms`
          )
          assert.deepStrictEqual(strange, [])
          assert.deepStrictEqual(lost, [], "what was accepted is handled")
          assert.deepStrictEqual(
            Array.from(handled.keys()).filter((n) => !accepted.has(n)),
            [],
            "what was refused is not handled"
          )
          if (!crashes)
            assert.deepStrictEqual(
              all.filter((one) => one.filter((count) => count === 1).length > 1),
              [],
              "nothing was accepted twice"
            )
          assert.strictEqual(dead, 0)
          assert.isBelow(longest, limit, "every call ends within the limit")
          for (const one of rooms)
            yield* until(
              "everything is up",
              Effect.map(Context.get(one, Queue.Queue).health, ({ status }) => status === "up")
            )
        })
    }
  })
