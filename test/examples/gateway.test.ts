/** The gateway as its users meet it: started on Node over a store of their choice, used by a Deno program that knows only its address. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { spawnSync } from "node:child_process"
import * as path from "node:path"
import * as Kv from "../../src/Kv.ts"
import * as Postgres from "../../src/layers/postgres/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { startServer } from "../servers/index.ts"
import { startProcess, temporaryFolder } from "../support/processes.ts"

const root = path.join(import.meta.dirname, "../..")

/** Runs gateway and client; `env` says which store. */
const shop = (env: Readonly<Record<string, string>>, cwd: string) =>
  Effect.gen(function* () {
    const gateway = yield* startProcess("node", "examples/gateway/main.ts", [], {
      cwd,
      env: { DENO_KV_ACCESS_TOKEN: "", ...env }
    })
    const token = env["DENO_KV_ACCESS_TOKEN"] ?? (yield* gateway.line("token "))
    const url = yield* gateway.line("url ")
    const client = yield* startProcess("deno", "examples/gateway/client.ts", [url], {
      rights: ["--allow-net", "--allow-env"],
      flags: ["--unstable-kv"],
      env: { DENO_KV_ACCESS_TOKEN: token }
    })
    assert.strictEqual(yield* client.exit, 0, client.errors())
    const [customers, results] = [client.lines.slice(0, 5), client.lines.slice(5)]
    assert.strictEqual(customers.filter((line) => /^\w+: tea$/.test(line)).length, 3, client.lines.join("\n"))
    assert.strictEqual(customers.filter((line) => /^\w+: no tea left$/.test(line)).length, 2)
    assert.deepStrictEqual(results, ["orders 3", "turnover 1350", "session null"])
    yield* gateway.kill("SIGINT")
    assert.strictEqual(yield* gateway.exit, 0, gateway.errors())
    return gateway.lines
  })

/** What is in the store behind it, for an Effect program. */
const turnover = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  return Option.map(yield* kv.get(["turnover"]), ({ value }) => value)
})

describe("the gateway example", () => {
  it.live("serves a Deno program from a SQLite file, with nothing set", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryFolder
      const lines = yield* shop({}, cwd)
      assert.include(lines, "over sqlite")
      const file = Sqlite.layerKv({ filename: path.join(cwd, ".seams", "data.sqlite") })
      assert.deepStrictEqual(yield* Effect.provide(turnover, file), Option.some(1_350n))
    })
  )

  it.live("serves the same program from PostgreSQL, where the environment says so", () =>
    Effect.gen(function* () {
      const server = yield* startServer("postgres")
      const env = {
        CACHE_PROVIDER: "postgres",
        DATABASE_URL: server.url,
        DENO_KV_ACCESS_TOKEN: "a-token-of-one's-own"
      }
      const lines = yield* shop(env, yield* temporaryFolder)
      assert.include(lines, "over postgres")
      assert.notInclude(lines.join(), "token ")
      assert.deepStrictEqual(
        yield* Effect.provide(turnover, Layer.fresh(Postgres.layerKv({ url: server.url }))),
        Option.some(1_350n)
      )
    })
  )

  it.live("says how it is used when it does not understand", () =>
    Effect.gen(function* () {
      const child = yield* startProcess("node", "examples/gateway/main.ts", ["--nonsense"])
      assert.strictEqual(yield* child.exit, 2)
      assert.match(child.errors(), /--nonsense[^]*--port <number>/)
    })
  )

  it("has a client that Deno finds nothing wrong with", () => {
    const deno = path.join(root, "node_modules/deno/deno")
    const env = { ...process.env, DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" }
    const checked = spawnSync(deno, ["check", "--unstable-kv", "examples/gateway/client.ts"], { cwd: root, env })
    assert.strictEqual(checked.status, 0, String(checked.stderr))
  })
})
