import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schedule, Scope } from "effect"
import { Redis } from "ioredis"
import { startRedis, withRedis } from "../servers/index.ts"
import { accepts, freePorts } from "../servers/machine.ts"
import { type FaultProxy, faultProxy } from "./faultProxy.ts"
import { requestSplitter } from "./faultProxyRequests.ts"

/** A client that never connects again by itself. */
const connect = (proxy: FaultProxy) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const redis = new Redis(proxy.port, { lazyConnect: true, retryStrategy: null, disconnectTimeout: 100 })
      redis.on("error", () => undefined)
      await redis.connect()
      return redis
    }),
    (redis) => Effect.sync(() => redis.disconnect())
  )

const setting = Effect.gen(function* () {
  const server = yield* startRedis()
  const proxy = yield* faultProxy(server.port)
  return { server, proxy, stored: (key: string) => withRedis(server, (redis) => redis.get(key)) }
})

const eventually = (question: Effect.Effect<boolean>) =>
  question.pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("10 seconds")
  )

/** How a command ended; a lost connection may not take longer to show. */
const outcome = (run: () => Promise<unknown>) =>
  Effect.tryPromise(run).pipe(
    Effect.match({ onSuccess: String, onFailure: () => "unknown" }),
    Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.succeed("no end") })
  )

describe("the fault proxy", () => {
  it.live("passes what both sides say, also much of it, and an end", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      const large = "0123456789".repeat(500_000)
      yield* Effect.promise(() => redis.set("large", large))
      assert.strictEqual(yield* Effect.promise(() => redis.get("large")), large)
      assert.strictEqual(yield* stored("large"), large)
      assert.strictEqual(yield* proxy.connections, 1)
      assert.strictEqual(yield* outcome(() => redis.quit()), "OK")
      yield* eventually(Effect.map(proxy.connections, (count) => count === 0))
      assert.strictEqual(yield* proxy.accepted, 1)
    })
  )

  it.live("cuts all connections and takes new ones", () =>
    Effect.gen(function* () {
      const { proxy } = yield* setting
      const clients = yield* Effect.all([connect(proxy), connect(proxy)])
      assert.strictEqual(yield* proxy.connections, 2)
      const waiting = yield* Effect.forkChild(outcome(() => clients[0].blpop("nothing", 0)))
      yield* Effect.promise(() => clients[1].ping())
      yield* proxy.cut
      assert.strictEqual(yield* Fiber.join(waiting), "unknown")
      assert.strictEqual(yield* outcome(() => clients[1].ping()), "unknown")
      yield* eventually(Effect.map(proxy.connections, (count) => count === 0))
      const again = yield* connect(proxy)
      assert.strictEqual(yield* outcome(() => again.ping()), "PONG")
    })
  )

  it.live("stalls: connections stay, new ones are accepted, nothing passes until it goes on", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      yield* proxy.stall
      const answer = yield* Effect.forkChild(outcome(() => redis.set("late", "1")))
      assert.isTrue(yield* accepts(proxy.port))
      const late = yield* Effect.forkChild(
        Effect.scoped(Effect.flatMap(connect(proxy), (other) => outcome(() => other.ping())))
      )
      yield* eventually(Effect.map(proxy.connections, (count) => count === 2))
      assert.strictEqual((yield* Effect.timeoutOption(Fiber.join(answer), "200 millis"))._tag, "None")
      assert.isNull(yield* stored("late"))
      yield* proxy.go
      assert.strictEqual(yield* Fiber.join(answer), "OK")
      assert.strictEqual(yield* Fiber.join(late), "PONG")
    })
  )

  it.live("delivers after a stall what a client said that has gone meanwhile", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      yield* proxy.stall
      const answer = yield* Effect.forkChild(
        outcome(() => redis.set("late", "1")),
        { startImmediately: true }
      )
      redis.disconnect()
      assert.strictEqual(yield* Fiber.join(answer), "unknown")
      yield* eventually(Effect.map(proxy.connections, (count) => count === 0))
      yield* proxy.go
      yield* eventually(Effect.map(Effect.orDie(stored("late")), (value) => value === "1"))
    })
  )

  it.live("refuses new connections, keeps the old ones, and accepts again on the same port", () =>
    Effect.gen(function* () {
      const { proxy } = yield* setting
      const redis = yield* connect(proxy)
      yield* proxy.refuse
      assert.isFalse(yield* accepts(proxy.port))
      assert.strictEqual(yield* outcome(() => redis.ping()), "PONG")
      yield* proxy.accept
      yield* proxy.accept
      assert.isTrue(yield* accepts(proxy.port))
    })
  )

  it.live("delays each way", () =>
    Effect.gen(function* () {
      const { proxy } = yield* setting
      const redis = yield* connect(proxy)
      yield* proxy.delay(150)
      const began = performance.now()
      assert.strictEqual(yield* outcome(() => Promise.all([redis.incr("n"), redis.incr("n")])), "1,2")
      assert.isAtLeast(performance.now() - began, 299)
      yield* proxy.delay(0)
      assert.strictEqual(yield* outcome(() => redis.incr("n")), "3")
    })
  )

  it.live("ends a client's connection when there is no server behind it", () =>
    Effect.gen(function* () {
      const { proxy, server } = yield* setting
      const redis = yield* connect(proxy)
      yield* server.kill
      assert.strictEqual(yield* outcome(() => redis.ping()), "unknown")
      assert.isTrue(yield* accepts(proxy.port))
      assert.isTrue(
        Exit.isFailure(yield* Effect.exit(withRedis({ url: proxy.through(server.url) }, (other) => other.ping())))
      )
      yield* server.start
      assert.strictEqual(yield* withRedis({ url: proxy.through(server.url) }, (other) => other.ping()), "PONG")
    })
  )

  it.live("leaves nothing open when its scope closes", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const scope = yield* Scope.make()
      const proxy = yield* faultProxy(server.port).pipe(Effect.provideService(Scope.Scope, scope))
      const [asking, silent] = yield* Effect.all([connect(proxy), connect(proxy)])
      const trap = yield* proxy.holdRequest("set a")
      yield* outcome(() => asking.set("a", "1"))
      yield* trap.sprung
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* outcome(() => silent.ping()), "unknown")
      assert.isFalse(yield* accepts(proxy.port))
      const others = withRedis(server, async (redis) => (await redis.client("LIST")) as string)
      yield* eventually(Effect.map(Effect.orDie(others), (list) => list.trim().split("\n").length === 1))
      assert.isNull(yield* withRedis(server, (redis) => redis.get("a")))
    })
  )
})

