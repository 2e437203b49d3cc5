/** Real servers found by variables: what is shared, what is closed, what is reported. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Schema } from "effect"
import * as Cron from "../../src/Cron.ts"
import * as Discovery from "../../src/Discovery.ts"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { serverUrl, startRedis, startServer, withRedis } from "../servers/index.ts"
import { faultProxy } from "../support/faultProxy.ts"
import { once, until } from "../support/faults.ts"
import { temporaryFolder } from "../support/processes.ts"
import { adminOf } from "../layers/postgres/supportFaults.ts"
import { logged, portOf, within } from "./support.ts"

const password = "hunter2"
const other = "hunter22"
/** Of a user who may come with two passwords. */
const redis = once(
  Effect.tap(startRedis({ args: ["--requirepass", password] }), (server) =>
    withRedis(server, (client) => client.call("ACL", "SETUSER", "default", `>${other}`))
  )
)
const postgres = once(startServer("postgres"))

const Jobs = Queue.define("jobs", { payload: Schema.String })
/** Milliseconds of a test that may have to wait until the broker is up. */
const brokerStarts = 120_000
let names = 0
const fresh = () => `discovery-${process.pid}-${++names}`

type Env = Readonly<Record<string, string>>
type Seams = Kv.Kv | Queue.Queue | Cron.Scheduler

/** Both seams do what they are for. */
const works = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  yield* kv.set(["discovery"], "here")
  assert.strictEqual(Option.getOrThrow(yield* kv.get(["discovery"])).value, "here")
  const handled: Array<string> = []
  yield* Layer.build(Jobs.worker((job) => Effect.sync(() => void handled.push(job))))
  yield* Jobs.enqueue("done")
  yield* until("the job is done", () => handled.includes("done"))
})

/** Connections to the private Redis that bear a name. */
const redisConnections = (name: string) =>
  Effect.flatMap(redis, (server) =>
    Effect.map(
      withRedis(server, async (client) => String(await client.client("LIST"))),
      (list) => list.split("\n").filter((line) => line.includes(` name=${name} `)).length
    )
  )

const redisAddress = (name: string, secret = password) =>
  Effect.map(redis, ({ port }) => `127.0.0.1:${port},password=${secret},name=${name}`)

/** Sessions of the private PostgreSQL that wait for notifications: one for each connection of the room. */
const listeners = (name: string) =>
  Effect.gen(function* () {
    const admin = yield* adminOf((yield* postgres).url)
    const rows = yield* admin(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE $1 || '%' AND query LIKE 'LISTEN%'",
      [name]
    )
    return rows[0]!["n"] as number
  })

const sessions = (name: string) =>
  Effect.gen(function* () {
    const admin = yield* adminOf((yield* postgres).url)
    const rows = yield* admin("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE $1 || '%'", [
      name
    ])
    return rows[0]!["n"] as number
  })

/** One layer, and the same made of two that are provided apart. */
const ways: ReadonlyArray<
  readonly [
    name: string,
    provide: <A, E>(
      program: Effect.Effect<A, E, Kv.Kv | Queue.Queue | Discovery.Report>,
      options: Discovery.Options
    ) => Effect.Effect<A, E | Discovery.DiscoveryError>
  ]
> = [
  ["Discovery.layerWith", (program, options) => Effect.provide(program, Discovery.layerWith(options))],
  [
    "layerKvWith and layerQueueWith, merged",
    (program, options) =>
      Effect.provide(program, Layer.merge(Discovery.layerKvWith(options), Discovery.layerQueueWith(options)))
  ],
  [
    "layerKvWith and layerQueueWith, one after the other",
    (program, options) =>
      Effect.provide(
        Effect.suspend(() => Effect.provide(program, Discovery.layerKvWith(options))),
        Discovery.layerQueueWith(options)
      )
  ]
]

