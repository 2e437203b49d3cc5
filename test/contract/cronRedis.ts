/** The proofs of the scheduler over the Kv of one kind of Redis server; each kind has a test file of its own. */
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { cronKvSuite } from "../../src/testing/cronKvSuite.ts"
import { runtimes } from "../support/processes.ts"
import { cronProcesses } from "./cronProcesses.ts"
import type { standalone } from "./redisBackends.ts"

let stores = 0

export const cronRedisSuites = (
  name: string,
  connect: typeof standalone,
  /** The whole contract of the scheduler besides the proof with processes. */
  contract: boolean
): void => {
  /** A store of its own is a namespace of its own. */
  const fresh = Effect.map(connect, (one) => ({ ...one, namespace: `cron-${process.pid}-${++stores}` }))

  if (contract)
    cronKvSuite(`over ${name}`, {
      clock: "live",
      processes: (count) =>
        Effect.flatMap(fresh, (options) =>
          Effect.replicateEffect(
            Effect.map(Layer.build(Layer.fresh(Redis.layerKv(options))), (context) => Context.get(context, Kv.Kv)),
            count
          )
        )
    })

  cronProcesses(name, {
    script: "test/contract/children/cronRedis.ts",
    store: Effect.map(fresh, (options) => ({ args: [JSON.stringify(options)], kv: Redis.layerKv(options) })),
    runtimes,
    seconds: Number(process.env["SEAMS_CRON_SECONDS"] ?? 15)
  })
}
