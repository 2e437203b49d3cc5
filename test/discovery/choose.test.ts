import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted, Result } from "effect"
import { choose, type Chosen, providerOf } from "../../src/discovery/choose.ts"
import type { DiscoveryError } from "../../src/discovery/errors.ts"
import type { Options } from "../../src/discovery/options.ts"
import { addressNames, allNames, noEnvironment, postgresParts, readEnvironment } from "../../src/discovery/variables.ts"

type Env = Readonly<Record<string, string>>
type Seam = "kv" | "queue"

/** As a program reads it: through `Config`, from a provider that looks like an environment. */
const environment = (env: Env, options: Options = {}) =>
  options.autoDiscover === false
    ? Effect.succeed(noEnvironment)
    : Effect.provideService(
        readEnvironment,
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { PATH: "/bin", HOME: "/root", ...env } })
      )

const decide = (seam: Seam, env: Env, options: Options = {}): Result.Result<Chosen, DiscoveryError> =>
  Effect.runSync(Effect.map(environment(env, options), (found) => choose(seam, found, options)))

const chosen = (seam: Seam, env: Env, options: Options = {}): Chosen => {
  const found = decide(seam, env, options)
  return Result.isSuccess(found) ? found.success : assert.fail(found.failure.message)
}

const refused = (seam: Seam, env: Env, options: Options = {}) => {
  const found = decide(seam, env, options)
  return Result.isFailure(found) ? found.failure : assert.fail(JSON.stringify(found.success))
}

const summary = ({ address, place, source }: Chosen) => [place.backend, source, address]

/** An address under a variable, and how it is shown. */
const sample: Readonly<Record<keyof typeof addressNames, readonly [value: string, shown: string]>> = {
  redis: ["redis://u:hunter2@r.example:7001/1", "r.example:7001"],
  rabbitmq: ["amqp://u:hunter2@q.example:7002/v", "q.example:7002"],
  postgres: ["postgres://u:hunter2@p.example:7003/d", "p.example:7003"],
  denokv: ["https://d.example/kv", "https://d.example/kv"],
  sqlite: ["data/app.sqlite", "data/app.sqlite"]
}

describe("each variable alone decides", () => {
  for (const seam of ["kv", "queue"] as const) {
    for (const backend of ["redis", "denokv", "sqlite"] as const)
      it.each(addressNames[backend])(`the ${seam}: %s`, (name) => {
        const [value, shown] = sample[backend]
        const found = chosen(seam, { [name]: value })
        assert.deepStrictEqual(summary(found), [backend, name, shown])
        assert.strictEqual(found.because, `${name} is the first that is set`)
        assert.deepStrictEqual(found.passedOver, [])
      })
    it.each(addressNames.postgres)(`the ${seam}, where PostgreSQL is named: %s`, (name) => {
      const [value, shown] = sample.postgres
      const provider = seam === "kv" ? "CACHE_PROVIDER" : "QUEUE_PROVIDER"
      const found = chosen(seam, { [name]: value, [provider]: "postgres" })
      assert.deepStrictEqual(summary(found), ["postgres", name, shown])
      assert.strictEqual(found.because, `${provider} names postgres, ${name} says where`)
    })
    it.each([...addressNames.postgres, ...postgresParts])(
      `not the ${seam}, where PostgreSQL is not named: %s`,
      (name) => {
        assert.deepStrictEqual(summary(chosen(seam, { [name]: sample.postgres[0] })), [
          "sqlite",
          "default",
          ".seams/data.sqlite"
        ])
      }
    )
  }
  it.each(addressNames.rabbitmq)("the queue and not the kv: %s", (name) => {
    const env = { [name]: sample.rabbitmq[0] }
    assert.deepStrictEqual(summary(chosen("queue", env)), ["rabbitmq", name, "q.example:7002"])
    assert.deepStrictEqual(summary(chosen("kv", env)), ["sqlite", "default", ".seams/data.sqlite"])
  })
  it("none at all: the embedded file", () => {
    for (const seam of ["kv", "queue"] as const) {
      const found = chosen(seam, {})
      assert.deepStrictEqual(summary(found), ["sqlite", "default", ".seams/data.sqlite"])
      assert.strictEqual(found.because, "nothing else is set")
      assert.deepStrictEqual(found.place, { backend: "sqlite", path: undefined })
    }
  })
  it("of PostgreSQL in parts", () => {
    const parts = {
      POSTGRESDB_HOST: " p.example ",
      POSTGRESDB_PORT: "7003",
      POSTGRESDB_USERNAME: "u",
      POSTGRESDB_PASSWORD: "hun=ter;2@/ ",
      POSTGRESDB_DATABASE: "d",
      CACHE_PROVIDER: "postgres"
    }
    const found = chosen("kv", parts)
    assert.deepStrictEqual(summary(found), ["postgres", "POSTGRESDB_HOST", "p.example:7003"])
    assert.deepStrictEqual(found.place, {
      backend: "postgres",
      address: {
        endpoint: { host: "p.example", port: 7003 },
        username: "u",
        password: "hun=ter;2@/ ",
        database: "d",
        tls: undefined
      }
    })
    const { POSTGRESDB_HOST: _, ...hostless } = parts
    assert.include(refused("kv", hostless).message, "POSTGRESDB_HOST")
    assert.include(refused("kv", { ...parts, POSTGRESDB_PORT: "x" }).message, "POSTGRESDB_PORT")
    assert.include(refused("kv", { ...parts, POSTGRESDB_HOST: "postgres://h" }).message, "DATABASE_URL")
    assert.include(refused("kv", { ...parts, POSTGRESDB_HOST: "Host=h" }).message, "DATABASE_URL")
    assert.strictEqual(chosen("kv", { ...parts, POSTGRESDB_HOST: "/run/pg" }).address, "/run/pg:7003")
    // A whole address comes first.
    assert.strictEqual(chosen("kv", { ...parts, DATABASE_URL: "postgres://h" }).source, "DATABASE_URL")
  })
})

