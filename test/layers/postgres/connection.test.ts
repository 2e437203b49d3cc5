/** Ways to a server, and what is said when there is none. */
import * as fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Effect, Exit, Layer, Redacted } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import type * as Queue from "../../../src/Queue.ts"
import { serverUrl, startRedis, startServer } from "../../servers/index.ts"
import { certificateOf, makeCertificate } from "../../servers/redis.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { once, printed, timed, until } from "../../support/faults.ts"
import { temporaryFolder } from "../../support/processes.ts"
import { freshSchema } from "./support.ts"
import { admit, adminOf, handling, Jobs, listener, place, sessionsOf } from "./supportFaults.ts"

/** All that has to be written otherwise in a url, and bytes beyond ASCII. */
const password = 'p@ss:w/o?rd#%41,&="é{}[]\\ +'
const username = "us:er@x/é"
const encoded = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`

/** With a password for each way to prove it, and TLS under a certificate of its own. */
const guarded = once(
  Effect.gen(function* () {
    const server = yield* startServer("postgres")
    const admin = yield* adminOf(server.url)
    const folder = path.join(server.directory!, "data")
    yield* makeCertificate(folder)
    const owner = fs.statSync(folder)
    for (const file of ["tls.key", "tls.crt"]) {
      fs.chownSync(path.join(folder, file), owner.uid, owner.gid)
      fs.chmodSync(path.join(folder, file), 0o600)
    }
    yield* admin("ALTER SYSTEM SET ssl_cert_file = 'tls.crt'")
    yield* admin("ALTER SYSTEM SET ssl_key_file = 'tls.key'")
    yield* admin("ALTER SYSTEM SET ssl = 'on'")
    const literal = `'${password}'`
    const roles = { [username]: "scram-sha-256", md5er: "md5", clear: "scram-sha-256", secure: "scram-sha-256" }
    for (const [role, encryption] of Object.entries(roles)) {
      yield* admin(
        `DO $do$ BEGIN SET LOCAL password_encryption = '${encryption}'; CREATE ROLE "${role}" LOGIN PASSWORD ${literal}; END $do$`
      )
      yield* admin(`GRANT CREATE ON DATABASE postgres TO "${role}"`)
    }
    yield* admit(server, admin, [
      `host all "${username}" all scram-sha-256`,
      "host all md5er all md5",
      "host all clear all password",
      "hostssl all secure all scram-sha-256",
      "host all secure all reject",
      "host all stranger all reject"
    ])
    return { ...server, admin, ca: fs.readFileSync(certificateOf(folder), "utf8") }
  })
)

const shared = Effect.orDie(serverUrl("postgres"))
const portOf = (url: string) => Number(new URL(url).port)

/** A message through the queue, then the schema is taken away again. */
const works = (layer: Layer.Layer<Queue.Queue, Postgres.PostgresError | Config.ConfigError>) =>
  Effect.gen(function* () {
    const handled = yield* handling()
    yield* Jobs.enqueue(1)
    yield* until("the job is done", () => handled.length === 1)
  }).pipe(Effect.scoped, Effect.provide(layer))

describe("every way to name a server works", () => {
  const at = (url: string) => ({ port: portOf(url) })
  const open: ReadonlyArray<readonly [name: string, options: (url: string) => Postgres.ConnectionOptions]> = [
    ["a url", (url) => ({ url })],
    ["a secret url", (url) => ({ url: Redacted.make(url) })],
    ["another scheme", (url) => ({ url: url.replace("postgres:", "postgresql:") })],
    ["a url without user and database", (url) => ({ url: `postgres://localhost:${portOf(url)}` })],
    ["a url with parameters", (url) => ({ url: `postgres://?host=localhost&port=${portOf(url)}&user=postgres` })],
    ["port alone", at],
    ["host and port", (url) => ({ ...at(url), host: "localhost" })],
    [
      "parts beside a url, which win",
      (url) => ({
        ...at(url),
        url: "postgres://a:b@h:1/c",
        host: "127.0.0.1",
        database: "postgres",
        username: "postgres"
      })
    ],
    ["TLS that is not wanted", (url) => ({ url: `${url}?sslmode=disable` })],
    ["TLS that may be left", (url) => ({ url: `${url}?sslmode=prefer` })],
    ["TLS that may be taken", (url) => ({ url: `${url}?sslmode=allow` })],
    ["TLS switched off beside the url", (url) => ({ url: `${url}?sslmode=require`, tls: false })],
    ["without prepared statements", (url) => ({ url, prepare: false })],
    ["without a listener", (url) => ({ url, listen: false })],
    ["a listener with an address of its own", (url) => ({ url, listen: url })],
    ["a pool of two", (url) => ({ url, maxConnections: 2 })]
  ]
  it.live.each(open)("%s", ([, options]) =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      yield* works(Postgres.layerQueue({ ...options(url), schema }))
    })
  )

  it.live("from Config", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const connection = Postgres.layerConnectionConfig({
        url: Config.Redacted("DATABASE_URL"),
        schema: Config.succeed(schema)
      })
      yield* works(Layer.provide(Postgres.layerQueueConnected(), connection)).pipe(
        Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { DATABASE_URL: url } })))
      )
    })
  )

  it.live("a socket in the file system", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const folder = yield* temporaryFolder
      yield* Effect.acquireRelease(
        Effect.callback<Net.Server>((resume) => {
          const server = Net.createServer((client) => {
            const upstream = Net.connect(portOf(url), "127.0.0.1")
            client.pipe(upstream)
            upstream.pipe(client)
            for (const side of [client, upstream]) side.on("error", () => undefined)
          })
          server.listen(path.join(folder, ".s.PGSQL.5432"), () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      yield* works(Postgres.layerQueue({ host: folder, schema }))
      yield* works(Postgres.layerQueue({ url: `postgres://postgres@${encodeURIComponent(folder)}/postgres`, schema }))
    })
  )

  const named: ReadonlyArray<
    readonly [name: string, options: (port: number, ca: string) => Postgres.ConnectionOptions]
  > = [
    [
      "user and password in a url, percent-encoded",
      (port) => ({ url: `postgres://${encoded}@localhost:${port}/postgres` })
    ],
    [
      "user and password as parameters of a url",
      (port) => ({
        url: `postgres://localhost:${port}/postgres?${new URLSearchParams({ user: username, password }).toString()}`
      })
    ],
    ["user and password in parts, as they are", (port) => ({ port, username, password, database: "postgres" })],
    ["a secret password", (port) => ({ port, username, password: Redacted.make(password), database: "postgres" })],
    ["a password proved with MD5", (port) => ({ port, username: "md5er", password, database: "postgres" })],
    ["a password as it is", (port) => ({ port, username: "clear", password, database: "postgres" })],
    [
      "TLS with a private authority",
      (port, ca) => ({ port, username: "secure", password, database: "postgres", tls: { ca } })
    ],
    [
      "TLS that a url asks for, at both addresses",
      (port, ca) => {
        const url = `postgres://secure:${encodeURIComponent(password)}@localhost:${port}/postgres?sslmode=verify-full`
        return { url, listen: url, tls: { ca } }
      }
    ]
  ]
  it.live.each(named)("%s", ([, options]) =>
    Effect.gen(function* () {
      const { ca, port } = yield* guarded
      yield* works(Postgres.layerQueue({ ...options(port, ca), schema: freshSchema() }))
    })
  )
})

