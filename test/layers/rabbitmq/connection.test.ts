import * as Http from "node:http"
import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Effect, Exit, Layer, Schema, type Scope } from "effect"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { serverUrl, startRedis, startServer } from "../../servers/index.ts"
import { publication } from "../../../src/testing/queueKit.ts"
import { once, timed, until } from "../../support/faults.ts"
import { cut, foreignChannel, freshNamespace, layerOver } from "./support.ts"

const redis = once(startRedis())
const postgres = once(startServer("postgres"))

/** Opening fails within the limits, with an error of our own that shows no password. */
const failure = (options: RabbitMq.ConnectionOptions) =>
  Effect.gen(function* () {
    const { millis, result } = yield* timed(
      "the failure",
      10_000,
      Effect.exit(Effect.scoped(RabbitMq.makeConnection({ connectTimeout: "1 second", ...options })))
    )
    if (result._tag === "Failure" || Exit.isSuccess(result.success)) return yield* Effect.die("opened")
    const error = Cause.squash(result.success.cause) as RabbitMq.RabbitMqError
    assert.instanceOf(error, RabbitMq.RabbitMqError)
    assert.isBelow(millis, 4_000)
    assert.notInclude(error.message, "hunter2")
    return error
  })

/** A server that does with each connection what it is told. */
const listener = (onConnection: (socket: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket> }>((resume) => {
        const sockets = new Set<Net.Socket>()
        const server = Net.createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => undefined)
          onConnection(socket)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ server }) => (server.address() as Net.AddressInfo).port
  )

const Jobs = Queue.define("jobs", { payload: Schema.String })

describe("a layer that cannot be built says why, within its limit", () => {
  it.live("nobody listens", () =>
    Effect.gen(function* () {
      const error = yield* failure({ port: 1 })
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.include(error.message, "127.0.0.1:1")
      assert.isTrue(error.isRetryable)
    })
  )

  it.live("the name is not known", () =>
    Effect.gen(function* () {
      const error = yield* failure({ url: "amqp://no-such-host.invalid" })
      assert.strictEqual(error.reason._tag, "Unreachable")
    })
  )

  it.live("somebody listens and says nothing, or one byte now and then", () =>
    Effect.gen(function* () {
      for (const port of [
        yield* listener(() => undefined),
        yield* listener((socket) => {
          const timer = setInterval(() => socket.write(Buffer.from([1])), 200)
          socket.on("close", () => clearInterval(timer))
        })
      ])
        assert.strictEqual((yield* failure({ port })).reason._tag, "Unreachable")
    })
  )

  it.live("a web server, as on the management port", () =>
    Effect.gen(function* () {
      const server = Http.createServer((_, response) => response.end("hello"))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close())
      )
      const error = yield* failure({ port: (server.address() as Net.AddressInfo).port })
      assert.strictEqual(error.reason._tag, "WrongServer")
      assert.include(error.message, "5672")
    })
  )

  it.live("Redis, which waits for the end of a line, and PostgreSQL, which hangs up", () =>
    Effect.gen(function* () {
      for (const { port } of [yield* redis, yield* postgres]) {
        const error = yield* failure({ port })
        assert.include(["WrongServer", "Unreachable"], error.reason._tag)
        assert.include(error.message.toLowerCase(), "correct the address")
      }
    })
  )

  it.live("a wrong password, a user that is not there", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("rabbitmq")
      for (const credentials of [{ password: "hunter2" }, { username: "nobody", password: "hunter2" }]) {
        const error = yield* failure({ url, ...credentials })
        assert.strictEqual(error.reason._tag, "AuthRefused", error.message)
        assert.isFalse(error.isRetryable)
      }
    })
  )

  it.live("a virtual host that is not there", () =>
    Effect.gen(function* () {
      const error = yield* failure({ url: yield* serverUrl("rabbitmq"), vhost: "no/such" })
      assert.strictEqual(error.reason._tag, "AuthRefused", error.message)
      assert.include(error.message, "no/such")
    })
  )

  it.live("TLS to a port without it", () =>
    Effect.gen(function* () {
      const error = yield* failure({ url: yield* serverUrl("rabbitmq"), tls: true })
      assert.strictEqual(error.reason._tag, "TlsRefused", error.message)
    })
  )
})

