import * as Http from "node:http"
import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Config,
  ConfigProvider,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Redacted,
  Schema,
  type Scope,
  Stream
} from "effect"
import { readFileSync } from "node:fs"
import { Cluster, Redis as Client } from "ioredis"
import { vi } from "vitest"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { type RedisServer, startRedis, startRedisCluster, startSentinel, withRedis } from "../../servers/index.ts"
import { addressOf, connectionsOf, eventually, newNamespace, once, printed } from "./support.ts"

const open = once(startRedis())
const guarded = once(startRedis({ args: ["--requirepass", "s3cret-of-default"] }))
const secure = once(startRedis({ tls: true }))
const cluster = once(startRedisCluster())

/** All that has to be written otherwise in a URL, and bytes beyond ASCII. */
const password = 'p@ss:w/o?rd#%41&="é{}[]\\ +'
const username = "us:er@x/é"
const encoded = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`

const withUser = Effect.gen(function* () {
  const server = yield* open
  yield* withRedis(server, (redis) =>
    redis.call("ACL", "SETUSER", username, "reset", "on", `>${password}`, "~*", "&*", "+@all")
  )
  return server
})

const Jobs = Queue.define("jobs", { payload: Schema.String })
type Both = Kv.Kv | Queue.Queue | Kv.SharedQueue

/** Uses both seams: a write, a read, a list, a watch, a message through a worker. */
const works = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  yield* kv.set(["key", 1], "value")
  assert.strictEqual(Option.getOrThrow(yield* kv.get(["key", 1])).value, "value")
  const done: Array<string> = []
  yield* Layer.build(Jobs.worker((job) => Effect.sync(() => void done.push(job))))
  yield* Jobs.enqueue("a job")
  yield* eventually(
    "the job is done",
    Effect.sync(() => done.length === 1)
  )
})

const over = <E>(layer: Layer.Layer<Both, E>) => works.pipe(Effect.scoped, Effect.provide(layer))

/** The names of keys that a server has of a namespace, in a database. */
const keysOf = (server: RedisServer, namespace: string, database = 0) =>
  withRedis(server, async (redis) => {
    await redis.select(database)
    return await redis.exists(`{${namespace}}:v`)
  })

const ca = (server: RedisServer): string => readFileSync(server.ca!, "utf8")

describe("every way to name a server works", () => {
  const cases: ReadonlyArray<
    readonly [name: string, server: Effect.Effect<RedisServer, unknown>, options: (s: RedisServer) => Redis.Options]
  > = [
    ["a url", open, ({ url }) => ({ url })],
    ["a url with a slash at its end", open, ({ url }) => ({ url: `${url}/` })],
    ["a secret url", open, ({ url }) => ({ url: Redacted.make(url) })],
    ["host and port", open, ({ port }) => ({ host: "localhost", port })],
    ["port alone", open, ({ port }) => ({ port })],
    ["the password of the default user in a url", guarded, ({ url }) => ({ url })],
    ["the password of the default user beside", guarded, ({ port }) => ({ port, password: "s3cret-of-default" })],
    [
      "the default user by name",
      guarded,
      ({ port }) => ({ url: `redis://default:s3cret-of-default@localhost:${port}` })
    ],
    [
      "user and password in a url, percent-encoded",
      withUser,
      ({ port }) => ({ url: `redis://${encoded}@localhost:${port}` })
    ],
    ["user and password in parts, as they are", withUser, ({ port }) => ({ port, username, password })],
    ["a secret password", withUser, ({ port }) => ({ port, username, password: Redacted.make(password) })],
    [
      "parts beside a url, which win",
      withUser,
      ({ port }) => ({ url: "redis://nobody:nothing@localhost:1", port, username, password })
    ],
    [
      "a password beside the user of a url",
      withUser,
      ({ port }) => ({
        url: `redis://${encodeURIComponent(username)}@localhost:${port}`,
        password
      })
    ],
    ["TLS, with a private authority", secure, (server) => ({ url: server.url, tls: { ca: ca(server) } })],
    ["TLS in parts", secure, (server) => ({ host: "localhost", port: server.port, tls: { ca: ca(server) } })],
    ["TLS switched off beside the url", open, ({ port }) => ({ url: `rediss://localhost:${port}`, tls: false })],
    ["without scripts", open, ({ url }) => ({ url, scripts: "never" })]
  ]
  it.live.each(cases)("%s", ([, server, options]) =>
    Effect.gen(function* () {
      yield* over(Redis.layer({ ...options(yield* server), namespace: newNamespace() }))
    })
  )

  it.live("a database by its index, in a url and beside it", () =>
    Effect.gen(function* () {
      const server = yield* open
      const namespace = newNamespace()
      yield* over(Redis.layer({ url: `${server.url}/3`, namespace }))
      assert.strictEqual(yield* keysOf(server, namespace, 3), 1)
      assert.strictEqual(yield* keysOf(server, namespace, 0), 0)
      const other = newNamespace()
      yield* over(Redis.layer({ url: `${server.url}/3`, database: 5, namespace: other }))
      assert.strictEqual(yield* keysOf(server, other, 5), 1)
      assert.strictEqual(yield* keysOf(server, other, 3), 0)
    })
  )

  it.live("Sentinels: the master is found, and so is the next one", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const layer = Redis.layer({
        sentinel: { sentinels: [group.address], name: group.name },
        namespace: newNamespace()
      })
      yield* Effect.gen(function* () {
        yield* Effect.scoped(works)
        const before = yield* group.master
        const after = yield* group.failover
        assert.notStrictEqual(after.port, before.port)
        const kv = yield* Kv.Kv
        yield* eventually("a write is taken", Effect.isSuccess(kv.set(["after"], 1)))
        yield* Effect.scoped(works)
      }).pipe(Effect.provide(layer))
    })
  )

  it.live("a Cluster, through any of its nodes", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      for (const node of nodes) yield* over(Redis.layer({ cluster: [addressOf(node)], namespace: newNamespace() }))
      yield* over(
        Redis.layer({ cluster: [{ host: "127.0.0.1", port: 1 }, addressOf(nodes[1]!)], namespace: newNamespace() })
      )
    })
  )

  it.live("options from Config, with a secret password", () =>
    Effect.gen(function* () {
      const server = yield* withUser
      const env = ConfigProvider.layer(
        ConfigProvider.fromEnv({
          env: { REDIS_PORT: String(server.port), REDIS_USER: username, REDIS_PASSWORD: password, NAME: newNamespace() }
        })
      )
      const options = {
        port: Config.Int("REDIS_PORT"),
        username: Config.String("REDIS_USER"),
        password: Config.Redacted("REDIS_PASSWORD"),
        namespace: Config.String("NAME")
      }
      yield* over(Layer.provide(Redis.layerConfig(options), env))
      yield* over(Redis.layerConnected().pipe(Layer.provide(Redis.layerConnectionConfig(options)), Layer.provide(env)))
      const missing = yield* Effect.exit(
        Effect.scoped(
          Layer.build(Layer.provide(Redis.layerConfig({ ...options, url: Config.Redacted("NOWHERE") }), env))
        )
      )
      assert.isTrue(Exit.isFailure(missing))
      if (Exit.isFailure(missing)) {
        assert.include(Cause.pretty(missing.cause), "NOWHERE")
        assert.notInclude(printed(missing.cause), password)
      }
    })
  )
})