/** A failure to build within so many milliseconds, which shows no password however it is printed. */
const refusal = (options: Postgres.ConnectionOptions, limit = 3_000) =>
  Effect.gen(function* () {
    const { millis, result } = yield* timed(
      "the refusal",
      limit,
      Effect.exit(Effect.scoped(Postgres.makeConnection({ connectTimeout: "1 second", ...options })))
    )
    if (result._tag === "Failure" || Exit.isSuccess(result.success)) return yield* Effect.die("built")
    const error = Cause.squash(result.success.cause) as Postgres.PostgresError
    assert.instanceOf(error, Postgres.PostgresError)
    const text = printed(result.success.cause)
    for (const secret of [password, encodeURIComponent(password), "hunter2"]) assert.notInclude(text, secret)
    return { ...error.reason, message: error.message, isRetryable: error.isRetryable, millis }
  })

describe("a server that cannot be had is told from one that refuses", () => {
  const secret = { username, password } as const

  it.live("nobody listens, and no such name: transient", () =>
    Effect.gen(function* () {
      const addresses = [
        { host: "127.0.0.1", port: 9, says: "ECONNREFUSED" },
        { host: "localhost", port: 9, says: "ECONNREFUSED" },
        { host: "no-such-host.invalid", port: 5432, says: "ENOTFOUND" },
        { host: "/tmp/no-such-folder", port: 5432, says: "ENOENT" }
      ]
      for (const { says, ...address } of addresses) {
        const found = yield* refusal({ ...address, ...secret })
        assert.deepStrictEqual([found._tag, found.isRetryable], ["Unreachable", true])
        assert.include(found.message, says)
        assert.include(found.message, address.host)
      }
    })
  )

  it.live("a wrong password, an unknown user, a missing database, a client that is not admitted: lasting", () =>
    Effect.gen(function* () {
      const { port } = yield* guarded
      const url = (user: string, database = "postgres") => `postgres://${user}:hunter2@127.0.0.1:${port}/${database}`
      for (const [options, says] of [
        [{ url: url(encodeURIComponent(username)) }, "password authentication failed"],
        [{ url: url("md5er") }, "password authentication failed"],
        [{ url: url("clear") }, "password authentication failed"],
        [{ port, username }, "No password configured"],
        [{ url: url("nobody") }, "does not exist"],
        [{ url: url("stranger") }, "pg_hba.conf"],
        [{ url: url("postgres", "none") }, 'database "none" does not exist'],
        [{ url: `${url("postgres")}?options=-c%20no_such%3D1` }, "no_such"]
      ] as const) {
        const found = yield* refusal(options)
        assert.deepStrictEqual([found._tag, found.isRetryable], ["AuthRefused", false], found.message)
        assert.include(found.message, says)
      }
    })
  )

  it.live("TLS where there is none, none where it is asked for, and a certificate that nobody vouches for", () =>
    Effect.gen(function* () {
      const { ca, port } = yield* guarded
      const open = yield* shared
      for (const [options, tag, says] of [
        [{ url: open, tls: true }, "TlsRefused", "does not support TLS"],
        [{ url: `${open}?sslmode=require` }, "TlsRefused", "leave"],
        [{ url: `${open}?sslmode=verify-full` }, "TlsRefused", "does not support TLS"],
        [{ port, username: "secure", password, database: "postgres" }, "AuthRefused", "sslmode=require"],
        [{ port, username: "secure", password, database: "postgres", tls: true }, "TlsRefused", "tls: { ca }"],
        [{ port, ...secret, database: "postgres", tls: { ca, servername: "other.example" } }, "TlsRefused", "altnames"]
      ] as const) {
        const found = yield* refusal(options)
        assert.deepStrictEqual([found._tag, found.isRetryable], [tag, false], found.message)
        assert.include(found.message, says)
      }
    })
  )

  it.live("what speaks another protocol: HTTP, Redis, one that answers nonsense", () =>
    Effect.gen(function* () {
      const http = yield* Effect.acquireRelease(
        Effect.callback<Http.Server>((resume) => {
          const server = Http.createServer((_, response) => response.end("no"))
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const redis = yield* startRedis({ args: ["--requirepass", "word"] })
      const ssh = yield* listener((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"))
      for (const port of [(http.address() as Net.AddressInfo).port, redis.port, ssh])
        for (const tls of port === redis.port ? [false] : [false, true]) {
          const found = yield* refusal({ port, tls, ...secret })
          assert.deepStrictEqual([found._tag, found.isRetryable], ["WrongServer", false], found.message)
        }
    })
  )

  it.live("one that accepts and says nothing, hangs up, or is behind a dead line: transient, within the limit", () =>
    Effect.gen(function* () {
      const silent = yield* listener(() => undefined)
      const curt = yield* listener((socket) => socket.end())
      const rude = yield* listener((socket) => socket.resetAndDestroy())
      for (const port of [silent, curt, rude]) {
        const found = yield* refusal({ port, ...secret }, 2_000)
        assert.deepStrictEqual([found._tag, found.isRetryable], ["Unreachable", true], found.message)
        if (port === silent) assert.isAbove(found.millis, 990)
      }
      // It connects, and then the line dies.
      const url = yield* shared
      const proxy = yield* faultProxy(portOf(url))
      const trap = yield* proxy.holdRequest("server_version_num")
      const found = yield* refusal({ url: proxy.through(url), commandTimeout: "1 second", schema: freshSchema() })
      yield* trap.sprung
      assert.deepStrictEqual([found._tag, found.isRetryable], ["Unreachable", true], found.message)
    })
  )

  it.live("one that lets nobody write", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const role = `reader-${schema}`
      yield* admin(`CREATE ROLE "${role}" SUPERUSER LOGIN`)
      yield* Effect.addFinalizer(() => admin(`DROP ROLE "${role}"`))
      yield* admin(`ALTER ROLE "${role}" SET default_transaction_read_only = on`)
      const found = yield* refusal({ url, username: role, schema })
      assert.deepStrictEqual([found._tag, found.isRetryable], ["WrongServer", false])
      assert.include(found.message, "read-only")
    })
  )
})

describe("a server with no room for more connections", () => {
  it.live("refuses a layer for the moment, and one that stands has errors that pass", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const role = `narrow-${schema}`
      yield* admin(`CREATE ROLE "${role}" LOGIN CONNECTION LIMIT 0`)
      yield* admin(`GRANT CREATE ON DATABASE postgres TO "${role}"`)
      yield* Effect.addFinalizer(() =>
        Effect.andThen(admin(`DROP OWNED BY "${role}" CASCADE`), admin(`DROP ROLE "${role}"`))
      )
      const options = { url, username: role, schema, applicationName: schema, commandTimeout: "2 seconds" } as const
      const found = yield* refusal(options)
      assert.deepStrictEqual([found._tag, found.isRetryable], ["Unreachable", true])
      assert.include(found.message, "maxConnections")

      yield* admin(`ALTER ROLE "${role}" CONNECTION LIMIT 3`)
      yield* Effect.gen(function* () {
        const batch = Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n),
          () => Effect.result(Jobs.stats),
          { concurrency: "unbounded" }
        )
        const results = yield* batch
        assert.isTrue(
          results.some(({ _tag }) => _tag === "Success"),
          "the connections there are work"
        )
        for (const result of results)
          if (result._tag === "Failure") {
            assert.isTrue(result.failure.isRetryable)
            assert.include(result.failure.message, "maxConnections")
          }
        yield* admin(`ALTER ROLE "${role}" CONNECTION LIMIT 30`)
        yield* until(
          "everything works again",
          Effect.map(batch, (all) => all.every(({ _tag }) => _tag === "Success"))
        )
        assert.isAtMost(yield* sessionsOf(admin, schema), 10)
      }).pipe(Effect.provide(Postgres.layerQueue(options)))
    })
  )
})
