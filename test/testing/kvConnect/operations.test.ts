/** Everything that Deno KV can do, through both official clients as they are, over every kind of store. */
import { KvU64 } from "@deno/kv"
import type { Kv as Client } from "@deno/kv"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { type Child, startProcess } from "../../support/processes.ts"
import { denoOptions, nodeClient, server } from "./clients.ts"
import { operations } from "./operations/all.ts"
import { stores } from "./stores.ts"

/** Of the keys: stores on servers outlive a run where the servers do. */
const root = `run ${process.pid} `

class Clients extends Context.Service<
  Clients,
  { readonly kv: Client; readonly other: Client; readonly deno: Child; readonly server: KvConnect.Service }
>()("test/Clients") {}

const clients = Layer.effect(
  Clients,
  Effect.gen(function* () {
    const { url } = yield* KvConnect.KvConnect
    return {
      server: yield* KvConnect.KvConnect,
      kv: yield* nodeClient(url),
      other: yield* nodeClient(url),
      deno: yield* startProcess(
        "deno",
        "test/testing/kvConnect/children/operations.deno.ts",
        [url, `deno ${root}`],
        denoOptions
      )
    }
  })
)

for (const [name, store] of stores("operations"))
  describe(`over ${name}`, () => {
    layer(Layer.provide(clients, Layer.provide(server(), store)), { excludeTestServices: true, timeout: "3 minutes" })(
      (it) => {
        for (const [i, operation] of operations.entries())
          it.effect(`Node: ${operation.name}`, () =>
            Effect.gen(function* () {
              const { kv, other } = yield* Clients
              yield* Effect.promise(() => operation.run({ runtime: "node", kv, other, KvU64, root: `${root}${i}` }))
            })
          )
        for (const operation of operations)
          it.effect(`Deno: ${operation.name}`, () =>
            Effect.gen(function* () {
              const { deno } = yield* Clients
              assert.strictEqual(yield* deno.line(`${operation.name}: `), "ok")
            })
          )
        it.effect("and Deno's process ends by itself", () =>
          Effect.gen(function* () {
            const { deno } = yield* Clients
            yield* deno.line("end")
            assert.strictEqual(yield* deno.exit, 0)
          })
        )
      }
    )
  })