describe("a client that the program has is neither used nor closed", () => {
  /** Its only trace at the server is what the test itself sends. */
  const untouched = (server: RedisServer, id: number, command: string) =>
    withRedis(server, async (redis) => {
      const line = ((await redis.client("LIST")) as string).split("\n").find((one) => one.startsWith(`id=${id} `))
      assert.include(line, `cmd=${command} `)
    })

  it.live("one server", () =>
    Effect.gen(function* () {
      const server = yield* withUser
      const theirs = yield* Effect.acquireRelease(
        Effect.sync(() => new Client({ port: server.port, username, password, db: 4, connectionName: "theirs" })),
        (client) => Effect.sync(() => client.disconnect())
      )
      yield* Effect.promise(() => theirs.echo("hello"))
      const id = yield* Effect.promise(() => theirs.client("ID"))
      yield* Effect.promise(() => theirs.echo("hello"))
      const namespace = newNamespace()
      yield* over(Redis.layer({ instance: theirs, namespace }))
      yield* untouched(server, id, "echo")
      assert.strictEqual(yield* Effect.promise(() => theirs.echo("still")), "still")
      assert.strictEqual(theirs.status, "ready")
      assert.strictEqual(yield* keysOf(server, namespace, 4), 1, "in its database")
      assert.strictEqual(yield* connectionsOf(server, "theirs"), 1)
    })
  )

  it.live("one that is not connected stays so", () =>
    Effect.gen(function* () {
      const server = yield* open
      const theirs = new Client(server.url, { lazyConnect: true })
      yield* over(Redis.layer({ instance: theirs, namespace: newNamespace() }))
      assert.strictEqual(theirs.status, "wait")
    })
  )

  it.live("one with options that would change our keys and our answers", () =>
    Effect.gen(function* () {
      const server = yield* open
      const namespace = newNamespace()
      const theirs = new Client(server.url, {
        lazyConnect: true,
        keyPrefix: "theirs:",
        stringNumbers: true,
        enableAutoPipelining: true,
        commandTimeout: 1,
        protocol: 3,
        replyMapping: "resp3",
        offlineQueue: false,
        enableReadyCheck: false,
        retryStrategy: null
      } as never)
      yield* over(Redis.layer({ instance: theirs, namespace }))
      assert.strictEqual(yield* keysOf(server, namespace), 1)
    })
  )

  it.live("TLS options are taken over", () =>
    Effect.gen(function* () {
      const server = yield* secure
      const theirs = new Client(server.url, { lazyConnect: true, tls: { ca: ca(server) } })
      yield* over(Redis.layer({ instance: theirs, namespace: newNamespace() }))
    })
  )

  it.live("a client of Sentinels", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const theirs = new Client({ sentinels: [group.address], name: group.name, lazyConnect: true })
      yield* over(Redis.layer({ instance: theirs, namespace: newNamespace() }))
      assert.strictEqual(theirs.status, "wait")
    })
  )

  it.live("a Cluster", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      const theirs = yield* Effect.acquireRelease(
        Effect.sync(() => new Cluster([addressOf(nodes[0]!)], { redisOptions: { connectionName: "theirs" } })),
        (client) => Effect.sync(() => client.disconnect())
      )
      yield* Effect.promise(() => theirs.set("key-of-theirs", "1"))
      yield* over(Redis.layer({ instance: theirs, namespace: newNamespace() }))
      assert.strictEqual(yield* Effect.promise(() => theirs.get("key-of-theirs")), "1")
      assert.strictEqual(theirs.status, "ready")
      const lazy = new Cluster([addressOf(nodes[0]!)], { lazyConnect: true, keyPrefix: "theirs:" })
      yield* over(Redis.layer({ instance: lazy, namespace: newNamespace() }))
      assert.strictEqual(lazy.status, "wait")
    })
  )
})

