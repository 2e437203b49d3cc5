/** What is left when the scope of a server is closed: nothing. */
import { create, toBinary } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Option, Redacted, Scope } from "effect"
import * as http2 from "node:http2"
import * as net from "node:net"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import { SnapshotReadSchema } from "../../../src/testing/kvConnect/datapath_pb.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess } from "../../support/processes.ts"
import { accessToken, ask, nodeClient } from "./clients.ts"
import { connect, packed } from "./wire.ts"

const options = { accessTokens: [Redacted.make(accessToken)] }

/** A connection that says this, and no more. Answers when it is closed. */
const half = (port: number, text: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly socket: net.Socket; readonly closed: Promise<void> }>((resume) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        if (text !== "") socket.write(text)
        resume(Effect.succeed({ socket, closed }))
      })
      socket.on("error", () => undefined)
      socket.on("data", () => undefined)
      const closed = new Promise<void>((done) => void socket.on("close", () => done()))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

describe("a server that closes", () => {
  it.live("lets its process end, whatever clients are connected", () =>
    Effect.gen(function* () {
      const child = yield* startProcess("node", "test/testing/kvConnect/children/leave.ts", [])
      const url = yield* child.line("url ")
      const port = Number(new URL(url).port)
      const node = yield* nodeClient(url)
      const watch = node.watch([["k"]], { raw: true }).getReader()
      yield* ask(() => watch.read())
      const frozen = yield* Effect.forkScoped(Effect.exit(ask(() => node.set(["k"], 1))), { startImmediately: true })
      const { headers } = yield* connect(url)
      const session = yield* Effect.acquireRelease(
        Effect.sync(() => http2.connect(url)),
        (open) => Effect.sync(() => open.destroy())
      )
      session.on("error", () => undefined)
      const stream = session.request({ ":method": "POST", ":path": "/v3/watch", ...headers })
      stream.on("error", () => undefined)
      stream.resume()
      const sockets = yield* Effect.forEach(
        [
          "",
          "PRI * HT",
          "POST / HTTP/1.1\r\nhost: x\r\n",
          "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf"
        ],
        (text) => half(port, text)
      )
      const start = Date.now()
      yield* child.send("stop")
      yield* child.line("closed")
      assert.isBelow(Date.now() - start, 5_000)
      assert.strictEqual(yield* child.exit, 0, child.errors())
      for (const { closed } of sockets) yield* Effect.promise(() => closed)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(frozen)))
      yield* Effect.ignore(ask(() => watch.cancel()))
    }).pipe(Effect.scoped)
  )

  it.live("answers the writes that it has begun, and frees its port", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const begun = yield* Latch.make(false)
      let left = 3
      const slow = {
        ...kv,
        commit: ((steps) =>
          Effect.andThen(
            Effect.suspend(() => (--left === 0 ? begun.open : Effect.void)),
            Effect.andThen(Effect.sleep("300 millis"), kv.commit(steps))
          )) as typeof kv.commit
      }
      const scope = yield* Scope.make()
      const server = yield* KvConnect.make({ ...options, databaseId: "6b1f6a1c-8d54-4a0e-9f5e-2f5a3f1d7c11" }).pipe(
        Effect.provideService(Kv.Kv, slow),
        Scope.provide(scope)
      )
      const node = yield* nodeClient(server.url)
      const writes = yield* Effect.forkScoped(
        Effect.forEach([1, 2, 3], (n) => ask(() => node.set(["k", n], n)), { concurrency: 3 }),
        { startImmediately: true }
      )
      yield* begun.await
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(
        (yield* Fiber.join(writes)).map(({ ok }) => ok),
        [true, true, true]
      )
      assert.isTrue(Option.isSome(yield* kv.get(["k", 3])))
      assert.match((yield* Effect.flip(ask(() => node.get(["k", 1])))).message, /fetch failed/)
      const next = yield* KvConnect.make({ ...options, port: server.port })
      assert.strictEqual(next.url, server.url)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("does not wait for a client that takes in nothing of its answer", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      for (let i = 0; i < 200; i++) yield* kv.set(["large", i], new Uint8Array(65_536))
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(KvConnect.make(options), scope)
      const { headers, send } = yield* connect(server.url)
      const range = { start: packed("large"), end: packed("larger"), limit: 200 }
      const body = toBinary(SnapshotReadSchema, create(SnapshotReadSchema, { ranges: [range] }))
      assert.isAbove((yield* send("/v3/snapshot_read", body)).body.length, 10_000_000)
      const lines = ["POST /v3/snapshot_read HTTP/1.1", "host: x", `content-length: ${body.length}`]
      for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
      const { socket } = yield* half(server.port, "")
      socket.pause()
      socket.write(`${lines.join("\r\n")}\r\n\r\n`)
      socket.write(body)
      while ((yield* server.faults.counts).snapshot_read.requests < 2) yield* Effect.sleep("5 millis")
      yield* Effect.sleep("100 millis")
      const start = Date.now()
      yield* Scope.close(scope, Exit.void)
      assert.isBelow(Date.now() - start, 5_000)
      assert.isBelow(socket.bytesRead, 1_000_000)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("a server that cannot start", () => {
  it.live("says that its port is taken, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const { port } = yield* KvConnect.make(options)
      const error = yield* Effect.flip(KvConnect.make({ ...options, port }))
      assert.match(error.message, new RegExp(`cannot listen at 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`))
      const elsewhere = yield* Effect.flip(KvConnect.make({ ...options, host: "192.0.2.1" }))
      assert.match(elsewhere.message, /cannot listen at 192\.0\.2\.1:0: .*EADDRNOTAVAIL/)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  const wrong: ReadonlyArray<readonly [string, Record<string, unknown>, RegExp]> = [
    ["no access token", { accessTokens: [] }, /"accessTokens".*one token at least/],
    ["a token that is not Redacted", { accessTokens: ["a-plain-text-token"] }, /Redacted\.make/],
    ["a short token", { accessTokens: [Redacted.make("short")] }, /shorter than 12/],
    ["a token with a space", { accessTokens: [Redacted.make("a token with spaces")] }, /holds spaces/],
    ["a port that is none", { port: 70_000 }, /"port".*70000 is no port/],
    ["an empty host", { host: "" }, /"host"/],
    ["a database id that is none", { databaseId: "mine" }, /"databaseId".*"mine" is no UUID/],
    ["a prefix that is no key", { prefix: [Number.NaN] }, /"prefix".*NaN/],
    ["internal keys below a prefix", { prefix: ["p"], internalKeys: true }, /"internalKeys"/],
    ["a lifetime that is too short", { tokenLifetime: "5 seconds" }, /"tokenLifetime".*5 seconds.*20 seconds or more/],
    ["a lifetime without end", { tokenLifetime: "Infinity" }, /"tokenLifetime"/],
    ["no pause between pings", { pingInterval: 0 }, /"pingInterval"/],
    ["a certificate that is none", { tls: { cert: "x", key: "y" } }, /"tls"/]
  ]
  it.live.each(wrong)("says what is wrong with %s", ([, given, text]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(KvConnect.make({ ...options, ...given } as KvConnect.Options))
      assert.match(error.message, text)
      assert.notMatch(error.message, /a token with spaces|short$/)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})
