/**
 * A gateway: Deno programs use PostgreSQL, Redis or a SQLite file through `Deno.openKv`, and Node programs through `@deno/kv`.
 *
 *   npm run gateway                                                    a file in the working directory's .seams/
 *   npm run gateway -- --port 4512                                     at this port (default: a free one)
 *   REDIS_URI=redis://localhost:6379 npm run gateway                   a Redis server
 *   CACHE_PROVIDER=postgres DATABASE_URL=postgres://... npm run gateway
 *
 * Clients need DENO_KV_ACCESS_TOKEN, which is taken from the environment here too; without it one is made up and shown. Then, in another
 * terminal, with what the gateway printed:
 *
 *   DENO_KV_ACCESS_TOKEN=... deno run --unstable-kv --allow-net --allow-env examples/gateway/client.ts http://127.0.0.1:4512
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import { randomBytes } from "node:crypto"
import { parseArgs } from "node:util"
// Installed, a program writes: import { Discovery } from "effect-seams"
import * as Discovery from "../../src/Discovery.ts"
// and: import * as KvConnect from "effect-seams/testing/kv-connect"
import * as KvConnect from "../../src/testing/kvConnect/index.ts"

const usage = "npm run gateway -- [--port <number>] [--host <address>]"

const accessToken = Config.Redacted("DENO_KV_ACCESS_TOKEN").pipe(
  Config.option,
  Effect.map(
    Option.getOrElse(() => {
      const token = randomBytes(24).toString("hex")
      console.log(`token ${token}`)
      return Redacted.make(token)
    })
  )
)

/** The gateway, over what the environment names. */
const gateway = (host: string, port: number) =>
  Layer.unwrap(Effect.map(accessToken, (token) => KvConnect.layer({ accessTokens: [token], host, port }))).pipe(
    Layer.provideMerge(Discovery.layerKv)
  )

const announce = Layer.effectDiscard(
  Effect.gen(function* () {
    const { url } = yield* KvConnect.KvConnect
    const report = yield* Discovery.Report
    const kv = (yield* report.choices).find(({ seam }) => seam === "kv")
    console.log(`over ${kv?.backend}`)
    console.log(`url ${url}`)
  })
)

const main = (): void => {
  const { values } = parseArgs({ options: { host: { type: "string" }, port: { type: "string" } } })
  const program = Layer.launch(Layer.provide(announce, gateway(values.host ?? "127.0.0.1", Number(values.port ?? 0))))
  NodeRuntime.runMain(program, {
    // Being stopped is how it ends well.
    teardown: (exit, onExit) =>
      Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)
  })
}

try {
  main()
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
  process.exitCode = 2
}