describe("connections are few, and have a name", () => {
  it.live("both seams over one connection: two at the server; apart: four; none is left", () =>
    Effect.gen(function* () {
      const server = yield* open
      const clientName = newNamespace()
      const options = { url: server.url, clientName, namespace: clientName }
      yield* Effect.gen(function* () {
        yield* works
        assert.strictEqual(yield* connectionsOf(server, clientName), 2)
      }).pipe(Effect.scoped, Effect.provide(Redis.layer(options)))
      yield* eventually(
        "none is left",
        Effect.map(connectionsOf(server, clientName), (n) => n === 0)
      )
      const connected = Layer.mergeAll(Redis.layerKvConnected(), Redis.layerQueueConnected())
      yield* Effect.gen(function* () {
        yield* (yield* Kv.Kv).set(["a"], 1)
        yield* Jobs.enqueue("a")
        assert.strictEqual(yield* connectionsOf(server, clientName), 2)
      }).pipe(Effect.provide(Layer.provide(connected, Redis.layerConnection(options))))
      yield* Effect.gen(function* () {
        yield* (yield* Kv.Kv).set(["a"], 1)
        yield* Jobs.enqueue("a")
        assert.strictEqual(yield* connectionsOf(server, clientName), 4)
      }).pipe(Effect.provide(Layer.mergeAll(Redis.layerKv(options), Redis.layerQueue(options))))
      yield* eventually(
        "none is left again",
        Effect.map(connectionsOf(server, clientName), (n) => n === 0)
      )
    })
  )

  it.live("the default name is that of the package; a Cluster has names too", () =>
    Effect.gen(function* () {
      const server = yield* open
      const { nodes } = yield* cluster
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Redis.layer({ url: server.url, namespace: newNamespace() }))
          assert.isAtLeast(yield* connectionsOf(server, "effect-seams"), 2)
        })
      )
      const clientName = newNamespace()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Redis.layer({ cluster: nodes.map(addressOf), clientName, namespace: newNamespace() }))
          const counts = yield* Effect.forEach(nodes, (node) => connectionsOf(node, clientName))
          assert.isAtLeast(
            counts.reduce((a, b) => a + b),
            2
          )
        })
      )
      yield* eventually(
        "none is left",
        Effect.map(
          Effect.forEach(nodes, (node) => connectionsOf(node, clientName)),
          (counts) => counts.every((n) => n === 0)
        )
      )
    })
  )

  it.live("any number of watches share the one for subscriptions; one that ends takes nothing from the others", () =>
    Effect.gen(function* () {
      const server = yield* open
      const clientName = newNamespace()
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const heard: Array<Array<unknown>> = []
        const watch = (n: number) =>
          Effect.forkChild(
            Stream.runForEach(n % 2 === 0 ? kv.watchPrefix(["w"]) : kv.watch([["w", 1]]), (change) =>
              Effect.sync(() => {
                if (change._tag === "Put") (heard[n] ??= []).push(change.entry.value)
              })
            )
          )
        const watches = yield* Effect.forEach([0, 1, 2, 3, 4, 5], watch)
        const told = (n: number, value: number) => Effect.sync(() => heard[n]?.includes(value) === true)
        yield* kv.set(["w", 1], 1)
        for (let n = 0; n < 6; n++) yield* eventually("the first is heard", told(n, 1))
        assert.strictEqual(yield* connectionsOf(server, clientName), 2)
        const begin = performance.now()
        // Idle ones end at once.
        for (let n = 0; n < 5; n++) yield* Fiber.interrupt(watches[n]!)
        yield* kv.set(["w", 1], 2)
        yield* eventually("the last one still hears", told(5, 2))
        // A message and not a look of its own, which is some seconds away.
        assert.isBelow(performance.now() - begin, 500)
        yield* Fiber.interrupt(watches[5]!)
        const again = yield* watch(6)
        yield* eventually("a new one hears", told(6, 2))
        yield* Fiber.interrupt(again)
      }).pipe(Effect.provide(Redis.layerKv({ url: server.url, clientName, namespace: clientName })))
    })
  )

  it.live("a layer that could not be built is built when the server is there", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const layer = Redis.layer({ url: server.url, namespace: newNamespace() })
      yield* server.kill
      const error = yield* Effect.flip(over(layer))
      assert.strictEqual(error._tag, "RedisError")
      yield* server.start
      yield* over(layer)
    })
  )

  it.live("failed attempts leave no connection and no timer that tries again", () =>
    Effect.gen(function* () {
      let accepted = 0
      const port = yield* listen((socket) => {
        accepted++
        socket.end("+what\r\n")
      })
      yield* Effect.exit(Effect.scoped(Redis.makeConnection({ port, connectTimeout: 300, commandTimeout: 300 })))
      const then = accepted
      yield* Effect.sleep("600 millis")
      assert.strictEqual(accepted, then)
    }).pipe(Effect.scoped)
  )
})