describe("a trap that cuts after the request", () => {
  it.live("lets the server do it, and the client not know", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      const trap = yield* proxy.cutAfterRequest("set b ")
      assert.strictEqual(yield* outcome(() => redis.set("a", "1")), "OK")
      assert.strictEqual(yield* outcome(() => redis.set("b", "2")), "unknown")
      yield* trap.sprung
      assert.strictEqual(yield* stored("b"), "2")

      const again = yield* connect(proxy)
      assert.strictEqual(yield* outcome(() => again.set("b", "3")), "OK", "it strikes once")
    })
  )

  it.live("waits for the end of a request that comes in many pieces, and drops what comes behind", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      const trap = yield* proxy.cutAfterRequest(/^set large /)
      const large = "x".repeat(3_000_000)
      // ioredis gives an outcome for each command of a pipeline.
      const outcomes = yield* Effect.promise(() =>
        redis.pipeline().set("before", "1").set("large", large).set("behind", "1").exec()
      )
      for (const [error] of outcomes?.slice(1) ?? []) assert.instanceOf(error, Error)
      yield* trap.sprung
      assert.strictEqual(yield* stored("before"), "1")
      assert.strictEqual(yield* stored("large"), large)
      assert.isNull(yield* stored("behind"))
    })
  )

  it.live("takes a transaction as one request", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      const trap = yield* proxy.cutAfterRequest(/^set a 2$/m)
      assert.strictEqual(yield* outcome(() => redis.multi().set("a", "1").incr("n").exec()), ",OK,,1")
      assert.strictEqual(yield* outcome(() => redis.multi().set("a", "2").incr("n").exec()), "unknown")
      yield* trap.sprung
      assert.strictEqual(yield* stored("a"), "2")
      assert.strictEqual(yield* stored("n"), "2")
    })
  )

  it.live("takes each piece of another protocol for a request", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const [port = 0] = yield* freePorts(1)
      yield* Effect.acquireRelease(
        Effect.callback<Net.Server>((resume) => {
          const server = Net.createServer((socket) => {
            socket.on("error", () => undefined)
            socket.on("data", (chunk) => {
              heard.push(chunk.toString())
              socket.write("answer")
            })
          })
          server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      )
      const proxy = yield* faultProxy(port)
      const trap = yield* proxy.cutAfterRequest("COMMIT")
      const said: Array<string> = []
      const ended = yield* Effect.forkChild(
        Effect.callback<void>((resume) => {
          const socket = Net.connect(proxy.port, "127.0.0.1")
          socket.write("BEGIN")
          socket.on("data", (chunk) => {
            said.push(chunk.toString())
            socket.write("COMMIT")
          })
          socket.on("error", () => undefined)
          socket.on("close", () => resume(Effect.void))
        })
      )
      yield* trap.sprung
      yield* Fiber.join(ended)
      assert.deepStrictEqual(heard, ["BEGIN", "COMMIT"])
      assert.deepStrictEqual(said, ["answer"])
    })
  )
})

