import { afterAll } from "vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Postgres from "../../src/layers/postgres/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { startServer } from "../servers/index.ts"
import { over } from "./postgresBackends.ts"

const layer = (options: Postgres.Options = {}) => over(Postgres.layerKv, { schema: "kv-suite", ...options })
const service = Effect.map(Layer.build(Layer.fresh(layer())), (context) => Context.get(context, Kv.Kv))

// The log is not trimmed while a transaction of before is open, in whatever test: its cases have a server of their own.
const scope = Scope.makeUnsafe()
const quiet = Effect.runSync(Effect.cached(Effect.orDie(Scope.provide(startServer("postgres"), scope))))
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
const shortLog = Layer.unwrap(Effect.map(quiet, ({ url }) => Postgres.layerKv({ url, logLength: 100 })))

kvSuite("postgres", {
  layer: layer(),
  clock: "live",
  capabilities: { backend: "postgresql", shared: true, changeLog: true, clock: "server", sharedQueue: false },
  portable: layer({ limits: "portable" }),
  // A process trims at every tenth commit then.
  shortLog: { layer: shortLog, lines: 300 },
  pair: Effect.all([service, service])
})
kvModel("postgres", { layer: layer({ schema: "kv-model" }), clock: "live", runs: 30 })
