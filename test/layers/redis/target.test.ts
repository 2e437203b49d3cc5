import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted } from "effect"
import { Redis as Client, Cluster } from "ioredis"
import * as Redis from "../../../src/layers/redis/index.ts"
import { targetOf } from "../../../src/layers/redis/target.ts"
import { printed } from "./support.ts"

/** A word that stands in every credential below and may stand in no error. */
const word = "hunter2"

/** Opening fails before anything is tried: at once, and the error shows no password however it is printed. */
const refused = (options: Redis.ConnectionOptions) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.scoped(Redis.makeConnection(options)))
    assert.isTrue(Exit.isFailure(exit))
    if (Exit.isSuccess(exit)) return yield* Effect.die("opened")
    const error = Cause.squash(exit.cause) as Redis.RedisError
    assert.instanceOf(error, Redis.RedisError)
    assert.notInclude(printed(exit.cause), word)
    assert.isFalse(error.isRetryable)
    const { reason } = error
    if (reason._tag !== "InvalidAddress") return yield* Effect.die(`${reason._tag}: ${error.message}`)
    assert.include(error.message, `"${reason.option}"`)
    return { option: reason.option, message: error.message }
  })

const client = () => new Client({ lazyConnect: true, password: word })

describe("an option that cannot be used is named, with what to do, and nothing is tried", () => {
  const cases: ReadonlyArray<
    readonly [name: string, options: Redis.ConnectionOptions, option: string, advice: string | RegExp]
  > = [
    ["no URL", { url: `${word}@host` }, "url", "redis://user:password@host:port/database"],
    ["an empty url", { url: "" }, "url", "redis://user:password@host:port/database"],
    ["a slash in a password", { url: `redis://user:a/${word}@host` }, "url", "%40"],
    ["a slash behind digits of a password", { url: `redis://user:12/${word}@host:6379` }, "url", "percent-encoded"],
    ["a question mark in a password", { url: `redis://user:12?${word}@host:6379` }, "url", "percent-encoded"],
    ["a hash in a password", { url: `redis://user:12#${word}@host:6379/1` }, "url", "percent-encoded"],
    ["a percent sign in a password", { url: `redis://user:100%${word}@host` }, "url", "%25"],
    ["half a byte in a user name", { url: `redis://u%e9:${word}@host` }, "url", "%25"],
    ["a query", { url: `redis://user:${word}@host/1?family=6` }, "url", "beside the url"],
    ["another scheme", { url: `http://user:${word}@host` }, "url", "rediss://"],
    ["no scheme, and a user", { url: `user:${word}@host:6379` }, "url", "redis://"],
    ["no scheme, as others write it", { url: `host:6379,password=${word}` }, "url", "redis://"],
    ["no host", { url: "redis://" }, "url", "host"],
    ["no host, and a database", { url: "redis:///3" }, "url", "host"],
    ["a port too large", { url: `redis://:${word}@host:99999` }, "url", /no URL|port/],
    ["port zero", { url: `redis://:${word}@host:0` }, "url", "65535"],
    ["a database by name", { url: `redis://:${word}@host/users` }, "url", "database"],
    ["two databases", { url: `redis://:${word}@host/1/2` }, "url", "database"],
    ["a secret url", { url: Redacted.make(`redis://user:a/${word}@host`) }, "url", "%40"],
    ["url and host", { url: `redis://:${word}@host`, host: "other" }, "url, host", "one of them"],
    ["host and cluster", { host: "h", cluster: [{ host: "h", port: 1 }] }, "host, cluster", "one of them"],
    ["sentinel and instance", { sentinel: { sentinels: [], name: "m" }, instance: client() }, "sentinel, instance", ""],
    ["no port", { port: 0, password: word }, "port", "65535"],
    ["a fraction of a port", { port: 1.5 }, "port", "65535"],
    ["a port too large beside", { port: 65_536 }, "port", "65535"],
    ["a negative database", { database: -1 }, "database", "from 0"],
    ["a fraction of a database", { database: 0.5 }, "database", "from 0"],
    ["a database of a Cluster", { cluster: [{ host: "h", port: 1 }], database: 1 }, "database", "namespace"],
    ["a Cluster without nodes", { cluster: [] }, "cluster", "at least one"],
    ["no Sentinels", { sentinel: { sentinels: [], name: "m", password: word } }, "sentinel", "at least one"],
    ["braces in a namespace", { namespace: "a{b}" }, "namespace", "letters"],
    ["an empty namespace", { namespace: "" }, "namespace", "letters"],
    ["a long namespace", { namespace: "n".repeat(65) }, "namespace", "64"],
    ["a colon in a namespace", { namespace: "a:b" }, "namespace", "letters"],
    ["no time to connect", { connectTimeout: 0 }, "connectTimeout", "above zero"],
    ["endless connecting", { connectTimeout: "Infinity" }, "connectTimeout", "finite"],
    ["negative time to answer", { commandTimeout: -5 }, "commandTimeout", "above zero"],
    ["no time at all", { commandTimeout: Number.NaN }, "commandTimeout", "duration"],
    ["a name with a blank", { clientName: "my client" }, "clientName", "blank"],
    ["a name with a line feed", { clientName: "a\nb" }, "clientName", "blank"]
  ]
  it.live.each(cases)("%s", ([, options, option, advice]) =>
    Effect.gen(function* () {
      const found = yield* refused(options)
      assert.strictEqual(found.option, option, found.message)
      assert.match(found.message, advice instanceof RegExp ? advice : /./)
      if (typeof advice === "string") assert.include(found.message, advice)
    })
  )

  it.live("an option beside a client of the program's own, which says it already", () =>
    Effect.gen(function* () {
      for (const more of [{ password: word }, { username: "u" }, { database: 1 }, { port: 1 }, { tls: true }]) {
        const found = yield* refused({ instance: client(), ...more })
        assert.include(found.option, Object.keys(more)[0]!)
      }
    })
  )
})

describe("a client of the program's", () => {
  const addressOf = (instance: Client | Cluster) => {
    const target = targetOf({ instance })
    return target instanceof Redis.RedisError ? assert.fail(target.message) : target.address
  }
  const cluster = (...nodes: ConstructorParameters<typeof Cluster>[0]) =>
    addressOf(new Cluster(nodes, { lazyConnect: true }))
  const master = (name: string, host: string) =>
    addressOf(new Client({ lazyConnect: true, name, sentinels: [{ host }], password: word }))

  it("has the identity of where it connects to, in whatever form it was told, without credentials", () => {
    assert.strictEqual(
      cluster({ host: "a", port: 7_000 }, `redis://u:${word}@b:7001`, "c", 7_002),
      cluster("a:7000", "b:7001", "c:6379", "127.0.0.1:7002")
    )
    assert.strictEqual(cluster("a:7000"), "a:7000")
    assert.notStrictEqual(cluster("a:7000"), cluster("b:7000"))
    assert.strictEqual(master("one", "s"), "one (Sentinels s:26379)")
    assert.notStrictEqual(master("one", "s"), master("two", "s"))
    assert.notStrictEqual(master("one", "s"), master("one", "t"))
    assert.strictEqual(addressOf(new Client({ lazyConnect: true, path: "/run/redis.sock" })), "/run/redis.sock")
  })
})
