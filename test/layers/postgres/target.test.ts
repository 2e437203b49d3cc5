import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import { migrationStatements } from "../../../src/layers/postgres/schema/migrations.ts"
import { placeOf, settingsOf, targetOf } from "../../../src/layers/postgres/target.ts"
import { printed } from "../../support/faults.ts"

/** A word that stands in every credential below and may stand in no error. */
const word = "hunter2"

/** Opening fails before anything is tried: at once, and the error shows no password however it is printed. */
const refused = (options: Postgres.ConnectionOptions) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.scoped(Postgres.makeConnection(options)))
    if (Exit.isSuccess(exit)) return yield* Effect.die("opened")
    const error = Cause.squash(exit.cause) as Postgres.PostgresError
    assert.instanceOf(error, Postgres.PostgresError)
    assert.notInclude(printed(exit.cause), word)
    assert.isFalse(error.isRetryable)
    const { reason } = error
    if (reason._tag !== "InvalidOption") return yield* Effect.die(`${reason._tag}: ${error.message}`)
    assert.include(error.message, `"${reason.option}"`)
    return { option: reason.option, message: error.message }
  })

describe("an option that cannot be used is named, with what to do, and nothing is tried", () => {
  const cases: ReadonlyArray<
    readonly [name: string, options: Postgres.ConnectionOptions, option: string, advice: string]
  > = [
    ["no url", { url: `${word}@host` }, "url", "postgres://user:password@host:port/database"],
    ["an empty url", { url: "" }, "url", "postgres://user:password@host:port/database"],
    ["no host behind credentials", { url: `postgres://u:${word}@/db` }, "url", "postgres://user:password@host:port"],
    ["two hosts", { url: `postgres://u:${word}@a:1,b:2/db` }, "url", "postgres://user:password@host:port"],
    ["no slashes", { url: `postgres:${word}` }, "url", "postgres://"],
    ["another scheme", { url: `http://user:${word}@host` }, "url", "postgres://"],
    ["no scheme, and a user", { url: `user:${word}@host:5432` }, "url", "postgres://"],
    ["a slash in a password", { url: `postgres://user:a/${word}@host` }, "url", "postgres://user"],
    ["a slash behind digits of a password", { url: `postgres://user:12/${word}@host:5432` }, "url", "percent-encoded"],
    ["a question mark in a password", { url: `postgres://user:12?${word}@host` }, "url", "percent-encoded"],
    ["a hash in a password", { url: `postgres://user:12#${word}@host:5432/db` }, "url", "percent-encoded"],
    ["a percent sign in a password", { url: `postgres://user:100%${word}@host` }, "url", "%25"],
    ["half a byte in a user", { url: `postgres://u%e9:${word}@host` }, "url", "%25"],
    ["a NUL character in a password", { url: `postgres://u:${word}%00@host` }, "url", "NUL"],
    ["a NUL character in a parameter", { url: `postgres://u:${word}@host?user=a%00b` }, "url", "NUL"],
    ["a port too large", { url: `postgres://u:${word}@host:99999` }, "url", "postgres://user"],
    ["port zero", { url: `postgres://u:${word}@host:0` }, "url", "65535"],
    ["a word as port", { url: `postgres://u@host/db?port=${word}` }, "url", "65535"],
    ["an unknown sslmode", { url: `postgres://u:${word}@host?sslmode=${word}` }, "url", "verify-full"],
    ["a word as time limit", { url: `postgres://u@host?connect_timeout=${word}` }, "url", "seconds"],
    ["no time limit", { url: `postgres://u:${word}@host?connect_timeout=0` }, "url", "above zero"],
    ["a secret url", { url: Redacted.make(`postgres://user:a/${word}@host`) }, "url", "postgres://user"],
    ["port zero beside", { port: 0, password: word }, "port", "65535"],
    ["a fraction of a port", { port: 1.5 }, "port", "65535"],
    ["a port too large beside", { port: 65_536 }, "port", "65535"],
    ["an empty host", { host: "", password: word }, "host", "empty"],
    ["an empty database", { database: "" }, "database", "empty"],
    ["a NUL character in a user name", { username: "a\0b", password: word }, "username", "NUL"],
    ["a NUL character in the application's name", { applicationName: "a\0" }, "applicationName", "NUL"],
    ["a NUL character in a password beside", { password: `${word}\0` }, "password", "NUL"],
    ["a pool of one", { maxConnections: 1 }, "maxConnections", "from 2"],
    ["a fraction of a connection", { maxConnections: 2.5 }, "maxConnections", "from 2"],
    ["no time to connect", { connectTimeout: 0 }, "connectTimeout", "above zero"],
    ["forever to connect", { connectTimeout: "Infinity" }, "connectTimeout", "finite"],
    ["no time for a statement", { commandTimeout: 0 }, "commandTimeout", "above zero"],
    ["no time between two looks", { pollInterval: -1 }, "pollInterval", "above zero"],
    ["what is no duration", { commandTimeout: "soon" as "1 second" }, "commandTimeout", "finite"],
    ["a direct address that is no url", { listen: `${word}@host` }, "listen", "postgres://user"],
    ["a secret direct address", { listen: Redacted.make(`http://u:${word}@host`) }, "listen", "postgres://"],
    ["a mode of migration", { migrate: "never" as "check" }, "migrate", "manual"],
    ["an empty schema", { schema: "" }, "schema", "letters"],
    ["a schema with a quote", { schema: 'a"b' }, "schema", "letters"],
    ["a schema with a dot", { schema: "a.b" }, "schema", "letters"],
    ["a schema that begins with a dash", { schema: "-a" }, "schema", "dash"],
    ["a schema of the system", { schema: "pg_mine" }, "schema", "pg_"],
    ["a schema of 64 letters", { schema: "a".repeat(64) }, "schema", "63"],
    ["a schema beyond ASCII", { schema: "schön" }, "schema", "letters"]
  ]
  it.live.each(cases)("%s", ([, options, option, advice]) =>
    Effect.gen(function* () {
      const found = yield* refused(options)
      assert.strictEqual(found.option, option)
      assert.include(found.message, advice)
    })
  )
})

