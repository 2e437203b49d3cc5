import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import { makeConnection, type Options, type PostgresError } from "../../src/layers/postgres/index.ts"
import { makeKvDriver } from "../../src/layers/postgres/kv/driver.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { over } from "./postgresBackends.ts"

const layerKv = (options: Options): Layer.Layer<Kv.Kv, PostgresError> =>
  Layer.effect(
    Kv.Kv,
    Effect.flatMap(makeConnection(options), (connection) =>
      Effect.flatMap(makeKvDriver(connection, options), (driver) => Kv.make(driver, options))
    )
  )

const layer = (options: Options = {}) => over(layerKv, { schema: "kv-suite", ...options })
const service = Effect.map(Layer.build(Layer.fresh(layer())), (context) => Context.get(context, Kv.Kv))

kvSuite("postgres", {
  layer: layer(),
  clock: "live",
  capabilities: { backend: "postgresql", shared: true, changeLog: true, clock: "server", sharedQueue: false },
  portable: layer({ limits: "portable" }),
  // A process trims at every tenth commit then.
  shortLog: { layer: layer({ logLength: 100, schema: "kv-suite-short" }), lines: 300 },
  pair: Effect.all([service, service])
})
kvModel("postgres", { layer: layer({ schema: "kv-model" }), clock: "live", runs: 30 })