describe("a layer", () => {
  it.live("is built by the first of several nodes that answers, and tells what the broker is", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("rabbitmq")
      const { server } = yield* RabbitMq.makeConnection({
        url: ["amqp://127.0.0.1:1", url],
        connectTimeout: "1 second"
      })
      assert.strictEqual(server.product, "RabbitMQ")
      assert.isAtLeast(server.major, 3)
      assert.strictEqual(server.heartbeat, 10)
    })
  )

  it.live("has two connections that bear its name, and none when it is closed", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("rabbitmq")
      const before = yield* RabbitMq.makeConnection({ url })
      const { consuming, publishing } = yield* Effect.scoped(
        Effect.map(RabbitMq.makeConnection({ url, connectionName: "mine" }), (connection) => {
          assert.isDefined(connection.publishing.current())
          assert.isDefined(connection.consuming.current())
          return connection
        })
      )
      assert.isUndefined(publishing.current())
      assert.isUndefined(consuming.current())
      const late = yield* Effect.flip(publishing.session)
      assert.strictEqual(late.kind, "closed")
      assert.isTrue(late.lasting)
      assert.isDefined(before.publishing.current())
    })
  )

  it.live("takes its options from Config", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("rabbitmq")
      const layer = RabbitMq.layerQueueConfig({
        url: Config.Redacted("AMQP_URL"),
        namespace: Config.succeed(freshNamespace())
      }).pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ AMQP_URL: url }))))
      yield* Effect.provide(Jobs.enqueue("a"), layer)
    })
  )

  it.live("serves several queue services over one connection", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("rabbitmq")
      const connection = RabbitMq.layerConnection({ url, namespace: freshNamespace() })
      yield* Effect.gen(function* () {
        const handled: Array<string> = []
        yield* Layer.build(Jobs.worker((job) => Effect.sync(() => void handled.push(job))))
        yield* Jobs.enqueue("a")
        yield* until("it is handled", () => handled.length === 1)
      }).pipe(Effect.provide(Layer.provide(RabbitMq.layerQueueConnected(), connection)))
    })
  )
})

describe("a connection that the broker closes together with the answer that opens something, in one read", () => {
  /** Of a method, by its class, its number and what it says. */
  const frame = (channel: number, method: ReadonlyArray<number>) =>
    Buffer.from([1, 0, channel, 0, 0, 0, method.length, ...method, 0xce])
  const openOk = frame(0, [0, 10, 0, 41, 0])
  const selectOk = frame(1, [0, 85, 0, 11])
  const close = frame(0, [0, 10, 0, 50, 1, 64, 3, ...Buffer.from("bye"), 0, 0, 0, 0])

  /** Between the layer and the broker: behind the next such answer the broker seems to close the connection. */
  const tampering = Effect.gen(function* () {
    const direct = yield* serverUrl("rabbitmq")
    const { host, hostname, port } = new URL(direct)
    const state = { closeAfter: undefined as Buffer | undefined, closed: 0 }
    const through = yield* listener((client) => {
      const broker = Net.connect(Number(port), hostname)
      broker.on("error", () => undefined)
      client.pipe(broker)
      broker.on("data", (chunk: Buffer) => {
        const isMet = state.closeAfter !== undefined && chunk.includes(state.closeAfter)
        if (isMet) {
          state.closeAfter = undefined
          state.closed++
        }
        client.write(isMet ? Buffer.concat([chunk, close]) : chunk)
      })
      broker.on("close", () => client.destroy())
      client.on("close", () => broker.destroy())
    })
    return { state, url: direct.replace(host, `127.0.0.1:${through}`) }
  })

  it.live("is made again when it was the connection itself", () =>
    Effect.gen(function* () {
      const { state, url } = yield* tampering
      const connection = yield* RabbitMq.makeConnection({ url, commandTimeout: "1 second" })
      state.closeAfter = openOk
      yield* cut(connection)
      yield* until("it was closed so", () => state.closed === 1)
      for (const link of [connection.publishing, connection.consuming])
        yield* until("it works again", Effect.as(Effect.scoped(link.channel), true), "5 seconds")
    })
  )

  it.live("is published on again when it was the channel for that", () =>
    Effect.gen(function* () {
      const { state, url } = yield* tampering
      const connection = yield* RabbitMq.makeConnection({ url, namespace: freshNamespace() })
      const driver = yield* RabbitMq.makeQueueDriver(connection)
      state.closeAfter = selectOk
      const first = yield* Effect.flip(driver.publish([publication("jobs", "a")]))
      assert.deepInclude(first.reason, { _tag: "Unavailable" })
      assert.strictEqual(state.closed, 1)
      yield* until("it works again", Effect.as(driver.publish([publication("jobs", "a")]), true), "5 seconds")
    })
  )
})