describe("two seams on one address share one connection, which is closed with them", () => {
  it.live.each(ways)("Redis: %s", ([, provide]) =>
    Effect.gen(function* () {
      const name = fresh()
      const env = within({ REDIS_URI: yield* redisAddress(name) })
      const options = { namespace: name }
      const both = yield* provide(Effect.andThen(Effect.scoped(works), redisConnections(name)), options).pipe(env)
      yield* until(
        "all is closed",
        Effect.map(redisConnections(name), (n) => n === 0)
      )
      const alone = yield* Effect.andThen(
        Kv.Kv.use((kv) => kv.set(["a"], 1)),
        redisConnections(name)
      ).pipe(Effect.provide(Discovery.layerKvWith(options)), env)
      // A connection has some sockets: commands, hints. Both seams have no more than one of them alone.
      assert.isAbove(alone, 0)
      assert.strictEqual(both, alone)
    })
  )

  it.live.each(ways)("PostgreSQL: %s", ([, provide]) =>
    Effect.gen(function* () {
      const name = fresh()
      const { port } = yield* postgres
      const env = within({
        CACHE_PROVIDER: "postgres",
        QUEUE_PROVIDER: "Postgres",
        ConnectionStrings__postgresdb: `Host=127.0.0.1;Port=${port};Username=postgres;Application Name=${name}`
      })
      const options = { postgres: { schema: name } }
      const counted = until(
        "one session listens",
        Effect.map(listeners(name), (n) => n === 1)
      )
      yield* provide(Effect.scoped(Effect.andThen(Effect.scoped(works), counted)), options).pipe(env)
      yield* until(
        "all is closed",
        Effect.map(sessions(name), (n) => n === 0)
      )
    })
  )

  it.live.each(ways)("SQLite: %s", ([, provide]) =>
    Effect.gen(function* () {
      const folder = fs.realpathSync(yield* temporaryFolder)
      const handles = Effect.sync(
        () =>
          fs.readdirSync("/proc/self/fd").filter((fd) => {
            try {
              return fs.readlinkSync(`/proc/self/fd/${fd}`) === path.join(folder, "data.sqlite")
            } catch {
              return false
            }
          }).length
      )
      const open = yield* provide(Effect.andThen(Effect.scoped(works), handles), {}).pipe(
        within({ SEAMS_DATA: folder })
      )
      assert.strictEqual(open, 1)
      assert.strictEqual(yield* handles, 0)
    })
  )

  it.live.each(ways)("memory: %s", ([, provide]) =>
    provide(Effect.scoped(works), {}).pipe(within({ CACHE_PROVIDER: "memory", QUEUE_PROVIDER: "memory" }))
  )

  it.live("Deno KV in a file", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* Effect.scoped(works).pipe(
        Effect.provide(Discovery.layer),
        within({ DENO_KV_PATH: path.join(folder, "kv.db") })
      )
    })
  )
})

describe("what differs is not shared", () => {
  /** How many connections a Kv and a queue have together. */
  const together = (name: string, kv: Discovery.Options, queue: Discovery.Options) =>
    Effect.scoped(works).pipe(
      Effect.andThen(redisConnections(name)),
      Effect.provide(Layer.merge(Discovery.layerKvWith(kv), Discovery.layerQueueWith(queue))),
      within({})
    )

  it.live("another password of the same user, another namespace, another option", () =>
    Effect.gen(function* () {
      const name = fresh()
      const base = { namespace: name, redis: { address: yield* redisAddress(name) } }
      const one = yield* together(name, base, base)
      const differing: ReadonlyArray<Discovery.Options> = [
        { namespace: name, redis: { address: yield* redisAddress(name, other) } },
        { ...base, namespace: `${name}-2` },
        { ...base, redis: { ...base.redis, commandTimeout: "4 seconds" } },
        { ...base, redis: { ...base.redis, database: 1 } }
      ]
      for (const options of differing) {
        yield* until(
          "all is closed",
          Effect.map(redisConnections(name), (n) => n === 0)
        )
        assert.strictEqual(yield* together(name, base, options), 2 * one, JSON.stringify(options))
      }
      // What concerns the seams alone needs no connection of its own.
      assert.strictEqual(yield* together(name, base, { ...base, tracing: false }), one)
    })
  )

  it.live(
    "separate addresses: RabbitMQ for messages, Redis for data",
    () =>
      Effect.gen(function* () {
        const name = fresh()
        const rabbit = yield* faultProxy(portOf(yield* serverUrl("rabbitmq")))
        const env: Env = {
          REDIS_URI: yield* redisAddress(name),
          RABBITMQ_URI: rabbit.through(yield* serverUrl("rabbitmq"))
        }
        const seen = yield* Effect.gen(function* () {
          yield* Effect.scoped(works)
          const shared = yield* Effect.serviceOption(Kv.SharedQueue)
          return { shared, redis: yield* redisConnections(name), rabbit: yield* rabbit.connections }
        }).pipe(Effect.provide(Discovery.layerWith({ namespace: name })), within(env))
        assert.isTrue(Option.isNone(seen.shared))
        // One to publish and one to consume.
        assert.strictEqual(seen.rabbit, 2)
        assert.isAbove(seen.redis, 0)
        yield* until(
          "all is closed",
          Effect.map(Effect.all([redisConnections(name), rabbit.connections]), ([a, b]) => a + b === 0)
        )
      }),
    brokerStarts
  )
})

