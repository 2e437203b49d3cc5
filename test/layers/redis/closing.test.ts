/** Closing leaves nothing behind: no socket at the server, nothing that keeps a process alive. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, References, Scope } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import { startRedis, startRedisCluster, startSentinel, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { startProcess } from "../../support/processes.ts"
import {
  connectionsOf,
  freshNamespace,
  Jobs,
  kvOver,
  loadSlowly,
  modes,
  slowLoading,
  sum,
  timed,
  until,
  using
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const leaver = (options: object, wait = "") =>
  startProcess("node", "test/layers/redis/children/leaveFaults.ts", [JSON.stringify(options), wait])

type Leaver = Effect.Success<ReturnType<typeof leaver>>

/** It ends by itself soon after this word: a quarter of a second on an idle machine. What keeps a process alive does so for 2 seconds and more. */
const leaves = (child: Leaver, word: string, limit = 1_900) =>
  Effect.gen(function* () {
    yield* child.line(word)
    const start = performance.now()
    const { result } = yield* timed("the end of the process", 20_000, child.exit)
    const millis = Math.round(performance.now() - start)
    assert.deepStrictEqual(
      [result._tag === "Success" && result.success, child.errors()],
      [0, ""],
      child.lines.join("\n")
    )
    assert.isBelow(millis, limit, `it took ${millis} ms to end: ${child.lines.join(", ")}`)
    return millis
  })

describe("a closed layer", () => {
  for (const { mode, scripts } of modes)
    it.live(`has no connection at the server, ${mode}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis()
        const clientName = freshNamespace()
        for (let i = 0; i < 3; i++) {
          const scope = yield* Scope.make()
          const context = yield* Scope.provide(
            Layer.build(Layer.fresh(Redis.layer({ url: server.url, namespace: clientName, scripts, clientName }))),
            scope
          )
          yield* Effect.gen(function* () {
            const kv = yield* Kv.Kv
            yield* Effect.forEach(Array.from({ length: 20 }), () => sum(kv, "n"), { concurrency: "unbounded" })
            yield* Scope.provide(Layer.build(Jobs.worker(() => Effect.void)), scope)
            yield* Jobs.enqueue(i)
            yield* Jobs.awaitIdle
          }).pipe(Effect.provide(context))
          assert.isAbove(yield* connectionsOf(server, clientName), 1)
          yield* Scope.close(scope, Exit.void)
          yield* until(
            "the connections are gone",
            Effect.map(connectionsOf(server, clientName), (n) => n === 0),
            "1 second"
          )
          const kv = yield* Effect.provide(Kv.Kv, context)
          const { result } = yield* timed("a call", 500, using(kv)(Kv.sum(["n"], 1n)))
          assert.strictEqual(result._tag, "Failure")
        }
      }).pipe(quiet)
    )

  it.live("that could not be built has none either, however often it is tried", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--maxmemory-policy", "allkeys-lru"] })
      const clientName = freshNamespace()
      for (let i = 0; i < 5; i++)
        yield* Effect.flip(Layer.build(Layer.fresh(Redis.layer({ url: server.url, clientName }))))
      yield* until(
        "the connections are gone",
        Effect.map(connectionsOf(server, clientName), (n) => n === 0),
        "1 second"
      )
    }).pipe(quiet, Effect.scoped)
  )
})

describe("a layer found through Sentinel", () => {
  it.live("leaves no connection at the Sentinel when it is closed", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const connected = withRedis(
        group.sentinel,
        async (redis) =>
          String(await redis.client("LIST"))
            .trim()
            .split("\n").length
      )
      const before = yield* connected
      for (let i = 0; i < 3; i++)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const kv = yield* kvOver({
              sentinel: { sentinels: [group.address], name: group.name },
              namespace: freshNamespace()
            })
            yield* sum(kv, "n")
          })
        )
      yield* until(
        "the connections are gone",
        Effect.map(connected, (n) => n <= before),
        "2 seconds"
      )
    }).pipe(quiet)
  )
})

describe("a process ends by itself", () => {
  it.live("when it has used and closed a layer: alone, with a Cluster, with Sentinel", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const cluster = yield* startRedisCluster()
      const group = yield* startSentinel()
      const kinds = {
        "with scripts": { url: server.url },
        "without scripts": { url: server.url, scripts: "never" },
        Cluster: { cluster: cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })) },
        Sentinel: { sentinel: { sentinels: [group.address], name: group.name } }
      }
      for (const [kind, options] of Object.entries(kinds)) {
        const child = yield* leaver({ ...options, namespace: freshNamespace() })
        yield* child.line("used")
        const millis = yield* leaves(child, "closing")
        console.log(`${kind}: the process ended ${millis} ms after it closed the layer`)
      }
    }).pipe(quiet)
  )

  it.live("when the layer could not be built: nobody there, no answer, a wrong password, no Sentinel", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--requirepass", "right"] })
      const frozen = yield* startRedis()
      yield* frozen.pause
      const limits = { connectTimeout: 500, commandTimeout: 500 }
      const nowhere = { host: "127.0.0.1", port: 9 }
      const kinds = {
        "nobody there": { ...nowhere },
        "no answer": { url: frozen.url },
        "a wrong password": { host: "127.0.0.1", port: server.port, password: "wrong" },
        "no Sentinel": { sentinel: { sentinels: [nowhere], name: "none" } },
        "a frozen Sentinel": { sentinel: { sentinels: [{ host: "127.0.0.1", port: frozen.port }], name: "none" } },
        "no Cluster": { cluster: [nowhere] },
        "a frozen Cluster": { cluster: [{ host: "127.0.0.1", port: frozen.port }] }
      }
      for (const [kind, options] of Object.entries(kinds)) {
        const child = yield* leaver({ ...limits, ...options, namespace: freshNamespace() })
        const millis = yield* leaves(child, "failed")
        console.log(`${kind}: ${child.lines.join(", ")}; the process ended ${millis} ms later`)
      }
    }).pipe(quiet)
  )

  for (const how of ["frozen", "gone", "behind a dead line", "loading"] as const)
    it.live(`when it closes the layer while the server is ${how}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis({ args: slowLoading })
        const proxy = yield* faultProxy(server.port)
        const children = yield* Effect.forEach(modes, ({ scripts }) =>
          leaver({ url: proxy.through(server.url), namespace: freshNamespace(), scripts }, "wait")
        )
        for (const child of children) yield* child.line("used")
        if (how === "frozen") yield* server.pause
        if (how === "behind a dead line") yield* proxy.stall
        if (how === "gone") {
          yield* server.kill
          // It tries to connect meanwhile.
          yield* Effect.sleep("700 millis")
        }
        if (how === "loading") {
          yield* loadSlowly(server)
          yield* Effect.sleep("700 millis")
        }
        for (const child of children) {
          yield* child.send("go")
          const millis = yield* leaves(child, "closing")
          console.log(`${how}: the process ended ${millis} ms after it began to close`)
        }
        if (how === "frozen") yield* server.resume
      }).pipe(quiet)
    )

  it.live("when it closes the layer while the Sentinels and the master are gone", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const child = yield* leaver(
        { sentinel: { sentinels: [group.address], name: group.name }, namespace: freshNamespace() },
        "wait"
      )
      yield* child.line("used")
      yield* group.sentinel.kill
      for (const server of group.servers) yield* server.kill
      yield* Effect.sleep("1500 millis")
      yield* child.send("go")
      const millis = yield* leaves(child, "closing")
      console.log(`Sentinels gone: the process ended ${millis} ms after it began to close`)
    }).pipe(quiet)
  )
})
