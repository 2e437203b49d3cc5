/**
 * The one place that names a backend: the Redis server at REDIS_URI where that is set, else a file. With RABBITMQ_URI set the messages go
 * through that broker, and everything else is kept as without. The rest of the program is the same.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
// Installed, a program writes: import * as Redis from "effect-seams/layers/redis"
import * as Cron from "../../src/Cron.ts"
import type * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import * as RabbitMq from "../../src/layers/rabbitmq/index.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"

const redisUri = Config.option(Config.Redacted("REDIS_URI"))
const rabbitUri = Config.option(Config.Redacted("RABBITMQ_URI"))
const namespace = "pipeline"

type BackendError = Sqlite.SqliteError | Redis.RedisError | RabbitMq.RabbitMqError

/** The job only looks, what it finds is in the store: a scheduler of this process will do. */
export const backend = (data: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const redis = yield* redisUri
      const rabbit = yield* rabbitUri
      if (Option.isSome(rabbit)) {
        const store: Layer.Layer<Kv.Kv, BackendError> = Option.isNone(redis)
          ? Sqlite.layerKv({ filename: data })
          : Redis.layerKv({ url: redis.value, namespace })
        const seams = Layer.merge(store, RabbitMq.layerQueue({ url: rabbit.value, namespace }))
        return Layer.provideMerge(Queue.layerOutbox, seams)
      }
      // Both seams over one store, which the layer says by `Kv.SharedQueue` (see commit.ts).
      const both: Layer.Layer<Kv.Kv | Queue.Queue, BackendError> = Option.isNone(redis)
        ? Sqlite.layer({ filename: data })
        : Redis.layer({ url: redis.value, namespace })
      return both
    })
  ).pipe(Layer.merge(Cron.layerProcess))

/** Where it is kept, for people. */
export const placeOf = (data: string) =>
  Effect.gen(function* () {
    const store = Option.isNone(yield* redisUri) ? data : "Redis (REDIS_URI)"
    return Option.isNone(yield* rabbitUri) ? store : `${store}, messages in RabbitMQ (RABBITMQ_URI)`
  })