describe("a trap that holds the request", () => {
  it.live("delivers it when others have long gone on", () =>
    Effect.gen(function* () {
      const { proxy, stored } = yield* setting
      const redis = yield* connect(proxy)
      const trap = yield* proxy.holdRequest("set owner me")
      assert.strictEqual(yield* outcome(() => redis.set("owner", "me")), "unknown")
      yield* trap.sprung
      assert.strictEqual(yield* proxy.connections, 0)
      const other = yield* connect(proxy)
      assert.strictEqual(yield* outcome(() => other.set("owner", "you")), "OK")
      yield* proxy.cut
      assert.strictEqual(yield* stored("owner"), "you")
      assert.strictEqual(yield* proxy.releaseHeld, 1)
      assert.strictEqual(yield* stored("owner"), "me")
      assert.strictEqual(yield* proxy.releaseHeld, 0)
    })
  )

  it.live("keeps the WATCH of a transaction that comes late", () =>
    Effect.gen(function* () {
      const { proxy, server, stored } = yield* setting
      const late = Effect.fnUntraced(function* (between: Effect.Effect<unknown, unknown>) {
        const redis = yield* connect(proxy)
        const trap = yield* proxy.holdRequest(/^set done \d$/m)
        yield* Effect.promise(() => redis.watch("fence"))
        assert.strictEqual(yield* outcome(() => redis.multi().set("done", "1").exec()), "unknown")
        yield* trap.sprung
        yield* between
        assert.strictEqual(yield* proxy.releaseHeld, 1)
      })
      yield* late(withRedis(server, (redis) => redis.set("fence", "2")))
      assert.isNull(yield* stored("done"), "the fence moved")
      yield* late(Effect.void)
      assert.strictEqual(yield* stored("done"), "1")
    })
  )

  it.live("holds what was sent behind it too, and nothing reaches a server that has gone", () =>
    Effect.gen(function* () {
      const { proxy, server, stored } = yield* setting
      yield* proxy.holdRequest("set a 1")
      const first = yield* connect(proxy)
      yield* outcome(() => Promise.all([first.set("a", "1"), first.set("b", "1")]))
      assert.isNull(yield* stored("b"))
      assert.strictEqual(yield* proxy.releaseHeld, 2)
      assert.strictEqual(yield* stored("b"), "1")

      const trap = yield* proxy.holdRequest("set a 2")
      const second = yield* connect(proxy)
      yield* outcome(() => second.set("a", "2"))
      yield* trap.sprung
      yield* server.kill
      yield* server.start
      assert.strictEqual(yield* proxy.releaseHeld, 0)
    })
  )
})

describe("the requests of a client", () => {
  const command = (...words: ReadonlyArray<string>): string =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`

  it("are the same however the bytes arrive", () => {
    const stream = Buffer.from(
      [["SET", "a", "*1\r\n$4\r\nPING\r\n"], ["multi"], ["set", "ü", ""], ["exec"], ["get", "a"]]
        .map((words) => command(...words))
        .join("")
    )
    const whole = requestSplitter()(stream)
    assert.deepStrictEqual(
      whole.map(({ text }) => text),
      [
        "SET a *1\r\n$4\r\nPING\r\n",
        undefined,
        undefined,
        `multi\nset ${Buffer.from("ü").toString("latin1")} \nexec`,
        "get a"
      ]
    )
    for (let size = 1; size < stream.length; size++) {
      const split = requestSplitter()
      const requests = Array.from({ length: Math.ceil(stream.length / size) }, (_, index) =>
        split(stream.subarray(index * size, (index + 1) * size))
      ).flat()
      assert.deepStrictEqual(requests, [...whole])
    }
  })
})
