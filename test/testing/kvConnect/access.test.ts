/** Who is let in, and for how long, as the official clients see it. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Redacted, Scope } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess } from "../../support/processes.ts"
import { accessToken, ask, denoOptions, nodeClient } from "./clients.ts"
import { connect } from "./wire.ts"

const tokens = [Redacted.make(accessToken), Redacted.make("another-access-token")]

/** The clock of a server that can be put forward, for what happens when time has passed. */
const movable = Effect.map(Clock.Clock, (clock) => {
  let ahead = 0
  const moved: Clock.Clock = {
    ...clock,
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + ahead,
    currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + ahead),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
  return { moved, forward: (millis: number) => Effect.sync(() => void (ahead += millis)) }
})

const metadataCount = (server: KvConnect.Service) =>
  Effect.map(server.faults.counts, ({ metadata }) => metadata.requests)

const steady = (url: string) =>
  startProcess("deno", "test/testing/kvConnect/children/steady.deno.ts", [url], denoOptions)

describe("an access token", () => {
  it.live("lets in with each of several, and with no other", () =>
    Effect.gen(function* () {
      const { url } = yield* KvConnect.make({ accessTokens: tokens })
      for (const token of tokens) {
        const node = yield* nodeClient(url, { accessToken: Redacted.value(token) })
        yield* ask(() => node.set([Redacted.value(token)], 1))
      }
      const { message } = yield* Effect.flip(nodeClient(url, { accessToken: "a-token-of-nobody" }))
      assert.match(message, /401 The access token is not valid/)
      const deno = (env: Readonly<Record<string, string>>) =>
        startProcess("deno", "test/testing/kvConnect/children/ask.deno.ts", [url, "get"], { ...denoOptions, env })
      const wrong = yield* deno({ DENO_KV_ACCESS_TOKEN: "a-token-of-nobody" })
      assert.strictEqual(yield* wrong.exit, 1)
      assert.match(wrong.errors(), /status 401 Unauthorized: The access token is not valid/)
      const right = yield* deno({ DENO_KV_ACCESS_TOKEN: "another-access-token" })
      assert.strictEqual(yield* right.line("answer: "), "null")
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("a data token", () => {
  it.live("that is about to expire is replaced by Node before the next request", () =>
    Effect.gen(function* () {
      const server = yield* KvConnect.make({ accessTokens: tokens, tokenLifetime: "1 minute" })
      const node = yield* nodeClient(server.url)
      const before = yield* metadataCount(server)
      yield* ask(() => node.set(["k"], 1))
      yield* ask(() => node.get(["k"]))
      assert.strictEqual(yield* metadataCount(server), before + 2)
      // Its request still carries the one before: when that is refused, the next request has a good one.
      yield* server.faults.expireTokens
      assert.match((yield* Effect.flip(ask(() => node.get(["k"])))).message, /401 The data token has expired/)
      assert.strictEqual((yield* ask(() => node.get(["k"]))).value, 1)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("that holds for long is kept by Node, and is refused when its time is over", () =>
    Effect.gen(function* () {
      const { forward, moved } = yield* movable
      const server = yield* KvConnect.make({ accessTokens: tokens }).pipe(Effect.provideService(Clock.Clock, moved))
      const node = yield* nodeClient(server.url)
      const before = yield* metadataCount(server)
      for (let i = 0; i < 3; i++) yield* ask(() => node.set(["k"], i))
      assert.strictEqual(yield* metadataCount(server), before)
      yield* forward(86_400_001)
      assert.match((yield* Effect.flip(ask(() => node.get(["k"])))).message, /401 The data token has expired/)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("is replaced by Deno before it expires, and when it is refused", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const { forward, moved } = yield* movable
      const server = yield* KvConnect.make({ accessTokens: tokens, tokenLifetime: "20 seconds" }).pipe(
        Effect.provideService(Clock.Clock, moved)
      )
      const child = yield* steady(server.url)
      yield* child.line("good")
      const first = yield* connect(server.url)
      const metadata = yield* metadataCount(server)
      // Ten seconds before the end it gets the next one: then the first may expire.
      while ((yield* metadataCount(server)) === metadata) yield* Effect.sleep("20 millis")
      yield* forward(9_800)
      const none = { ranges: [] }
      while ((yield* first.read(none)).status !== 401) yield* Effect.sleep("20 millis")
      const reads = () => Effect.map(server.faults.counts, (counts) => counts.snapshot_read.requests)
      const then = yield* reads()
      while ((yield* reads()) < then + 3) yield* Effect.sleep("20 millis")
      assert.deepStrictEqual(child.lines, ["good"])
      // A token that is refused before its time is replaced at once, and the request sent again.
      const refreshed = yield* metadataCount(server)
      yield* server.faults.expireTokens
      while ((yield* metadataCount(server)) === refreshed) yield* Effect.sleep("20 millis")
      yield* kv.set(["stop"], true)
      assert.strictEqual(yield* child.exit, 0)
      assert.deepStrictEqual(child.lines, ["good", "end"])
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("holds across a restart of the server, and at another one over the same store", () =>
    Effect.gen(function* () {
      const start = (port: number) => KvConnect.make({ accessTokens: tokens, port })
      const first = yield* Scope.make()
      const { port, url } = yield* Scope.provide(start(0), first)
      const node = yield* nodeClient(url)
      yield* ask(() => node.set(["k"], 1))
      yield* Scope.close(first, Exit.void)
      assert.match((yield* Effect.flip(ask(() => node.get(["k"])))).message, /fetch failed/)
      const server = yield* start(port)
      assert.strictEqual((yield* ask(() => node.get(["k"]))).value, 1)
      assert.strictEqual(yield* metadataCount(server), 0)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})
