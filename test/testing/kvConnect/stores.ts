/** The Kv services that the server is tested over. */
import { Effect, Layer } from "effect"
import type * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { serverUrl } from "../../servers/index.ts"
import { temporaryFile } from "../../support/processes.ts"

export const sqlite: Layer.Layer<Kv.Kv> = Layer.unwrap(
  Effect.map(temporaryFile, (filename) => Layer.orDie(Sqlite.layerKv({ filename })))
)

/** `name` keeps apart those who share a server. */
export const redis = (name: string): Layer.Layer<Kv.Kv> =>
  Layer.unwrap(
    Effect.map(Effect.orDie(serverUrl("redis")), (url) =>
      Layer.orDie(Redis.layerKv({ url, namespace: `kv-connect-${name}` }))
    )
  )

export const postgres = (name: string): Layer.Layer<Kv.Kv> =>
  Layer.unwrap(
    Effect.map(Effect.orDie(serverUrl("postgres")), (url) =>
      Layer.orDie(Postgres.layerKv({ url, schema: `kv-connect-${name}` }))
    )
  )

export const stores = (name: string): ReadonlyArray<readonly [string, Layer.Layer<Kv.Kv>]> => [
  ["memory", Memory.layerKv],
  ["sqlite", sqlite],
  ["redis", redis(name)],
  ["postgres", postgres(name)]
]
