/** Nothing is loaded, read or needed but what is chosen: looked at from outside, in processes of their own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as path from "node:path"
import { addressNames, allNames } from "../../src/discovery/variables.ts"
import { serverUrl } from "../servers/index.ts"
import { type ProcessOptions, type Runtime, startProcess, temporaryFolder } from "../support/processes.ts"

type Env = Readonly<Record<string, string>>

interface Outcome {
  readonly choices?: ReadonlyArray<string>
  readonly denied?: ReadonlyArray<string>
  readonly failed?: string
  readonly message?: string
}

/** None of what this process has. */
const unset = Object.fromEntries(allNames.map((name) => [name, ""]))
const root = path.resolve(import.meta.dirname, "../..")

const discover = (runtime: Runtime, layer: string, options: ProcessOptions) =>
  Effect.gen(function* () {
    const child = yield* startProcess(runtime, "test/discovery/children/discover.ts", [layer], options)
    const code = yield* Effect.timeout(child.exit, "60 seconds")
    assert.strictEqual(code, 0, child.errors())
    const read = <A>(start: string): A | undefined => {
      const line = child.lines.find((one) => one.startsWith(start))
      return line === undefined ? undefined : (JSON.parse(line.slice(start.length)) as A)
    }
    return { outcome: read<Outcome>("result "), modules: read<ReadonlyArray<string>>("modules ") ?? [] }
  })

/** On Node, with every module noted. */
const noted = (layer: string, env: Env, missing: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const cwd = yield* temporaryFolder
    const { modules, outcome } = yield* discover("node", layer, {
      cwd,
      env: { ...unset, ...env, SEAMS_TEST_MISSING: missing.join(",") },
      flags: ["--import", path.join(root, "test/discovery/children/modules.ts")]
    })
    const rooms = new Set(modules.flatMap((url) => /\/src\/layers\/([^/]+)\//.exec(url)?.[1] ?? []))
    const packages = new Set(modules.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []))
    assert.isTrue(packages.has("effect"), "the hooks see modules")
    return { outcome, rooms: [...rooms].toSorted(), packages }
  })

const drivers = ["ioredis", "amqplib", "@effect/sql-pg", "pg", "@deno/kv", "bullmq"]

describe("a room and its package are loaded when they are chosen, and no other", () => {
  const none = "127.0.0.1:1"
  const rows: ReadonlyArray<
    readonly [what: string, layer: string, env: Env, rooms: ReadonlyArray<string>, packages: ReadonlyArray<string>]
  > = [
    ["an import alone", "none", { REDIS_URI: none }, [], []],
    ["nothing is set", "all", {}, ["sqlite"], []],
    ["a file", "all", { SEAMS_DATA: "." }, ["sqlite"], []],
    ["memory", "all", { CACHE_PROVIDER: "memory", QUEUE_PROVIDER: "memory" }, ["memory"], []],
    ["a scheduler of this process", "cron", { CRON_PROVIDER: "memory", REDIS_URI: none }, [], []],
    ["Deno.cron", "cron", { CRON_PROVIDER: "deno", REDIS_URI: none }, ["deno"], []],
    ["PostgreSQL by name", "kv", { CACHE_PROVIDER: "postgres", DATABASE_URL: none }, ["postgres"], ["@effect/sql-pg"]],
    ["PostgreSQL that nobody named", "kv", { DATABASE_URL: none }, ["sqlite"], []],
    ["Deno KV", "kv", { DENO_KV_PATH: "kv.db" }, ["denokv"], ["@deno/kv"]],
    ["RabbitMQ for the queue", "queue", { RABBITMQ_URI: none, REDIS_URI: none }, ["rabbitmq"], ["amqplib"]],
    ["RabbitMQ, and the Kv", "kv", { RABBITMQ_URI: none }, ["sqlite"], []],
    ["an address that is none", "kv", { REDIS_URI: "mysql://h" }, [], []],
    ...addressNames.redis
      .filter((_, i) => i % 4 === 0)
      .map((name) => [name, "all", { [name]: none }, ["redis"], ["ioredis"]] as const)
  ]
  it.live.each(rows)("%s (%s)", ([, layer, env, rooms, packages]) =>
    Effect.gen(function* () {
      const found = yield* noted(layer, env)
      assert.deepStrictEqual(found.rooms, rooms)
      assert.deepStrictEqual(
        drivers.filter((name) => found.packages.has(name)),
        packages
      )
    })
  )
})

describe("a package that is not installed", () => {
  it.live.each([
    ["ioredis", "kv", { REDIS_URI: "h:1,password=hunter2" }, "REDIS_URI"],
    ["amqplib", "queue", { AMQP_URL: "amqp://u:hunter2@h" }, "AMQP_URL"],
    ["@effect/sql-pg", "kv", { CACHE_PROVIDER: "postgres", DATABASE_URL: "postgres://u:hunter2@h" }, "DATABASE_URL"],
    ["@deno/kv", "kv", { DENO_KV_PATH: "kv.db" }, "DENO_KV_PATH"]
  ] as const)("is named with the command that installs it: %s", ([name, layer, env, source]) =>
    Effect.gen(function* () {
      const { outcome } = yield* noted(layer, env, [name])
      assert.strictEqual(outcome?.failed, "PackageMissing", outcome?.message)
      for (const part of [source, `npm install ${name}`]) assert.include(outcome?.message, part)
      assert.notInclude(outcome?.message, "hunter2")
    })
  )

  it.live("does not matter where it is not chosen", () =>
    Effect.gen(function* () {
      const { outcome } = yield* noted("all", {}, drivers)
      assert.deepStrictEqual(outcome?.choices, ["kv sqlite default", "queue sqlite default", "cron kv default"])
    })
  )
})

describe("Deno", () => {
  it.live("is asked for the variables it allows, and those it denies are reported", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("redis")
      const { outcome } = yield* discover("deno", "kv", {
        env: { ...unset, REDIS_URI: url, CACHE_PROVIDER: "memory", GARNET_URI: "mysql://h" },
        // A package that ioredis loads looks through all variables; ignoring one lets it find only those that are allowed.
        rights: ["--no-prompt", "--allow-env=REDIS_URI", "--ignore-env=DEBUG", `--allow-net=${new URL(url).host}`]
      })
      assert.deepStrictEqual(outcome, {
        choices: ["kv redis REDIS_URI"],
        denied: allNames.filter((name) => name !== "REDIS_URI")
      })
    })
  )

  it.live("with no right to any variable has the embedded file", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryFolder
      const { outcome } = yield* discover("deno", "all", {
        cwd,
        env: { ...unset, REDIS_URI: "127.0.0.1:1" },
        rights: ["--no-prompt", "--allow-read", `--allow-write=${cwd}`]
      })
      assert.deepStrictEqual(outcome, {
        choices: ["kv sqlite default", "queue sqlite default", "cron kv default"],
        denied: [...allNames]
      })
    })
  )
})

describe("Bun", () => {
  it.live("has the embedded file too", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryFolder
      const { outcome } = yield* discover("bun", "all", { cwd, env: unset })
      assert.deepStrictEqual(outcome, {
        choices: ["kv sqlite default", "queue sqlite default", "cron kv default"],
        denied: []
      })
    })
  )
})
