/** Writers, producers, workers and a watch, while something is done to the server; and what must be true afterwards. */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Result, type Scope, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import type * as Queue from "../../../src/Queue.ts"
import {
  type Watcher,
  Jobs,
  keepDoing,
  nameOf,
  reasonIn,
  succeeds,
  until,
  using,
  watching,
  working
} from "./supportFaults.ts"

type Room = Context.Context<Kv.Kv | Queue.Queue>

export interface LoadOptions {
  /** Each is used as a process would use it: by writers, producers and a worker of its own. */
  readonly rooms: ReadonlyArray<Room>
  /** Without scripts there is no queue. */
  readonly queue?: boolean | undefined
  /** The longest that a call may take. */
  readonly limit?: number | undefined
  /** What was answered may be lost, as by a failover. */
  readonly lossy?: boolean | undefined
}

export interface Load {
  /** How many commits were acknowledged so far. */
  readonly commits: () => number
  readonly accepted: () => number
  readonly handled: () => number
  readonly watch: Watcher
  /** From here on nothing that is answered may be lost. */
  readonly certain: Effect.Effect<void>
  /** Ends it, waits for rest, and checks what must be true. */
  readonly end: (what: string) => Effect.Effect<void, never, Scope.Scope>
}

export const load = ({
  limit = 7_500,
  lossy = false,
  queue = true,
  rooms
}: LoadOptions): Effect.Effect<Load, Queue.QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const acknowledged = new Set<string>()
    const refused = new Set<string>()
    const inDoubt = new Set<string>()
    const accepted = new Set<number>()
    const rejected = new Set<number>()
    const unsure = new Set<number>()
    const handled: Array<number> = []
    let longest = 0
    let next = 0
    const strange: Array<string> = []
    let certain = !lossy
    const promised = new Set<string | number>()

    const measured = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        const start = performance.now()
        return Effect.map(Effect.result(effect), (result) => {
          longest = Math.max(longest, performance.now() - start)
          return result
        })
      })
    const stops: Array<Effect.Effect<unknown>> = []
    const kvs = rooms.map((room) => Context.get(room, Kv.Kv))
    const watch = yield* watching(kvs[0]!, ["done"])
    for (const [r, room] of rooms.entries()) {
      const kv = kvs[r]!
      for (const w of [0, 1]) {
        let i = 0
        stops.push(
          yield* keepDoing(
            Effect.suspend(() => {
              const id = `${r}-${w}-${i++}`
              const sure = certain
              const step = Kv.atomic([Kv.sum(["total"], 1n), Kv.set(["done", id], i)])
              return Effect.map(measured(using(kv)(step)), (result) => {
                if (Result.isSuccess(result)) {
                  if (sure) promised.add(id)
                  return acknowledged.add(id)
                }
                const { _tag, message } = reasonIn(result.failure)
                if (_tag === "Unavailable") return refused.add(id)
                if (_tag === "CommitUnknown") return inDoubt.add(id)
                return strange.push(message)
              })
            })
          )
        )
      }
      if (!queue) continue
      yield* Effect.provide(
        Layer.build(
          Jobs.worker((n) => Effect.sync(() => void handled.push(n)), {
            concurrency: 4,
            prefetch: 4,
            lease: "2 seconds"
          })
        ),
        room
      )
      stops.push(
        yield* keepDoing(
          Effect.suspend(() => {
            const batch = [next++, next++, next++]
            const sure = certain
            return Effect.map(measured(Effect.provide(Jobs.enqueueAll(batch), room)), (result) => {
              if (Result.isSuccess(result))
                return batch.map((n) => {
                  if (sure) promised.add(n)
                  return accepted.add(n)
                })
              const { _tag, message } = reasonIn(result.failure)
              if (_tag === "Unavailable") return batch.map((n) => rejected.add(n))
              if (_tag === "EnqueueUnknown") return batch.map((n) => unsure.add(n))
              return strange.push(message)
            })
          })
        )
      )
    }

    return {
      commits: () => acknowledged.size,
      accepted: () => accepted.size,
      handled: () => handled.length,
      watch,
      certain: Effect.sync(() => void (certain = true)),
      end: (what) =>
        Effect.gen(function* () {
          for (const stop of stops) yield* stop
          for (const kv of kvs) yield* working(kv)
          const kv = kvs[0]!
          const entries = yield* Effect.orDie(Stream.runCollect(kv.list({ prefix: ["done"] })))
          const found = new Set(entries.map(({ key }) => nameOf(key)))
          const total = yield* Effect.orDie(
            Effect.map(kv.get(["total"]), (one) => (one._tag === "Some" ? one.value.value : 0n))
          )
          const missing = Array.from(acknowledged).filter((id) => !found.has(id))
          const wrong = Array.from(found).filter((id) => refused.has(id))
          console.log(
            `${what}: commits acknowledged ${acknowledged.size}, refused ${refused.size}, unknown ${inDoubt.size}, ` +
              `lost ${missing.length}, applied though refused ${wrong.length}; slowest call ${Math.round(longest)} ms`
          )
          assert.deepStrictEqual(strange, [])
          assert.strictEqual(total, BigInt(found.size), "the counter and the entries were written together")
          assert.deepStrictEqual(wrong, [], "what was refused is not there")
          assert.deepStrictEqual(
            missing.filter((id) => promised.has(id)),
            [],
            "what was acknowledged is there"
          )
          assert.isBelow(longest, limit, "every call ends within the limit")
          yield* until(
            "the watch has seen the final state",
            () => {
              const { state } = watch
              return state.size === found.size && Array.from(found).every((id) => state.has(id))
            },
            "12 seconds"
          )
          assert.strictEqual(watch.failure(), undefined)
          if (!queue) return
          yield* succeeds("the queue is idle", 15_000, Effect.provide(Jobs.awaitIdle, rooms[0]!))
          const seen = new Set(handled)
          const lost = Array.from(accepted).filter((n) => !seen.has(n))
          const dead = yield* Effect.orDie(Effect.provide(Jobs.deadLetters.count, rooms[0]!))
          console.log(
            `${what}: messages accepted ${accepted.size}, refused ${rejected.size}, unknown ${unsure.size}, ` +
              `handled ${seen.size}, lost ${lost.length}, duplicated ${handled.length - seen.size}, dead ${dead}`
          )
          assert.deepStrictEqual(
            lost.filter((n) => promised.has(n)),
            [],
            "what was accepted is handled"
          )
          assert.deepStrictEqual(
            Array.from(seen).filter((n) => rejected.has(n)),
            [],
            "what was refused is not handled"
          )
          assert.strictEqual(dead, 0)
        })
    }
  })
