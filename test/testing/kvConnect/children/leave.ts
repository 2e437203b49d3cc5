/** A server that ends when it is told to, and with it the process, if nothing is left of it. */
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import * as Memory from "../../../../src/layers/memory/index.ts"
import * as KvConnect from "../../../../src/testing/kvConnect/index.ts"
import { accessToken } from "../clients.ts"

const told = Effect.callback<void>((resume) => {
  process.stdin.once("data", () => resume(Effect.sync(() => process.stdin.destroy())))
})

await Effect.runPromise(
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const layer = Layer.provide(KvConnect.layer({ accessTokens: [Redacted.make(accessToken)] }), Memory.layerKv)
    const server = yield* Effect.provide(KvConnect.KvConnect, yield* Scope.provide(Layer.build(layer), scope))
    yield* server.faults.inject({ _tag: "Freeze" }, { on: "atomic_write" })
    console.log(`url ${server.url}`)
    yield* told
    yield* Scope.close(scope, Exit.void)
    console.log("closed")
  })
)