/** A server of this test; answers its port. */
const listen = (serve: (socket: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket> }>((resume) => {
        const sockets = new Set<Net.Socket>()
        const server = Net.createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => undefined)
          serve(socket)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          server.close()
        })
    ),
    ({ server }) => (server.address() as Net.AddressInfo).port
  )

describe("a server that cannot be used is an error soon, which says what to do and shows no password", () => {
  const word = "hunter2"
  /** The reason, within the limits of time. */
  const failing = (options: Redis.Options, expected: Redis.RedisErrorReason["_tag"], about: string | RegExp) =>
    Effect.gen(function* () {
      const errors = vi.spyOn(console, "error").mockImplementation(() => undefined)
      const begin = performance.now()
      const exit = yield* Effect.exit(
        Effect.scoped(Layer.build(Redis.layer({ connectTimeout: 500, commandTimeout: 500, ...options })))
      )
      const took = performance.now() - begin
      if (Exit.isSuccess(exit)) return yield* Effect.die("it opened")
      const error = Cause.squash(exit.cause) as Redis.RedisError
      assert.instanceOf(error, Redis.RedisError, Cause.pretty(exit.cause))
      assert.strictEqual(error.reason._tag, expected, error.message)
      assert.match(error.message, typeof about === "string" ? new RegExp(about) : about)
      assert.notInclude(error.message, "[object")
      assert.notInclude(printed(exit.cause), word)
      assert.notInclude(printed(exit.cause), "s3cret-of-default")
      assert.isBelow(took, 3_000)
      assert.strictEqual(error.isRetryable, expected === "Unreachable")
      assert.strictEqual(errors.mock.calls.length, 0, String(errors.mock.calls[0]))
      return error
    }).pipe(Effect.ensuring(Effect.sync(() => vi.restoreAllMocks())))

  it.live("nothing listens", () =>
    Effect.gen(function* () {
      const error = yield* failing(
        { url: `redis://user:${word}@127.0.0.1:1` },
        "Unreachable",
        /127\.0\.0\.1:1\b.*ECONNREFUSED/
      )
      assert.include(error.message, "Start the server, or correct the address")
    })
  )

  it.live("a host that is not known", () =>
    failing({ url: `redis://:${word}@no-such-host.invalid` }, "Unreachable", "no-such-host.invalid:6379")
  )

  it.live("a server that accepts and never answers", () =>
    Effect.gen(function* () {
      const port = yield* listen(() => undefined)
      yield* failing({ port, password: word }, "Unreachable", "does not answer|Socket timeout")
    }).pipe(Effect.scoped)
  )

  it.live("a server that accepts and hangs up", () =>
    Effect.gen(function* () {
      const port = yield* listen((socket) => socket.destroy())
      yield* failing({ port, password: word }, "Unreachable", /hung up.*rediss:/)
    }).pipe(Effect.scoped)
  )

  it.live("a server that takes the login and is then silent", () =>
    Effect.gen(function* () {
      const port = yield* listen((socket) => socket.once("data", () => socket.write("+OK\r\n")))
      yield* failing({ port, password: word }, "Unreachable", "does not answer|Socket timeout")
    }).pipe(Effect.scoped)
  )

  it.live("an HTTP server", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(
        Effect.callback<Http.Server>((resume) => {
          const made = Http.createServer((_request, response) => response.end("no"))
          made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
        }),
        (made) => Effect.sync(() => made.close())
      )
      const { port } = server.address() as Net.AddressInfo
      yield* failing({ port, password: word }, "WrongServer", "no Redis server")
    }).pipe(Effect.scoped)
  )

  it.live("a server that speaks as PostgreSQL does", () =>
    Effect.gen(function* () {
      const port = yield* listen((socket) =>
        socket.once("data", () => socket.end(Buffer.from("E\0\0\0\x24SFATAL\0C0A000\0Munsupported\0\0", "latin1")))
      )
      yield* failing({ port, password: word }, "WrongServer", "no Redis server")
    }).pipe(Effect.scoped)
  )

  it.live("a server with TLS at a url without", () =>
    Effect.gen(function* () {
      const { port } = yield* secure
      yield* failing({ url: `redis://:${word}@127.0.0.1:${port}` }, "Unreachable", /hung up.*rediss:/)
    })
  )

  it.live("a server without TLS at a url with it", () =>
    Effect.gen(function* () {
      const { port } = yield* open
      yield* failing(
        { url: `rediss://:${word}@127.0.0.1:${port}` },
        "Unreachable",
        "a server without TLS wants redis://"
      )
    })
  )

  it.live("a certificate that nobody vouches for is refused", () =>
    Effect.gen(function* () {
      const server = yield* secure
      yield* failing({ url: server.url, password: word }, "TlsRefused", /certificate.*tls\.ca/i)
      yield* failing({ url: server.url, tls: true }, "TlsRefused", "tls.ca")
      const other = { ca: ca(server), servername: "elsewhere.example" }
      yield* failing({ url: server.url, tls: other }, "TlsRefused", "elsewhere.example")
    })
  )

  it.live("a wrong password, none at all, and an unknown user", () =>
    Effect.gen(function* () {
      const { port } = yield* guarded
      yield* failing({ port, password: word }, "AuthRefused", "username and password")
      yield* failing({ url: `redis://nobody:${word}@127.0.0.1:${port}` }, "AuthRefused", "WRONGPASS")
      yield* failing({ port }, "AuthRefused", "NOAUTH|login")
    })
  )

  it.live("a database that the server does not have", () =>
    Effect.gen(function* () {
      const { port } = yield* open
      yield* failing({ port, database: 16 }, "WrongServer", /DB index|database/)
    })
  )

  it.live("a node of a Cluster as a single server, and the other way round", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      yield* failing({ url: nodes[0]!.url }, "WrongServer", /Cluster.*"cluster"/)
      yield* failing({ cluster: [addressOf(yield* open)], password: word }, "WrongServer", "luster")
    })
  )

  it.live("a Cluster of which no node listens", () =>
    failing({ cluster: [{ host: "127.0.0.1", port: 1 }], password: word }, "Unreachable", "127.0.0.1:1")
  )

  it.live("Sentinels that do not listen, do not know the master, or are none", () =>
    Effect.gen(function* () {
      const { port } = yield* open
      const none = { sentinels: [{ host: "127.0.0.1", port: 1 }], name: "seams", password: word }
      yield* failing({ sentinel: none }, "Unreachable", "127.0.0.1:1")
      yield* failing(
        { sentinel: { ...none, sentinels: [{ host: "127.0.0.1", port }], password: undefined } },
        "WrongServer",
        String(port)
      )
    })
  )

  it.live("a server that evicts", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru"] })
      yield* failing({ url: server.url }, "EvictingPolicy", "allowEviction: true")
      yield* over(Redis.layer({ url: server.url, allowEviction: true, namespace: newNamespace() }))
    })
  )
})

