import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted } from "effect"
import { inspect } from "node:util"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import { checkQueueOptions, targetOf } from "../../../src/layers/rabbitmq/target.ts"

/** A word that stands in every credential below and may stand in no error. */
const word = "hunter2"

describe("an option that cannot be used is named, with what to do, and nothing is tried", () => {
  const cases: ReadonlyArray<
    readonly [name: string, options: RabbitMq.ConnectionOptions, option: string, advice: string]
  > = [
    ["no URL", { url: `${word}@host` }, "url", "amqp://user:password@host:port/vhost"],
    ["an empty url", { url: "" }, "url", "amqp://user:password@host:port/vhost"],
    ["no urls", { url: [] }, "url", "at least one node"],
    ["one bad url of two", { url: [`amqp://u:${word}@host`, `http://u:${word}@host`] }, "url", "amqps://"],
    ["a slash in a password", { url: `amqp://user:a/${word}@host` }, "url", "%40"],
    ["a slash behind digits of a password", { url: `amqp://user:12/${word}@host:5672` }, "url", "percent-encoded"],
    ["a question mark in a password", { url: `amqp://user:12?${word}@host:5672` }, "url", "percent-encoded"],
    ["a hash in a password", { url: `amqp://user:12#${word}@host:5672/a` }, "url", "percent-encoded"],
    ["a percent sign in a password", { url: `amqp://user:100%${word}@host` }, "url", "%25"],
    ["half a byte in a user name", { url: `amqp://u%e9:${word}@host` }, "url", "%25"],
    ["a query", { url: `amqp://user:${word}@host/a?heartbeat=5` }, "url", "beside the url"],
    ["another scheme", { url: `http://user:${word}@host:15672` }, "url", "amqp://"],
    ["no scheme, and a user", { url: `user:${word}@host:5672` }, "url", "amqp://"],
    ["no host", { url: "amqp://" }, "url", "host"],
    ["port zero", { url: `amqp://u:${word}@host:0` }, "url", "65535"],
    ["a slash in a virtual host", { url: `amqp://u:${word}@host/a/b` }, "url", "%2F"],
    ["a secret url", { url: Redacted.make(`amqp://user:a/${word}@host`) }, "url", "%40"],
    ["url and host", { url: `amqp://u:${word}@host`, host: "other" }, "url, host", "one of them"],
    ["url and port", { url: `amqp://u:${word}@host`, port: 1 }, "port", "leave it out"],
    ["no port", { port: 0, password: word }, "port", "65535"],
    ["a fraction of a port", { port: 1.5 }, "port", "65535"],
    ["a bad port of another node", { others: [{ host: "b", port: 65_536 }] }, "port", "65535"],
    ["a colon in a namespace", { namespace: "a:b" }, "namespace", "letters"],
    ["an empty namespace", { namespace: "" }, "namespace", "letters"],
    ["a long namespace", { namespace: "n".repeat(65) }, "namespace", "64"],
    ["a long name", { connectionName: "n".repeat(201) }, "connectionName", "200"],
    ["no time to connect", { connectTimeout: 0 }, "connectTimeout", "above zero"],
    ["endless connecting", { connectTimeout: "Infinity" }, "connectTimeout", "finite"],
    ["negative time to answer", { commandTimeout: -5 }, "commandTimeout", "above zero"],
    ["no time while blocked", { blockedTimeout: Number.NaN }, "blockedTimeout", "duration"],
    ["a heartbeat below a second", { heartbeat: "500 millis" }, "heartbeat", "1 to 65535"],
    ["a heartbeat without end", { heartbeat: "Infinity" }, "heartbeat", "1 to 65535"]
  ]
  it.live.each(cases)("%s", ([, options, option, advice]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Effect.scoped(RabbitMq.makeConnection(options)))
      if (Exit.isSuccess(exit)) return yield* Effect.die("opened")
      const error = Cause.squash(exit.cause) as RabbitMq.RabbitMqError
      assert.instanceOf(error, RabbitMq.RabbitMqError)
      assert.notInclude(inspect(exit.cause, { depth: null }) + error.message + JSON.stringify(error), word)
      assert.isFalse(error.isRetryable)
      assert.strictEqual(error.reason._tag === "InvalidAddress" ? error.reason.option : error.message, option)
      assert.include(error.message, advice)
    })
  )
})