describe("Kv.SharedQueue", () => {
  const sharing = (env: Env, options: Discovery.Options = {}) =>
    Effect.map(Effect.serviceOption(Kv.SharedQueue), Option.isSome).pipe(
      Effect.provide(Discovery.layerWith({ namespace: fresh(), ...options })),
      within(env)
    )
  it.live("is there exactly when both seams are on one store", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const data = { SEAMS_DATA: folder }
      const kvPath = { DENO_KV_PATH: path.join(folder, "kv.db") }
      const at = { REDIS_URI: yield* redisAddress(fresh()) }
      const pg = { DATABASE_URL: (yield* postgres).url }
      const schema = { postgres: { schema: fresh() } }
      assert.isTrue(yield* sharing(data))
      assert.isTrue(yield* sharing(at))
      assert.isTrue(yield* sharing({ CACHE_PROVIDER: "memory", QUEUE_PROVIDER: "memory" }))
      assert.isTrue(yield* sharing({ ...pg, CACHE_PROVIDER: "postgres", QUEUE_PROVIDER: "postgres" }, schema))
      assert.isFalse(yield* sharing(kvPath))
      assert.isFalse(yield* sharing({ ...at, ...data, QUEUE_PROVIDER: "sqlite" }))
      assert.isFalse(yield* sharing({ ...pg, ...data, QUEUE_PROVIDER: "postgres" }, schema))
      assert.isFalse(yield* sharing({ ...data, QUEUE_PROVIDER: "memory" }))
    })
  )
  it.live("lets a commit hold a message", () =>
    Effect.gen(function* () {
      const shared = yield* Effect.serviceOption(Kv.SharedQueue)
      if (Option.isNone(shared)) return assert.fail("it is not there")
      yield* Kv.atomic([Kv.sum(["n"], 1n), Jobs.enqueue("a")]).pipe(Effect.provideService(Kv.SharedQueue, shared.value))
      assert.strictEqual((yield* Jobs.stats).ready, 1)
    }).pipe(Effect.provide(Discovery.layerWith({ namespace: fresh() })), (program) =>
      Effect.flatMap(redisAddress(fresh()), (REDIS_URI) => within({ REDIS_URI })(program))
    )
  )
})