describe("a user with fewer rights", () => {
  const user = (server: RedisServer, name: string, ...rules: ReadonlyArray<string>) =>
    withRedis(server, (redis) => redis.call("ACL", "SETUSER", name, "reset", "on", ">pw", ...rules))

  it.live("the rights that docs/redis.md lists are enough, for both seams", () =>
    Effect.gen(function* () {
      const server = yield* open
      const namespace = newNamespace()
      const rules = "+@connection +@read +@write +@transaction +@pubsub +eval +evalsha +info +time".split(" ")
      yield* user(server, namespace, `~{${namespace}*`, `&{${namespace}*`, ...rules)
      const options = { port: server.port, username: namespace, password: "pw", namespace }
      yield* Effect.gen(function* () {
        yield* Effect.scoped(works)
        yield* Jobs.enqueue("later", { delay: "1 hour" })
        yield* Jobs.purge
        yield* Jobs.awaitIdle
        const kv = yield* Kv.Kv
        assert.include(kv.capabilities.durability.detail, "may not see")
      }).pipe(Effect.provide(Redis.layer(options)))
    })
  )

  it.live("who may not ask what the server is learns that", () =>
    Effect.gen(function* () {
      const server = yield* open
      const name = newNamespace()
      yield* user(server, name, "~*", "&*", "+@all", "-info")
      const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined)
      const error = yield* Effect.flip(
        Effect.scoped(Redis.makeConnection({ port: server.port, username: name, password: "pw" }))
      )
      warn.mockRestore()
      assert.strictEqual(error.reason._tag, "AuthRefused")
      assert.include(error.message, "docs/redis.md")
    })
  )

  it.live("who may not write is told so by a Kv that writes, and by a queue when it is built", () =>
    Effect.gen(function* () {
      const server = yield* open
      const name = newNamespace()
      yield* user(server, name, "~*", "&*", "+@all", "-@write")
      const options = { port: server.port, username: name, password: "pw", namespace: newNamespace() }
      const write = yield* Effect.flip(Effect.provide(Kv.set(["a"], 1), Redis.layerKv(options)))
      assert.strictEqual(write.reason._tag, "Unavailable")
      assert.include(write.message, "docs/redis.md")
      assert.isFalse(write.isRetryable)
      const building = yield* Effect.flip(Effect.scoped(Layer.build(Redis.layerQueue(options))))
      assert.strictEqual(building.reason._tag, "AuthRefused")
      assert.include(building.message, "docs/redis.md")
    })
  )

  it.live("who loses a right that the scripts need gets an error that says so", () =>
    Effect.gen(function* () {
      const server = yield* open
      const name = newNamespace()
      yield* user(server, name, "~*", "&*", "+@all")
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* withRedis(server, (redis) => redis.call("ACL", "SETUSER", name, "-hset"))
        const enqueue = yield* Effect.flip(Jobs.enqueue("a"))
        assert.include(enqueue.message, "docs/redis.md")
        assert.isFalse(enqueue.isRetryable)
      }).pipe(
        Effect.provide(
          Redis.layerQueue({ port: server.port, username: name, password: "pw", namespace: newNamespace() })
        )
      )
    })
  )

  it.live("whose keys are others gets the same", () =>
    Effect.gen(function* () {
      const server = yield* open
      const name = newNamespace()
      yield* user(server, name, "~other*", "&*", "+@all")
      const kv = Redis.layerKv({ port: server.port, username: name, password: "pw", namespace: newNamespace() })
      const error = yield* Effect.flip(
        Effect.provide(
          Kv.Kv.use((store) => store.get(["a"])),
          kv
        )
      )
      assert.include(error.message, "this user may not do that")
      assert.isFalse(error.isRetryable)
    })
  )
})

