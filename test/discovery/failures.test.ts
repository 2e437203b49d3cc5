/** Every way in which what is set cannot be used ends in time, names the variable and the address, and leads to no other backend. */
import * as fs from "node:fs"
import * as http from "node:http"
import type * as net from "node:net"
import * as path from "node:path"
import * as tls from "node:tls"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Schedule, type Scope } from "effect"
import * as Discovery from "../../src/Discovery.ts"
import * as Kv from "../../src/Kv.ts"
import { admit, adminOf, listener } from "../layers/postgres/supportFaults.ts"
import { certificateOf, makeCertificate } from "../servers/redis.ts"
import { serverUrl, startRedis, startServer } from "../servers/index.ts"
import { faultProxy } from "../support/faultProxy.ts"
import { once, printed, timed, until } from "../support/faults.ts"
import { temporaryFolder } from "../support/processes.ts"
import { portOf, within } from "./support.ts"

const password = "hunter2"
const redis = once(startRedis({ args: ["--requirepass", "s3cret"] }))
const redisPort = Effect.map(redis, ({ port }) => port)
const secureRedis = once(Effect.map(startRedis({ tls: true }), ({ port }) => port))
const rabbitmq = Effect.orDie(Effect.map(serverUrl("rabbitmq"), portOf))
const postgres = once(
  Effect.gen(function* () {
    const server = yield* startServer("postgres")
    const admin = yield* adminOf(server.url)
    yield* admin("CREATE ROLE guarded LOGIN PASSWORD 's3cret'")
    yield* admit(server, admin, ["host all guarded all scram-sha-256"])
    return server.port
  })
)

/** A server under a certificate of its own, which nobody trusts. */
const certificate = once(
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    yield* makeCertificate(folder)
    return { cert: fs.readFileSync(certificateOf(folder)), key: fs.readFileSync(path.join(folder, "tls.key")) }
  })
)
const greet = (credentials: tls.SecureContextOptions) => (socket: net.Socket) => {
  new tls.TLSSocket(socket, { ...credentials, isServer: true }).on("error", () => undefined)
}
const secure = once(Effect.flatMap(certificate, (one) => listener(greet(one))))
/** PostgreSQL is asked first whether it speaks TLS. */
const securePostgres = once(
  Effect.flatMap(certificate, (one) =>
    listener((socket) =>
      socket.once("data", () => {
        socket.write("S")
        greet(one)(socket)
      })
    )
  )
)
const silent = once(listener(() => undefined))
const web = once(
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<http.Server>((resume) => {
        const server = http.createServer((_, response) => response.end("hello"))
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    ),
    (server) => (server.address() as net.AddressInfo).port
  )
)
const nowhere = Effect.succeed(1)

/** Milliseconds. */
const probeTimeout = 2_000
/** For what a busy machine needs beside. */
const slack = 2_000

type Env = Readonly<Record<string, string>>
type Seam = "kv" | "queue"
type Reason = Discovery.DiscoveryErrorReason["_tag"]

/** Builds the layer of one seam, and forgets what is in it. */
const build = (seam: Seam, options: Discovery.Options): Effect.Effect<void, Discovery.DiscoveryError, Scope.Scope> =>
  seam === "kv"
    ? Effect.asVoid(Layer.build(Discovery.layerKvWith(options)))
    : Effect.asVoid(Layer.build(Discovery.layerQueueWith(options)))

/** Building fails in time, and names what it has to. */
const failure = (seam: Seam, env: Env, options: Discovery.Options = {}) =>
  Effect.gen(function* () {
    const { millis, result } = yield* timed(
      "the failure",
      20_000,
      Effect.exit(Effect.scoped(build(seam, { probeTimeout, ...options }))).pipe(within(env))
    )
    if (result._tag === "Failure" || Exit.isSuccess(result.success)) return yield* Effect.die("it was built")
    const { cause } = result.success
    const text = printed(cause)
    assert.notInclude(text, password)
    const error = Cause.squash(cause) as Discovery.DiscoveryError
    assert.instanceOf(error, Discovery.DiscoveryError, text)
    assert.isBelow(millis, probeTimeout + slack, error.message)
    return error
  })

type Row = readonly [
  what: string,
  seam: Seam,
  env: (port: number) => Env,
  port: Effect.Effect<number>,
  reason: Reason,
  /** What to do. */
  fix: RegExp
]

