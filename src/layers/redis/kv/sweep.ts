/** Removing what is expired, in batches, each a commit of its own with one line for each key, however many processes sweep. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes } from "../../../internal/keyCodec.ts"
import type { Driver } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import { timeOf } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import type { Wire } from "../wire.ts"
import { kvError } from "./error.ts"
import { argOf, type KvKeys } from "./keys.ts"
import { sweepScript } from "./scripts.ts"
import { logPart } from "./stamps.ts"
import { closing } from "./watchedWrites.ts"

const batch = 256
const again = Schedule.jittered(Schedule.spaced("5 millis"))

export const makeSweep = (
  connection: ConnectionService,
  keys: KvKeys,
  nextId: () => string,
  logLength: number
): Driver["sweep"] => {
  const { call, realClock, run, server, session } = connection

  const oldest = (count: number) =>
    Effect.map(call("zrange", [keys.expiries, 0, count - 1, "WITHSCORES"]), (reply) => {
      const flat = reply as ReadonlyArray<Buffer>
      return Array.from({ length: flat.length / 2 }, (_, i) => ({
        key: fromBytes(flat[i * 2]!),
        deadline: Number(flat[i * 2 + 1])
      }))
    })

  const remove = (over: ReadonlyArray<Packed>): Effect.Effect<void, KvError> =>
    server.scripts
      ? run(
          sweepScript,
          [
            keys.counter,
            keys.log,
            keys.index,
            keys.expiries,
            keys.swept,
            ...over.flatMap((key) => [keys.value(key), keys.stamp(key)])
          ],
          [nextId(), logLength, keys.channel, keys.prefixLength]
        ).pipe(Effect.asVoid, Effect.mapError(kvError("sweep")))
      : session((wire) => removeWatched(wire, keys, nextId(), logLength, over)).pipe(
          // One that others disturbed is tried again: they write the same keys, or sweep themselves.
          Effect.repeat({ schedule: again, until: (removed) => removed }),
          Effect.asVoid,
          Effect.mapError(kvError("sweep")),
          Effect.provideService(Clock.Clock, realClock)
        )

  const sweep: Driver["sweep"] = Effect.gen(function* () {
    while (true) {
      const now = yield* Effect.mapError(connection.now, kvError("sweep"))
      const first = yield* Effect.mapError(oldest(batch), kvError("sweep"))
      const over = first.filter(({ deadline }) => deadline <= now)
      if (over.length === 0) return first[0]?.deadline
      yield* remove(over.map(({ key }) => key))
    }
  })
  return sweep
}

/** All who remove leftovers change `swept` and watch it; a key that was written meanwhile is told by its stamp. */
const removeWatched = (
  wire: Wire,
  keys: KvKeys,
  id: string,
  logLength: number,
  over: ReadonlyArray<Packed>
): Effect.Effect<boolean, RedisFault> =>
  Effect.gen(function* () {
    const since = wire.connectionNumber()
    const [, time, ...scores] = yield* Effect.all(
      [
        wire.call("watch", [keys.swept, ...over.map(keys.stamp)]),
        wire.call("time", []),
        ...over.map((key) => wire.call("zscore", [keys.expiries, argOf(key)]))
      ],
      { concurrency: "unbounded" }
    )
    const now = timeOf(time)
    const gone = over.filter((_, i) => scores[i] !== null && Number(scores[i]) <= now)
    if (gone.length === 0) return yield* Effect.as(wire.call("unwatch", []), true)
    const members = gone.map(argOf)
    const replies = yield* wire.multi(
      [
        ["incr", keys.counter],
        ["incr", keys.swept],
        ["del", ...gone.flatMap((key) => [keys.value(key), keys.stamp(key)])],
        ["zrem", keys.index, ...members],
        ["zrem", keys.expiries, ...members],
        ["rpush", keys.log, argOf((id + gone.map((key) => logPart("e", key)).join("")) as Packed)],
        ...closing(keys, logLength)
      ],
      since
    )
    return replies !== null
  })