describe("another program", () => {
  it.live("reaches a worker with plain JSON, its own headers and no id; the worker's retry keeps what it said", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const Orders = Queue.define("orders", {
        messages: { placed: Schema.Struct({ n: Schema.Finite }) },
        retry: { times: 1 }
      })
      const seen: Array<readonly [n: number, attempt: number, id: string, headers: Readonly<Record<string, string>>]> =
        []
      yield* Effect.gen(function* () {
        yield* Layer.build(
          Orders.worker({
            placed: ({ n }, { attempt, headers, id }) =>
              Effect.andThen(
                Effect.sync(() => void seen.push([n, attempt, id, headers])),
                n === 2 && attempt === 1 ? Effect.fail("again") : Effect.void
              )
          })
        )
        const channel = yield* foreignChannel
        const name = `${namespace}:orders`
        yield* until(
          "the worker has declared its queue",
          Effect.scoped(
            Effect.flatMap(foreignChannel, (other) => Effect.tryPromise(() => other.checkQueue(name)))
          ).pipe(Effect.as(true))
        )
        const body = (n: number) => Buffer.from(JSON.stringify({ n }))
        channel.sendToQueue(name, body(1), { persistent: true, type: "placed", messageId: "theirs-1" })
        channel.sendToQueue(name, body(2), { type: "placed", headers: { tenant: "acme", count: 3, flag: true } })
        yield* until("both are handled, one twice", () => seen.length === 3)
      }).pipe(Effect.provide(layerOver({ namespace })))
      const second = seen.filter(([n]) => n === 2)
      assert.deepStrictEqual(seen.find(([n]) => n === 1)?.slice(0, 3), [1, 1, "theirs-1"])
      assert.deepStrictEqual(
        second.map(([, attempt]) => attempt),
        [1, 2]
      )
      assert.strictEqual(second[0]![2], second[1]![2], "an id it got here stays")
      for (const [, , , headers] of second) assert.deepInclude(headers, { tenant: "acme", count: "3", flag: "true" })
    })
  )

  it.live("reads what is published here by what AMQP itself has for it", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const Mails = Queue.define("mails", { messages: { welcome: Schema.Struct({ to: Schema.String }) } })
      const before = Math.floor(Date.now() / 1_000)
      const id = yield* Mails.enqueue("welcome", { to: "ada" }, { headers: { tenant: "acme", CC: "elsewhere" } }).pipe(
        Effect.provide(layerOver({ namespace }))
      )
      const channel = yield* foreignChannel
      const message = yield* Effect.promise(() => channel.get(`${namespace}:mails`, { noAck: true }))
      if (message === false) return yield* Effect.die("nothing is there")
      const { headers, ...properties } = message.properties
      assert.strictEqual(message.content.toString(), '{"to":"ada"}')
      assert.deepInclude(properties, {
        contentType: "application/json",
        deliveryMode: 2,
        messageId: id,
        type: "welcome"
      })
      assert.isAtLeast(properties.timestamp as number, before)
      assert.strictEqual(headers?.["tenant"], "acme")
      assert.match(String(headers?.["traceparent"]), /^00-/)
      assert.isUndefined(headers?.["CC"], "a header of the program routes nothing")
    })
  )
})