describe("the report and the log say what was chosen, and no secret", () => {
  it.live(
    "for servers",
    () =>
      Effect.gen(function* () {
        const name = fresh()
        const { port } = yield* redis
        const rabbitUrl = yield* serverUrl("rabbitmq")
        const env: Env = {
          REDIS_URI: yield* redisAddress(name),
          REDIS_URL: `redis://:${other}@elsewhere.example/0`,
          RABBITMQ_URL: rabbitUrl,
          DENO_KV_URL: `https://u:${password}@kv.example/x`,
          SEAMS_DATA: "other.sqlite"
        }
        const { lines, logger } = yield* logged
        const choices = yield* Effect.flatMap(Discovery.Report, (report) => report.choices).pipe(
          Effect.provide(Discovery.layerWith({ namespace: name })),
          within(env, logger)
        )
        const passed = (winner: string, ...sources: ReadonlyArray<string>) =>
          sources.map((source) => ({ source, reason: `${winner} comes first` }))
        const [kv, queue, cron, ...more] = choices
        assert.deepStrictEqual(more, [])
        assert.deepInclude(kv, {
          seam: "kv",
          backend: "redis",
          source: "REDIS_URI",
          address: `127.0.0.1:${port}`,
          because: "REDIS_URI is the first that is set",
          passedOver: passed("REDIS_URI", "REDIS_URL", "DENO_KV_URL", "SEAMS_DATA")
        })
        assert.deepInclude(queue, {
          seam: "queue",
          backend: "rabbitmq",
          source: "RABBITMQ_URL",
          address: `127.0.0.1:${portOf(rabbitUrl)}`,
          passedOver: passed("RABBITMQ_URL", "REDIS_URI", "REDIS_URL", "DENO_KV_URL", "SEAMS_DATA")
        })
        assert.deepInclude(cron, {
          seam: "cron",
          backend: "kv",
          source: "default",
          address: `127.0.0.1:${port}`,
          because: "other processes can reach the chosen Kv",
          passedOver: []
        })
        for (const { durability, latency } of choices) {
          assert.isAbove(latency, 0)
          assert.isBelow(latency, 5_000)
          assert.isDefined(durability)
        }
        const told = lines.filter((line) => line.startsWith("effect-seams: "))
        assert.lengthOf(told, 3)
        for (const [i, { address, because, seam }] of choices.entries())
          for (const part of [seam, address, because]) assert.include(told[i], part)
        assert.include(told[0], "passed over: REDIS_URL (REDIS_URI comes first)")
        const everything = [...lines, JSON.stringify(choices)].join("\n")
        for (const secret of [password, other, "guest"]) assert.notInclude(everything, secret)
      }),
    brokerStarts
  )

  it.live("for an embedded file, whose schedule is shared too; and for memory, whose schedule is not", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const report = (env: Env, options: Discovery.Options = {}) =>
        Effect.flatMap(Discovery.Report, (one) => one.choices).pipe(
          Effect.map((choices) => choices.map(({ backend, seam, source }) => [seam, backend, source])),
          Effect.provide(Discovery.layerWith(options)),
          within(env)
        )
      assert.deepStrictEqual(yield* report({ SEAMS_DATA: folder }), [
        ["kv", "sqlite", "SEAMS_DATA"],
        ["queue", "sqlite", "SEAMS_DATA"],
        ["cron", "kv", "default"]
      ])
      assert.deepStrictEqual(yield* report({ SEAMS_DATA: folder, CRON_PROVIDER: "memory" }), [
        ["kv", "sqlite", "SEAMS_DATA"],
        ["queue", "sqlite", "SEAMS_DATA"],
        ["cron", "memory", "CRON_PROVIDER"]
      ])
      assert.deepStrictEqual(yield* report({ CACHE_PROVIDER: "memory", QUEUE_PROVIDER: "memory" }), [
        ["kv", "memory", "CACHE_PROVIDER"],
        ["queue", "memory", "QUEUE_PROVIDER"],
        ["cron", "memory", "default"]
      ])
      assert.deepStrictEqual(yield* report({ CRON_PROVIDER: "deno" }, { kv: "memory", queue: "memory", cron: "kv" }), [
        ["kv", "memory", 'the option "kv"'],
        ["queue", "memory", 'the option "queue"'],
        ["cron", "kv", 'the option "cron"']
      ])
    })
  )

  it.live("is one for all layers of a program, and forgets what is closed", () =>
    Effect.gen(function* () {
      const env = within({ CACHE_PROVIDER: "memory", QUEUE_PROVIDER: "memory" })
      const seams = Effect.flatMap(Discovery.Report, (one) =>
        Effect.map(one.choices, (choices) => choices.map(({ seam }) => seam))
      )
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* seams, ["kv"])
        for (let i = 0; i < 3; i++)
          assert.deepStrictEqual(yield* Effect.provide(seams, Discovery.layerQueue), ["kv", "queue"])
        assert.deepStrictEqual(yield* seams, ["kv"])
      }).pipe(Effect.provide(Discovery.layerKv), env)
    })
  )
})

describe("the scheduler alone", () => {
  it.live("is kept in the Kv that would be chosen, and shares its connection", () =>
    Effect.gen(function* () {
      const name = fresh()
      const env = within({ REDIS_URI: yield* redisAddress(name) })
      const options = { namespace: name }
      const count = Effect.andThen(
        Cron.Scheduler.use((scheduler) => scheduler.list),
        redisConnections(name)
      )
      const alone = yield* count.pipe(Effect.provide(Discovery.layerCronWith(options)), env)
      yield* until(
        "all is closed",
        Effect.map(redisConnections(name), (n) => n === 0)
      )
      const beside = yield* count.pipe(
        Effect.provide(Layer.merge(Discovery.layerCronWith(options), Discovery.layerKvWith(options))),
        env
      )
      assert.isAbove(alone, 0)
      assert.strictEqual(beside, alone)
    })
  )

  it.live("in this process asks for no Kv: one that cannot be reached does not matter", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.fresh(Discovery.layerCron))
      assert.strictEqual(Context.get(context, Cron.Scheduler).capabilities.shared, false)
    }).pipe(within({ CRON_PROVIDER: "memory", REDIS_URI: "127.0.0.1:1" }))
  )

  it.live("by Deno.cron is refused elsewhere, by name", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(Layer.fresh(Discovery.layerCron)))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, "CRON_PROVIDER")
      assert.include(error.message, "Deno")
    }).pipe(within({ CRON_PROVIDER: "deno" }))
  )
})

/** The type that programs rely on: nothing is left to provide. */
export const closed: Layer.Layer<Seams | Discovery.Report, Discovery.DiscoveryError> = Discovery.layer