const at = (port: number) => `127.0.0.1:${port}`
const redisUri = (port: number): Env => ({ REDIS_URI: `redis://:${password}@${at(port)}` })
const tlsRedis = (port: number): Env => ({ ConnectionStrings__cache: `${at(port)},ssl=true,password=${password}` })
const rabbitUri = (port: number): Env => ({ RABBITMQ_URI: `amqp://u:${password}@${at(port)}` })
const tlsRabbit = (port: number): Env => ({ AMQP_URL: `amqps://u:${password}@${at(port)}` })
const pg = { CACHE_PROVIDER: "postgres" }
const pgUrl =
  (more = "", user = "guarded") =>
  (port: number): Env => ({ ...pg, DATABASE_URL: `postgres://${user}:${password}@${at(port)}/postgres${more}` })
const pgParts = (port: number): Env => ({
  ...pg,
  ConnectionStrings__postgres: `Host=127.0.0.1;Port=${port};Username=guarded;Password=${password};SSL Mode=VerifyFull`
})
const kvConnect = (port: number): Env => ({ DENO_KV_URL: `http://${at(port)}/x`, DENO_KV_ACCESS_TOKEN: password })

const correct = /[Ss]tart the (?:server|broker), or correct the address/
const authority = /private certificate/

/** What says nothing, or hangs up, cannot be told from a server that is not ready: it is unreachable. */
const rows: ReadonlyArray<Row> = [
  ["Redis: nobody listens", "kv", redisUri, nowhere, "Unreachable", correct],
  ["Redis: a listener that never answers", "kv", redisUri, silent, "Unreachable", correct],
  ["Redis: a wrong password", "kv", redisUri, redisPort, "AuthRefused", /Give the username and password/],
  ["Redis: no password", "kv", (port) => ({ REDIS_TCP: at(port) }), redisPort, "AuthRefused", /username and password/],
  ["Redis: TLS to a port without it", "kv", tlsRedis, redisPort, "Unreachable", /without TLS wants redis:\/\//],
  ["Redis: a certificate of nobody", "kv", tlsRedis, secureRedis, "TlsRefused", authority],
  ["Redis: PostgreSQL is there", "kv", redisUri, postgres, "WrongServer", /PostgreSQL.*Correct the address/],
  ["Redis: RabbitMQ is there", "queue", redisUri, rabbitmq, "WrongServer", /RabbitMQ.*Correct the address/],
  ["Redis: a web server is there", "kv", redisUri, web, "WrongServer", /Correct the address/],
  ["RabbitMQ: nobody listens", "queue", rabbitUri, nowhere, "Unreachable", correct],
  ["RabbitMQ: a listener that never answers", "queue", rabbitUri, silent, "Unreachable", correct],
  ["RabbitMQ: a wrong password", "queue", rabbitUri, rabbitmq, "AuthRefused", /Give a user/],
  ["RabbitMQ: TLS to a port without it", "queue", tlsRabbit, rabbitmq, "TlsRefused", /use amqp:\/\//],
  ["RabbitMQ: a certificate of nobody", "queue", tlsRabbit, secure, "TlsRefused", authority],
  ["RabbitMQ: a web server is there", "queue", rabbitUri, web, "WrongServer", /5672/],
  ["RabbitMQ: Redis is there", "queue", rabbitUri, redisPort, "Unreachable", correct],
  ["RabbitMQ: PostgreSQL is there", "queue", rabbitUri, postgres, "Unreachable", correct],
  ["PostgreSQL: nobody listens", "kv", pgUrl(), nowhere, "Unreachable", correct],
  ["PostgreSQL: a listener that never answers", "kv", pgUrl(), silent, "Unreachable", correct],
  ["PostgreSQL: a wrong password", "kv", pgUrl(), postgres, "AuthRefused", /Correct user, password or database/],
  ["PostgreSQL: no such user", "kv", pgUrl("", "nobody"), postgres, "AuthRefused", /Correct user/],
  ["PostgreSQL: TLS to a port without it", "kv", pgUrl("?sslmode=require"), postgres, "TlsRefused", /leave "tls"/],
  ["PostgreSQL: a certificate of nobody", "kv", pgParts, securePostgres, "TlsRefused", authority],
  ["PostgreSQL: Redis is there", "kv", pgUrl(), redisPort, "WrongServer", /Correct the address/],
  ["PostgreSQL: a web server is there", "kv", pgUrl(), web, "WrongServer", /Correct the address/],
  ["PostgreSQL: RabbitMQ is there", "kv", pgUrl(), rabbitmq, "WrongServer", /Correct the address/],
  ["KV Connect: nobody listens", "kv", kvConnect, nowhere, "Unreachable", correct],
  ["KV Connect: a listener that never answers", "kv", kvConnect, silent, "Unreachable", correct],
  ["KV Connect: a web server is there", "kv", kvConnect, web, "WrongServer", /Correct the address/]
]

describe("what is set and cannot be used is an error, in time", () => {
  it.live.each(rows)("%s", ([, seam, env, port, reason, fix]) =>
    Effect.gen(function* () {
      const found = yield* port
      const set = env(found)
      const folder = yield* temporaryFolder
      const error = yield* failure(seam, { ...set, SEAMS_DATA: folder })
      assert.strictEqual(error.reason._tag, reason, error.message)
      assert.strictEqual(error.isRetryable, reason === "Unreachable")
      const source = Object.keys(set).find((name) => !/PROVIDER|TOKEN/.test(name))!
      assert.strictEqual(error.reason.seam, seam)
      assert.strictEqual(error.reason.source, source)
      assert.include(error.reason.address ?? "", at(found))
      for (const part of [source, at(found)]) assert.include(error.message, part)
      assert.match(error.message, fix)
      // No fall-through: the file that would come last was not made.
      assert.deepStrictEqual(fs.readdirSync(folder), [])
    })
  )

  it.live.each([
    ["Redis", "kv", { GARNET_URI: "garnet://no-such-host.invalid" }, "no-such-host.invalid:6379"],
    [
      "RabbitMQ",
      "queue",
      { services__rabbitmq__http__0: "http://no-such-host.invalid:15672" },
      "no-such-host.invalid:5672"
    ],
    ["PostgreSQL", "kv", { ...pg, POSTGRESDB_HOST: "no-such-host.invalid" }, "no-such-host.invalid:5432"],
    [
      "KV Connect",
      "kv",
      { DENO_KV_URL: "http://no-such-host.invalid/x", DENO_KV_ACCESS_TOKEN: "t" },
      "no-such-host.invalid"
    ]
  ] as const)("%s: the name is not known", ([, seam, env, address]) =>
    Effect.gen(function* () {
      const error = yield* failure(seam, env)
      assert.strictEqual(error.reason._tag, "Unreachable", error.message)
      assert.include(error.message, address)
    })
  )

  it.live("one after the other of several nodes stays within the time of all", () =>
    Effect.gen(function* () {
      const port = yield* silent
      const error = yield* failure("queue", { RABBITMQ_URI: `${at(port)},${at(port)},${at(port)}` })
      assert.strictEqual(error.reason._tag, "Unreachable", error.message)
      const several = yield* failure("kv", { REDIS_URI: `${at(port)},${at(port)},password=${password}` })
      assert.strictEqual(several.reason._tag, "Unreachable", several.message)
      const sentinels = yield* failure("kv", {
        REDIS_URI: `${at(port)},${at(port)},serviceName=m,password=${password}`
      })
      assert.strictEqual(sentinels.reason._tag, "Unreachable", sentinels.message)
    })
  )

  it.live("a file that is none, a folder that is not there, a token that is missing", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const text = path.join(folder, "text.db")
      fs.writeFileSync(text, "this is no database, and it is long enough to be seen as none".repeat(20))
      const missing = yield* failure("kv", { SEAMS_DATA: path.join(folder, "a/b.sqlite") })
      assert.strictEqual(missing.reason._tag, "InvalidAddress", missing.message)
      assert.match(missing.message, /SEAMS_DATA.*a\/b\.sqlite.*Create it/)
      const corrupt = yield* failure("kv", { SEAMS_DATA: text })
      assert.strictEqual(corrupt.reason._tag, "Unsupported", corrupt.message)
      assert.include(corrupt.message, "SEAMS_DATA")
      const kv = yield* failure("kv", { DENO_KV_PATH: path.join(folder, "a/b.db") })
      assert.include(["InvalidAddress", "Unsupported"], kv.reason._tag, kv.message)
      assert.include(kv.message, "DENO_KV_PATH")
      const token = yield* failure("kv", { DENO_KV_URL: "https://kv.example/x" })
      assert.strictEqual(token.reason._tag, "AuthRefused", token.message)
      assert.include(token.message, "DENO_KV_ACCESS_TOKEN")
    })
  )

  it.live("an option that the room refuses, and a limit that is none", () =>
    Effect.gen(function* () {
      const namespace = yield* failure("kv", redisUri(yield* redisPort), { namespace: "a b" })
      assert.strictEqual(namespace.reason._tag, "InvalidAddress", namespace.message)
      assert.include(namespace.message, "namespace")
      for (const limit of [0, -1, "Infinity", Number.NaN] as const) {
        const error = yield* failure("kv", {}, { probeTimeout: limit })
        assert.strictEqual(error.reason._tag, "InvalidAddress")
        assert.include(error.message, 'the option "probeTimeout"')
      }
    })
  )

  it.live("a mistake about one seam leaves the others unopened", () =>
    Effect.gen(function* () {
      const proxy = yield* faultProxy(yield* redisPort)
      for (const env of [
        { QUEUE_PROVIDER: "kafka" },
        { RABBITMQ_URI: "mysql://h" },
        { CRON_PROVIDER: "at" }
      ] as ReadonlyArray<Env>) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(Discovery.layer)))).pipe(
          within({ REDIS_URI: `${at(proxy.port)},password=s3cret`, ...env })
        )
        assert.include(error.message, Object.keys(env)[0]!)
      }
      assert.strictEqual(yield* proxy.accepted, 0)
    })
  )
})