describe("an option of the queue that cannot be used is named too", () => {
  const cases: ReadonlyArray<readonly [options: object, option: string]> = [
    [{ queueType: "stream" }, "queueType"],
    [{ window: 0 }, "window"],
    [{ window: 1.5 }, "window"],
    [{ channels: -1 }, "channels"],
    [{ channels: Number.NaN }, "channels"]
  ]
  it.each(cases)("%o", (options, option) => {
    const problem = checkQueueOptions(options as RabbitMq.QueueOptions)
    assert.strictEqual(problem?.reason._tag === "InvalidAddress" ? problem.reason.option : "none", option)
  })
})

describe("where the broker is", () => {
  const nodeOf = (options: RabbitMq.ConnectionOptions) => {
    const target = targetOf(options)
    if (target instanceof RabbitMq.RabbitMqError) throw target
    return target
  }
  const cases: ReadonlyArray<readonly [name: string, options: RabbitMq.ConnectionOptions, expected: object]> = [
    ["nothing said", {}, { host: "127.0.0.1", port: 5672, username: "guest", password: "guest", vhost: "/" }],
    ["a url", { url: "amqp://u:p@h:1/v" }, { host: "h", port: 1, username: "u", password: "p", vhost: "v" }],
    ["the virtual host /, encoded", { url: "amqp://h/%2F" }, { vhost: "/" }],
    ["a slash at the end", { url: "amqp://h/" }, { vhost: "/" }],
    ["TLS by url", { url: "amqps://h" }, { port: 5671, tls: {} }],
    ["TLS beside a url", { url: "amqp://h", tls: { servername: "s" } }, { port: 5671, tls: { servername: "s" } }],
    ["no TLS beside a url", { url: "amqps://h", tls: false }, { port: 5672, tls: undefined }],
    [
      "what stands beside a url wins",
      { url: "amqp://u:p@h/v", username: "x", password: "y", vhost: "z" },
      { username: "x", password: "y", vhost: "z" }
    ],
    ["IPv6", { url: "amqp://[::1]:5673" }, { host: "::1", port: 5673, address: "[::1]:5673" }],
    ["secrets", { url: Redacted.make("amqp://u@h"), password: Redacted.make("s") }, { username: "u", password: "s" }]
  ]
  it.each(cases)("%s", (_, options, expected) => {
    const [node] = nodeOf(options).nodes
    for (const [key, value] of Object.entries(expected))
      assert.deepStrictEqual(node[key as keyof typeof node], value, key)
  })

  it("any credentials come back from a url", () => {
    for (const text of ['p@ss:w/o?rd#%41&="é{}[]\\ +,;=', "%", "日本", "a b", "+"]) {
      const url = `amqp://${encodeURIComponent(text)}:${encodeURIComponent(text)}@h/${encodeURIComponent(text)}`
      const [{ password, username, vhost }] = nodeOf({ url }).nodes
      assert.deepStrictEqual([username, password, vhost], [text, text, text])
    }
  })

  it("several nodes, by urls or by addresses", () => {
    const byUrl = nodeOf({ url: ["amqp://u:p@a:1/v", "amqp://w:q@b"] })
    assert.deepStrictEqual(
      byUrl.nodes.map(({ address, username, vhost }) => [address, username, vhost]),
      [
        ["a:1", "u", "v"],
        ["b:5672", "w", "/"]
      ]
    )
    const beside = nodeOf({ url: "amqp://u:p@a:1/v", others: [{ host: "b", port: 2 }, { host: "c" }] })
    assert.deepStrictEqual(
      beside.nodes.map(({ address, username, vhost }) => [address, username, vhost]),
      [
        ["a:1", "u", "v"],
        ["b:2", "u", "v"],
        ["c:1", "u", "v"]
      ]
    )
    assert.strictEqual(beside.address, "a:1, b:2, c:1")
  })
})