describe("health tells what is, while it is", () => {
  it.live("up, down with a server that stopped, and up again by itself", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const queue = yield* Queue.Queue
        const done: Array<string> = []
        yield* Layer.build(Jobs.worker((job) => Effect.sync(() => void done.push(job))))
        yield* Jobs.enqueue("before")
        yield* eventually(
          "done",
          Effect.sync(() => done.length === 1)
        )
        assert.strictEqual((yield* kv.health).status, "up")
        assert.strictEqual((yield* queue.health).status, "up")
        yield* server.kill
        const down = yield* kv.health
        assert.strictEqual(down.status, "down")
        assert.isAbove(down.parts.find(({ name }) => name === "redis")?.detail?.length ?? 0, 10)
        assert.strictEqual((yield* queue.health).status, "down")
        const asking = Effect.flip(kv.get(["a"]))
        yield* eventually(
          "it is noticed that the connection is gone",
          Effect.map(asking, ({ message }) => message.includes("no connection to the server"))
        )
        const error = yield* asking
        assert.isTrue(error.isRetryable)
        yield* server.start
        yield* eventually(
          "up",
          Effect.map(kv.health, ({ status }) => status === "up")
        )
        yield* eventually(
          "up",
          Effect.map(queue.health, ({ status }) => status === "up")
        )
        yield* Jobs.enqueue("after")
        yield* eventually(
          "done",
          Effect.sync(() => done.length === 2)
        )
      }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: server.url, namespace: newNamespace() })))
    })
  )

  it.live("degraded while the server answers and refuses what a worker needs", () =>
    Effect.gen(function* () {
      const server = yield* open
      const name = newNamespace()
      const rule = (...rules: ReadonlyArray<string>) =>
        withRedis(server, (redis) => redis.call("ACL", "SETUSER", name, ...rules))
      yield* rule("reset", "on", ">pw", "~*", "&*", "+@all")
      yield* Effect.gen(function* () {
        const queue = yield* Queue.Queue
        const done: Array<string> = []
        yield* Layer.build(Jobs.worker((job) => Effect.sync(() => void done.push(job))))
        yield* Jobs.enqueue("before")
        yield* eventually(
          "done",
          Effect.sync(() => done.length === 1)
        )
        yield* rule("-zadd", "-zpopmin", "-zrem")
        // Wakes the worker, which then cannot claim.
        const enqueuing = yield* Effect.forkChild(Effect.exit(Jobs.enqueue("refused")))
        yield* Fiber.join(enqueuing)
        yield* withRedis(server, (redis) => redis.publish(`{${name}}:unrelated`, ""))
        yield* rule("on", "+zadd", "+zrem", "+zpopmin", "-zrange")
        yield* Effect.exit(Jobs.enqueue("also refused"))
        yield* eventually(
          "degraded",
          Effect.map(queue.health, ({ status }) => status === "degraded")
        )
        const broken = (yield* queue.health).parts.find(({ status }) => status === "down")
        assert.include(broken?.name, "worker")
        assert.include(broken?.detail, "docs/redis.md")
        yield* rule("+@all")
        yield* eventually(
          "up",
          Effect.map(queue.health, ({ status }) => status === "up")
        )
        yield* Jobs.enqueue("after")
        yield* eventually(
          "done",
          Effect.sync(() => done.includes("after"))
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(Redis.layer({ port: server.port, username: name, password: "pw", namespace: name }))
      )
    })
  )
})