describe("among several that are set", () => {
  const order = {
    kv: ["redis", "denokv", "sqlite"],
    queue: ["rabbitmq", "redis", "denokv", "sqlite"]
  } as const
  for (const seam of ["kv", "queue"] as const)
    it(`the ${seam} takes the first of its order, and names all others`, () => {
      const names = order[seam].flatMap((backend) => addressNames[backend].map((name) => [name, backend] as const))
      for (const [i, [name, backend]] of names.entries()) {
        const set = names.slice(i)
        const found = chosen(seam, Object.fromEntries(set.map(([other, of]) => [other, sample[of][0]])))
        assert.deepStrictEqual([found.place.backend, found.source], [backend, name])
        assert.deepStrictEqual(
          found.passedOver,
          set.slice(1).map(([source]) => ({ source, reason: `${name} comes first` }))
        )
      }
    })
  it("the first counts also when it cannot be used, and no other is tried", () => {
    const error = refused("kv", { REDIS_URI: "mysql://u:hunter2@h", REDIS_URL: "redis://h", SEAMS_DATA: "x" })
    assert.strictEqual(error.reason._tag, "InvalidAddress")
    assert.include(error.message, "REDIS_URI")
    assert.include(error.message, "key-value store")
    assert.notInclude(error.message, "hunter2")
    assert.isFalse(error.isRetryable)
  })
  it("empty and blank ones count as not set", () => {
    const env = { REDIS_URI: "", REDIS_URL: "  ", GARNET_URI: "\t\n", CACHE_PROVIDER: " ", GARNET_TCP: "h:1" }
    const found = chosen("kv", env)
    assert.strictEqual(found.source, "GARNET_TCP")
    assert.deepStrictEqual(found.passedOver, [])
    const blank = Object.fromEntries(allNames.map((name) => [name, " "]))
    for (const seam of ["kv", "queue"] as const) assert.strictEqual(chosen(seam, blank).source, "default")
  })
  it("what the reference system's own tools set is understood", () => {
    const aspire = { REDIS_URI: "localhost:6379", GARNET_URI: "localhost:6379", CACHE_PROVIDER: "garnet" }
    const found = chosen("kv", aspire)
    assert.deepStrictEqual(summary(found), ["redis", "REDIS_URI", "localhost:6379"])
    assert.deepStrictEqual(found.passedOver, [{ source: "GARNET_URI", reason: "CACHE_PROVIDER names garnet" }])
    assert.strictEqual(chosen("queue", aspire).place.backend, "redis")
    const kv = { DENO_KV_URL: "http://localhost:4512/kv", DENO_KV_ACCESS_TOKEN: "hunter2", CACHE_PROVIDER: "denokv" }
    assert.deepStrictEqual(chosen("kv", kv).place, {
      backend: "denokv",
      path: "http://localhost:4512/kv",
      token: "hunter2"
    })
    assert.strictEqual(chosen("kv", { ConnectionStrings__garnet: "h:1,password=p" }).address, "h:1")
    assert.strictEqual(chosen("kv", { REDIS_TCP: "http://h:1" }).address, "h:1")
    assert.strictEqual(chosen("kv", { GARNET_TCP: "tcp://h:1" }).address, "h:1")
    assert.include(refused("kv", { services__redis__tcp__0: "https://h:1" }).message, "https://")
    assert.strictEqual(chosen("queue", { services__rabbitmq__http__0: "http://h:15672" }).address, "h:5672")
  })
})

