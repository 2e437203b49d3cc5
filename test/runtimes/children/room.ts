/**
 * Uses all of a room, and says `done`. Arguments: the room and its address; without an address `layerConfig` reads it from a
 * variable, or from a provider that the program brings: the third argument is the value it gives for each name.
 * Rooms are imported when they are asked for: one must not need what another needs.
 */
import { Config, ConfigProvider, Deferred, Effect, Layer, Option, Schema, Stream } from "effect"
import * as Cron from "../../../src/Cron.ts"
import * as Kv from "../../../src/Kv.ts"
import * as Queue from "../../../src/Queue.ts"

const [room = "", address = "", provided] = process.argv.slice(2)
const url = Config.Redacted

/** Each with its namespace, since the server has other users too. */
const rooms: Readonly<Record<string, () => Promise<Layer.Layer<Kv.Kv | Queue.Queue, unknown>>>> = {
  memory: async () => (await import("../../../src/layers/memory/index.ts")).layer,
  sqlite: async () => {
    const { layer, layerConfig } = await import("../../../src/layers/sqlite/index.ts")
    return address === "" ? layerConfig({ filename: Config.String("SEAMS_DATA") }) : layer({ filename: address })
  },
  denokv: async () => {
    const { layer, layerConfig } = await import("../../../src/layers/denokv/index.ts")
    return address === "" ? layerConfig({ path: Config.String("DENO_KV_PATH") }) : layer({ path: address })
  },
  redis: async () => {
    const { layer, layerConfig } = await import("../../../src/layers/redis/index.ts")
    const namespace = `permissions-${process.pid}`
    return address === ""
      ? layerConfig({ url: url("REDIS_URL"), namespace: Config.succeed(namespace) })
      : layer({ url: address, namespace })
  },
  postgres: async () => {
    const { layer, layerConfig } = await import("../../../src/layers/postgres/index.ts")
    const schema = `permissions-${process.pid}`
    return address === ""
      ? layerConfig({ url: url("DATABASE_URL"), schema: Config.succeed(schema) })
      : layer({ url: address, schema })
  },
  rabbitmq: async () => {
    const { layerQueue, layerQueueConfig } = await import("../../../src/layers/rabbitmq/index.ts")
    const { layerKv } = await import("../../../src/layers/memory/index.ts")
    const namespace = `permissions-${process.pid}`
    const queue =
      address === ""
        ? layerQueueConfig({ url: url("AMQP_URL"), namespace: Config.succeed(namespace) })
        : layerQueue({ url: address, namespace })
    return Layer.merge(queue, layerKv)
  }
}

const Greetings = Queue.define("greetings", { payload: Schema.String })

const useKv = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  yield* kv.set(["greeting"], "hello", { expireIn: "1 minute" })
  const first = yield* Stream.runHead(kv.watch([["greeting"]]))
  if (Option.isNone(first) || first.value._tag !== "Put") return yield* Effect.die(new Error("the entry is not there"))
})

/** A message that is handled, whose own worker ends before the layer. */
const useQueue = Effect.gen(function* () {
  const handled = yield* Deferred.make<void>()
  const worker = Greetings.worker(() => Deferred.succeed(handled, undefined))
  yield* Effect.andThen(Greetings.enqueue("hello"), Deferred.await(handled)).pipe(Effect.provide(worker))
})

const useCron = Effect.gen(function* () {
  const ran = yield* Deferred.make<void>()
  const job = Cron.job("second", { schedule: Cron.every("1 second") }, () => Deferred.succeed(ran, undefined))
  yield* Deferred.await(ran).pipe(Effect.provide(Layer.provide(job.layer, Cron.layerKv)))
})

// Beside what the address says: the rights it needs are others.
const open = rooms[room === "denokv-remote" ? "denokv" : room]
if (open === undefined) throw new Error(`there is no room called "${room}"`)
const layer = await open()
const own =
  provided === undefined
    ? Layer.empty
    : ConfigProvider.layer(ConfigProvider.make(() => Effect.succeed(ConfigProvider.makeValue(provided))))
await Effect.runPromise(
  Effect.all([useKv, useQueue, useCron]).pipe(Effect.provide(Layer.provide(layer, own)), Effect.timeout("20 seconds"))
)
console.log("done")
