import { Context, Effect, Layer, Redacted } from "effect"
import * as path from "node:path"
import * as Kv from "../../../src/Kv.ts"
import * as DenoKv from "../../../src/layers/denokv/index.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { type Runtime, startProcess, temporaryFolder } from "../../support/processes.ts"

export const temporaryFile = Effect.map(temporaryFolder, (folder) => path.join(folder, "data.db"))

export const accessToken: Redacted.Redacted = Redacted.make("a-token-for-tests")

/** A KV Connect server over a store in memory. */
export const startServer = Effect.gen(function* () {
  const store = yield* Layer.build(Layer.fresh(Memory.layerKv))
  return yield* KvConnect.make({ accessTokens: [accessToken], tracing: false }).pipe(Effect.provideContext(store))
})

/** A service over a connection of its own, as another process has it. */
export const serviceAt = (options: DenoKv.ConnectionOptions & DenoKv.KvOptions) =>
  Effect.map(Layer.build(Layer.fresh(DenoKv.layerKv({ tracing: false, ...options }))), (context) =>
    Context.get(context, Kv.Kv)
  )

/** A service, and the raw handle under it. */
export const serviceAndHandle = (options: DenoKv.ConnectionOptions & DenoKv.KvOptions) =>
  Effect.gen(function* () {
    const connection = yield* DenoKv.makeConnection(options)
    const kv = yield* Effect.flatMap(DenoKv.makeKvDriver(connection, options), (driver) => Kv.make(driver))
    return { kv, native: connection.native, connection } as const
  })

export const startWork = (runtime: Runtime, what: string, at: string, number = 0) =>
  startProcess(runtime, "test/layers/denokv/children/work.ts", [what, at, String(number)], {
    flags: runtime === "deno" ? ["--unstable-kv"] : [],
    env: { DENO_KV_ACCESS_TOKEN: Redacted.value(accessToken) }
  })

/** The keys under which the room keeps what is its own. */
export const own = new Uint8Array(0)

export const entriesBelow = (native: DenoKv.NativeKv, prefix: DenoKv.NativeKey) =>
  Effect.gen(function* () {
    const found: Array<DenoKv.NativeEntry> = []
    const entries = native.list({ prefix }, { limit: 10_000, batchSize: 500 })
    while (true) {
      const step = yield* Effect.promise(() => entries.next())
      if (step.done === true) return found
      found.push(step.value)
    }
  })