describe("a provider", () => {
  const table: ReadonlyArray<readonly [Seam, string, string]> = [
    ["kv", "redis", "redis"],
    ["kv", "garnet", "redis"],
    ["kv", "denokv", "denokv"],
    ["kv", "deno-kv", "denokv"],
    ["kv", "sqlite", "sqlite"],
    ["kv", "postgres", "postgres"],
    ["kv", "memory", "memory"],
    ["queue", "rabbitmq", "rabbitmq"],
    ["queue", "redis", "redis"],
    ["queue", "garnet", "redis"],
    ["queue", "denokv", "denokv"],
    ["queue", "deno-kv", "denokv"],
    ["queue", "sqlite", "sqlite"],
    ["queue", "postgres", "postgres"],
    ["queue", "memory", "memory"]
  ]
  const everything: Env = Object.fromEntries(
    (["redis", "rabbitmq", "postgres", "denokv", "sqlite"] as const).map((one) => [
      addressNames[one][0],
      sample[one][0]
    ])
  )
  const variable = { kv: "CACHE_PROVIDER", queue: "QUEUE_PROVIDER" } as const
  it.each(table)("of the %s, %s, is taken whatever else is set, in any case", (seam, name, backend) => {
    for (const text of [name, name.toUpperCase(), ` ${name[0]!.toUpperCase()}${name.slice(1)} `]) {
      const found = chosen(seam, { ...everything, [variable[seam]]: text })
      assert.strictEqual(found.place.backend, backend)
      const others = found.passedOver.map(({ source }) => source)
      const candidates =
        seam === "kv"
          ? ["REDIS_URI", "DENO_KV_URL", "SEAMS_DATA"]
          : ["RABBITMQ_URI", "REDIS_URI", "DENO_KV_URL", "SEAMS_DATA"]
      assert.deepStrictEqual(
        others,
        candidates.filter((one) => one !== found.source)
      )
      for (const { reason } of found.passedOver) assert.strictEqual(reason, `${variable[seam]} names ${name}`)
    }
  })
  it("auto is as good as none", () => {
    assert.strictEqual(chosen("kv", { CACHE_PROVIDER: "AUTO", REDIS_URL: "h" }).source, "REDIS_URL")
    assert.strictEqual(chosen("kv", { CACHE_PROVIDER: "memory" }, { kv: "auto" }).place.backend, "memory")
  })
  it.each(["redis", "denokv", "postgres", "rabbitmq"] as const)(
    "%s without an address is an error that names what to set",
    (name) => {
      const error = refused("queue", { QUEUE_PROVIDER: name, SEAMS_DATA: "x" })
      assert.strictEqual(error.reason._tag, "InvalidAddress")
      for (const one of ["QUEUE_PROVIDER", ...addressNames[name]]) assert.include(error.message, one)
      const coded = refused("queue", { [addressNames[name][0]]: sample[name][0] }, { queue: name, autoDiscover: false })
      assert.include(coded.message, `the option "${name}.address" is missing`)
      assert.include(coded.message, "autoDiscover: false")
    }
  )
  it("that is not known, or cannot serve this seam, is an error that lists those that can", () => {
    for (const [seam, text] of [
      ["kv", "rabbitmq"],
      ["kv", "nitro"],
      ["queue", "kafka"],
      ["queue", "toString"]
    ] as const) {
      const error = refused(seam, { [variable[seam]]: text, REDIS_URI: "h" })
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, variable[seam])
      assert.include(error.message, JSON.stringify(text.toLowerCase()))
      for (const [of, name] of table) if (of === seam) assert.include(error.message, name)
    }
    const secret = refused("kv", { CACHE_PROVIDER: "redis://:hunter2@h" })
    assert.notInclude(secret.message, "hunter2")
  })
  it("bullmq is refused with what does the same", () => {
    for (const seam of ["kv", "queue"] as const) {
      const error = refused(seam, { [variable[seam]]: "BullMQ", REDIS_URI: "h" })
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.match(error.message, /no BullMQ backend; "redis" has a queue/)
    }
  })
  it("of the scheduler is read in any case, and options win", () => {
    const provider = (env: Env, options: Options) =>
      Effect.runSync(Effect.map(environment(env), (found) => providerOf("cron", found, options)))
    assert.deepStrictEqual(provider({ CRON_PROVIDER: " KV " }, {}), { source: "CRON_PROVIDER", value: "kv" })
    assert.deepStrictEqual(provider({ CRON_PROVIDER: "kv" }, { cron: "memory" }), {
      source: 'the option "cron"',
      value: "memory"
    })
    assert.isUndefined(provider({ CRON_PROVIDER: "auto" }, {}))
    assert.isUndefined(provider({}, {}))
  })
})

