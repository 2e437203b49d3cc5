/**
 * The one place that names a backend: the Redis server at REDIS_URI where that is set, else a file. The rest of the program is the same.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
// Installed, a program writes: import * as Redis from "effect-seams/layers/redis"
import * as Cron from "../../src/Cron.ts"
import type * as Kv from "../../src/Kv.ts"
import type * as Queue from "../../src/Queue.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"

const redisUri = Config.option(Config.Redacted("REDIS_URI"))

/** Both seams over one store; the job only looks, what it finds is in the store: a scheduler of this process will do. */
export const backend = (data: string) =>
  Layer.unwrap(
    Effect.map(
      redisUri,
      (uri): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, Sqlite.SqliteError | Redis.RedisError> =>
        Option.isNone(uri) ? Sqlite.layer({ filename: data }) : Redis.layer({ url: uri.value, namespace: "pipeline" })
    )
  ).pipe(Layer.merge(Cron.layerProcess))

/** Where it is kept, for people. */
export const placeOf = (data: string) =>
  Effect.map(redisUri, (uri) => (Option.isNone(uri) ? data : "Redis (REDIS_URI)"))