describe("the seam that fails is the one that is named", () => {
  it.live("also when another asked for the same connection first", () =>
    Effect.gen(function* () {
      const seamOf = (seam: Seam) => Effect.map(Effect.flip(build(seam, { probeTimeout })), ({ reason }) => reason.seam)
      const found = yield* Effect.all([seamOf("kv"), seamOf("queue")], { concurrency: 2 }).pipe(
        Effect.scoped,
        within({ REDIS_URI: at(yield* silent) })
      )
      assert.deepStrictEqual(found, ["kv", "queue"])
    })
  )
})

describe("a layer that failed can be tried again in the same program", () => {
  const proxied = Effect.gen(function* () {
    const proxy = yield* faultProxy(yield* redisPort)
    yield* proxy.refuse
    return { proxy, env: within({ REDIS_URI: `${at(proxy.port)},password=s3cret` }) }
  })
  const set = Kv.Kv.use((kv) => kv.set(["again"], 1))

  it.live("provided anew each time", () =>
    Effect.gen(function* () {
      const { env, proxy } = yield* proxied
      let attempts = 0
      yield* set.pipe(
        Effect.provide(Discovery.layerKv),
        Effect.tapError(() =>
          Effect.andThen(
            Effect.sync(() => attempts++),
            attempts === 1 ? proxy.accept : Effect.void
          )
        ),
        Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 20 }),
        env
      )
      assert.isAbove(attempts, 0)
    })
  )

  it.live("built in a scope that goes on", () =>
    Effect.gen(function* () {
      const { env, proxy } = yield* proxied
      yield* Effect.gen(function* () {
        const first = yield* Effect.flip(Layer.build(Discovery.layerKv))
        assert.strictEqual(first.reason._tag, "Unreachable")
        yield* proxy.accept
        const context = yield* Layer.build(Discovery.layerKv)
        yield* Effect.provideContext(set, Context.pick(Kv.Kv)(context))
      }).pipe(env)
    })
  )

  it.live("beside others that hold what it shares with them", () =>
    Effect.gen(function* () {
      const { env, proxy } = yield* proxied
      yield* Effect.gen(function* () {
        yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(Discovery.layerKv))))
        yield* proxy.accept
        yield* Effect.provide(set, Discovery.layerKv)
      }).pipe(Effect.provide(Discovery.layerQueueWith({ queue: "memory" })), env)
    })
  )

  it.live("and nothing of the failed attempts is left", () =>
    Effect.gen(function* () {
      const port = yield* redisPort
      const proxy = yield* faultProxy(port)
      const env = within({ REDIS_URI: `${at(proxy.port)},password=wrong` })
      for (let i = 0; i < 3; i++) yield* Effect.flip(Effect.provide(set, Discovery.layerKv)).pipe(env)
      assert.isAbove(yield* proxy.accepted, 2)
      yield* until(
        "all is closed",
        Effect.map(proxy.connections, (n) => n === 0)
      )
    })
  )
})