describe("what the options say", () => {
  it("wins over the environment, which is passed over by name", () => {
    const env = { CACHE_PROVIDER: "memory", REDIS_URI: "env:1", SEAMS_DATA: "x" }
    const found = chosen("kv", env, { kv: "redis", redis: { address: "opt:1" } })
    assert.deepStrictEqual(summary(found), ["redis", 'the option "redis.address"', "opt:1"])
    assert.strictEqual(found.because, 'the option "kv" names redis, the option "redis.address" says where')
    assert.deepStrictEqual(found.passedOver, [
      { source: "CACHE_PROVIDER", reason: 'the option "kv" decides' },
      { source: "REDIS_URI", reason: 'the option "kv" names redis' },
      { source: "SEAMS_DATA", reason: 'the option "kv" names redis' }
    ])
  })
  it("about where a backend is does not choose it before one that comes first", () => {
    assert.strictEqual(chosen("kv", { REDIS_URI: "h" }, { sqlite: { path: "x" } }).place.backend, "redis")
    assert.deepStrictEqual(summary(chosen("kv", { SEAMS_DATA: "y" }, { sqlite: { path: "x" } })), [
      "sqlite",
      'the option "sqlite.path"',
      "x"
    ])
  })
  it("may be secret, and in every form", () => {
    const found = chosen("kv", {}, { redis: { address: Redacted.make("h:1,password=hunter2") } })
    assert.deepStrictEqual(summary(found), ["redis", 'the option "redis.address"', "h:1"])
    assert.notInclude(found.because, "hunter2")
    assert.strictEqual(chosen("queue", {}, { rabbitmq: { address: "h", tls: true } }).address, "h:5671")
  })
  it("is refused by the name of the option", () => {
    const error = refused("kv", {}, { redis: { address: "" } })
    assert.include(error.message, 'the option "redis.address"')
    assert.include(error.message, "names no host")
  })
  it("about autoDiscover leaves the environment unread", () => {
    const env = Object.fromEntries(allNames.map((name) => [name, "nonsense://"]))
    for (const seam of ["kv", "queue"] as const) {
      assert.strictEqual(chosen(seam, env, { autoDiscover: false }).source, "default")
      assert.strictEqual(chosen(seam, env, { autoDiscover: false, redis: { address: "h" } }).address, "h:6379")
    }
  })
})

describe("Deno KV and SQLite", () => {
  it("take a path or a URL, and no other scheme", () => {
    assert.strictEqual(chosen("kv", { DENO_KV_PATH: " data/kv.db " }).address, "data/kv.db")
    assert.strictEqual(chosen("kv", { DENO_KV_PATH: ":memory:" }).address, ":memory:")
    assert.strictEqual(
      chosen("kv", { DENO_KV_URL: "https://u:hunter2@h:1/kv?token=hunter2" }).address,
      "https://h:1/kv"
    )
    for (const text of ["redis://:hunter2@h", "http://"]) {
      const error = refused("kv", { DENO_KV_URL: text })
      assert.strictEqual(error.reason._tag, "InvalidAddress")
      assert.notInclude(error.message, "hunter2")
    }
    // A server's address without its scheme is no name of a new file; only a variable for paths takes one.
    for (const name of ["DENO_KV_URL", "services__kv__http__0", "DENO_KV_PATH"]) {
      const problem = refused("kv", { [name]: "kv.internal:4512", DENO_KV_ACCESS_TOKEN: "hunter2" })
      assert.strictEqual(problem.reason._tag, "InvalidAddress")
      assert.match(problem.message, new RegExp(`${name}.*http://`))
    }
    assert.include(refused("kv", { DENO_KV_URL: "data/kv.db" }).message, "DENO_KV_PATH")
    const error = refused("kv", { SEAMS_DATA: "redis://:hunter2@h" })
    assert.include(error.message, "SEAMS_DATA")
    assert.include(error.message, "path of a file")
    assert.notInclude(error.message, "hunter2")
  })
  it("the token of the environment goes to a remote store only", () => {
    const env = { DENO_KV_ACCESS_TOKEN: "hunter2" }
    assert.deepStrictEqual(chosen("kv", { ...env, DENO_KV_PATH: "x.db" }).place, {
      backend: "denokv",
      path: "x.db",
      token: undefined
    })
    const options = { denokv: { accessToken: Redacted.make("other") } }
    assert.deepStrictEqual(chosen("kv", { ...env, DENO_KV_URL: "https://h" }, options).place, {
      backend: "denokv",
      path: "https://h",
      token: "other"
    })
  })
  it("a limit for dead letters is refused where the chosen queue keeps them all", () => {
    const options = { deadLetterRetention: { count: 10 } }
    assert.strictEqual(chosen("queue", { REDIS_URI: "h" }, options).place.backend, "redis")
    const error = refused("queue", {}, options)
    assert.strictEqual(error.reason._tag, "Unsupported")
    assert.match(error.message, /deadLetterRetention.*sqlite.*redis or postgres/)
    assert.strictEqual(chosen("kv", {}, options).place.backend, "sqlite")
  })
})
