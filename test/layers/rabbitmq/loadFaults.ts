/** Producers and workers, while something is done to the broker; and what must be true afterwards. */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Result, type Scope } from "effect"
import * as Queue from "../../../src/Queue.ts"
import { keepDoing, timed, until } from "../../support/faults.ts"
import { Jobs, type Room } from "./supportFaults.ts"

export interface LoadOptions {
  /** Each is used as a process would use it: by two producers and a worker of its own. */
  readonly rooms: ReadonlyArray<Room>
  /** The longest that an enqueue may take, in milliseconds. */
  readonly limit?: number | undefined
  /** How each message is enqueued. Default: without options. */
  readonly options?: ((n: number) => Queue.EnqueueOptions) | undefined
  /** Milliseconds that a handler takes. Default: none. */
  readonly work?: number | undefined
}

export interface Load {
  readonly accepted: () => number
  readonly handled: () => number
  /** Completes when so many more messages have been handled. */
  readonly more: (count: number) => Effect.Effect<void>
  /** Ends it, waits until nothing is left, prints the counts, and checks what must be true. */
  readonly end: (what: string) => Effect.Effect<void>
}

/** How long after the end of it all the last message may be handled: it may have waited for a connection, or run alone. */
const rest = "20 seconds"

export const load = ({
  limit = 7_000,
  options,
  rooms,
  work = 0
}: LoadOptions): Effect.Effect<Load, Queue.QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const accepted = new Set<number>()
    const refused = new Set<number>()
    const unknown = new Set<number>()
    /** How often each was handled. */
    const handled = new Map<number, number>()
    const strange: Array<string> = []
    const reasons = new Set<string>()
    const stops: Array<Effect.Effect<unknown>> = []
    let longest = 0
    let next = 0

    const enqueue = (room: Room, batch: ReadonlyArray<number>): Effect.Effect<void> =>
      Effect.gen(function* () {
        const call = Jobs.enqueueAll(batch, (n) => ({ id: String(n), ...options?.(n) }))
        const { millis, result } = yield* timed("an enqueue", 20_000, Effect.provide(call, room))
        longest = Math.max(longest, millis)
        if (Result.isSuccess(result)) return batch.forEach((n) => accepted.add(n))
        const { reason } = result.failure
        reasons.add(`${reason._tag}: ${"detail" in reason ? reason.detail : ""}`)
        switch (reason._tag) {
          case "Unavailable":
            return batch.forEach((n) => refused.add(n))
          case "EnqueueUnknown":
            return batch.forEach((n) => unknown.add(n))
          case "PartiallyEnqueued":
            // What was not accepted of it may be there: it says so, and nothing names which.
            for (const n of batch) (reason.accepted.includes(String(n)) ? accepted : unknown).add(n)
            return
          default:
            strange.push(result.failure.message)
        }
      })

    for (const room of rooms) {
      yield* Effect.provide(
        Layer.build(
          Jobs.worker(
            (n) =>
              Effect.andThen(
                Effect.sync(() => void handled.set(n, (handled.get(n) ?? 0) + 1)),
                work === 0 ? Effect.void : Effect.sleep(work)
              ),
            { concurrency: 4, prefetch: 4, lease: "2 seconds" }
          )
        ),
        room
      )
      for (const _ of [0, 1])
        // Not as fast as it goes: the broker that starts again needs the processors.
        stops.push(
          yield* keepDoing(
            Effect.suspend(() => enqueue(room, [next++, next++, next++])),
            "10 millis"
          )
        )
    }

    const lost = () => Array.from(accepted).filter((n) => !handled.has(n))
    const ready = (room: Room) => Effect.map(Effect.provide(Jobs.stats, room), (stats) => stats.ready)

    return {
      accepted: () => accepted.size,
      handled: () => handled.size,
      more: (count) =>
        Effect.suspend(() => {
          const before = handled.size
          return until(`${count} more messages are handled`, () => handled.size >= before + count)
        }),
      end: (what) =>
        Effect.gen(function* () {
          for (const stop of stops) yield* stop
          const [room] = rooms
          const begun = performance.now()
          // What is missing is told below, with all the numbers.
          yield* Effect.timeoutOption(
            until("all is handled", () => lost().length === 0, "1 minute"),
            rest
          )
          yield* until(
            "nothing is left",
            Effect.map(ready(room!), (n) => n === 0)
          )
          const dead = yield* Effect.orDie(Effect.provide(Jobs.deadLetters.count, room!))
          const times = Array.from(handled.values()).reduce((sum, one) => sum + one, 0)
          const missing = lost()
          console.log(
            `${what}: accepted ${accepted.size}, refused ${refused.size}, unknown ${unknown.size}, handled ${handled.size}, ` +
              `lost ${missing.length}, duplicated ${times - handled.size}, dead ${dead}; slowest call ${Math.round(longest)} ms, ` +
              `at rest after ${Math.round(performance.now() - begun)} ms${Array.from(reasons, (one) => `; ${one}`).join("")}`
          )
          assert.deepStrictEqual(strange, [])
          assert.deepStrictEqual(missing, [], "what was accepted is handled")
          assert.deepStrictEqual(
            Array.from(refused).filter((n) => handled.has(n)),
            [],
            "what was refused is not handled"
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