const target = (options: Postgres.ConnectionOptions) => {
  const found = targetOf(options)
  if (found instanceof Postgres.PostgresError) throw found
  return found
}

describe("an address", () => {
  const cases: ReadonlyArray<readonly [options: Postgres.ConnectionOptions, address: string]> = [
    [{}, "127.0.0.1:5432"],
    [{ port: 1 }, "127.0.0.1:1"],
    [{ host: "db" }, "db:5432"],
    [{ url: "postgres://" }, "127.0.0.1:5432"],
    [{ url: `postgres://u:${word}@db` }, "db:5432"],
    [{ url: `postgresql://u:${word}@db:7/x?sslmode=require` }, "db:7"],
    [{ url: `postgres://u:${word}@[::1]:7/x` }, "[::1]:7"],
    [{ host: "::1", port: 7 }, "[::1]:7"],
    [{ url: `postgres://u:${word}@db:7/x`, host: "other" }, "other:7"],
    [{ url: `postgres://u:${word}@db:7/x`, port: 8 }, "db:8"],
    [{ url: `postgres:///x?host=db&port=9&password=${word}` }, "db:9"],
    [{ url: `postgres://u:${word}@%2Fvar%2Frun:7/x` }, "/var/run/.s.PGSQL.7"],
    [{ url: "postgres:///x?host=/tmp" }, "/tmp/.s.PGSQL.5432"],
    [{ host: "/tmp", port: 7 }, "/tmp/.s.PGSQL.7"]
  ]
  it.each(cases)("%j is %s", (options, address) => assert.strictEqual(target(options).address, address))

  it("of the program's client holds no credentials", () => {
    const url = Redacted.make(`postgres://u:${word}@[::1]:7/x`)
    assert.strictEqual(placeOf({ url }).address, "[::1]:7")
    assert.strictEqual(placeOf({ url, host: "db", port: 1 }).address, "db:1")
    assert.strictEqual(placeOf({ path: "/tmp/socket" }).address, "/tmp/socket")
    assert.strictEqual(placeOf({}).address, "localhost:5432")
  })
})

describe("a connection", () => {
  it("is asked for with the user of the url, of its parameter, or postgres", () => {
    assert.strictEqual(target({}).config.username, "postgres")
    assert.strictEqual(target({ url: "postgres://h" }).config.username, "postgres")
    // Left to the client, which reads the url.
    assert.isUndefined(target({ url: "postgres://u@h" }).config.username)
    assert.isUndefined(target({ url: "postgres://h?user=u" }).config.username)
    assert.strictEqual(target({ url: "postgres://u@h", username: "v" }).config.username, "v")
  })

  it("has the time limit of the option, of the url, or 5 seconds", () => {
    const url = "postgres://h?connect_timeout=7"
    assert.strictEqual(target({}).connectTimeout, 5_000)
    assert.strictEqual(target({ url }).connectTimeout, 7_000)
    assert.strictEqual(target({ url, connectTimeout: "2 seconds" }).connectTimeout, 2_000)
  })

  it("that listens at a direct address takes over the authority, not the credentials", () => {
    const listening = (listen: string) => {
      const settings = settingsOf({ listen, tls: { ca: "ca" }, password: word, applicationName: "mine" })
      return settings instanceof Postgres.PostgresError || typeof settings.listen === "boolean"
        ? undefined
        : settings.listen.config
    }
    assert.deepStrictEqual(listening("postgres://h?sslmode=verify-full")?.ssl, { ca: "ca" })
    const plain = listening("postgres://h")
    assert.deepStrictEqual([plain?.ssl, plain?.password, plain?.applicationName], [undefined, undefined, "mine listen"])
  })
})

describe("a schema", () => {
  it.each(["seams", "weird-Name", "0", "A_b-C", "a".repeat(63)])("may be called %s", (schema) => {
    assert.isFalse(settingsOf({ schema }) instanceof Postgres.PostgresError)
    for (const statement of migrationStatements(schema, 0)) {
      assert.notMatch(statement, /\bseams\./)
      if (/^CREATE (UNLOGGED )?(TABLE|FUNCTION|SEQUENCE)/.test(statement)) assert.include(statement, `"${schema}".`)
    }
  })
})
