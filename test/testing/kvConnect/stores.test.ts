/** What a store in trouble, a store with smaller limits and a store with several servers before it look like to clients. */
import { KvU64, type Kv as Client } from "@deno/kv"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess } from "../../support/processes.ts"
import { accessToken, ask, denoOptions, nodeClient } from "./clients.ts"
import { stores } from "./stores.ts"

const serve = (kv: Kv.Service) =>
  KvConnect.make({ accessTokens: [Redacted.make(accessToken)] }).pipe(Effect.provideService(Kv.Kv, kv))

const outage = new Kv.KvError({
  reason: new Kv.Unavailable({ backend: "memory", operation: "commit", detail: "the disk is full" })
})
const unknown = new Kv.KvError({
  reason: new Kv.CommitUnknown({ backend: "memory", commitId: "x", detail: "the connection broke" })
})

const denoAnswer = (url: string, what: string) =>
  Effect.flatMap(
    startProcess("deno", "test/testing/kvConnect/children/ask.deno.ts", [url, what], denoOptions),
    (child) => child.line("answer: ")
  )

describe("a store in trouble", () => {
  it.live("that wrote nothing is asked again by both clients, until it writes", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      let left = 0
      const { url } = yield* serve({ ...kv, commit: (steps) => (--left >= 0 ? Effect.fail(outage) : kv.commit(steps)) })
      left = 1
      const node = yield* nodeClient(url)
      assert.isTrue((yield* ask(() => node.atomic().sum(["n"], 1n).commit())).ok)
      left = 1
      assert.strictEqual(yield* denoAnswer(url, "sum"), "true")
      assert.deepStrictEqual((yield* ask(() => node.get(["n"]))).value, new KvU64(2n))
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("that may have written or not is not asked again: the client gets an error that says so", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      let commits = 0
      const { url } = yield* serve({
        ...kv,
        commit: (steps) =>
          ++commits > 1 ? Effect.andThen(Effect.orDie(kv.commit(steps)), Effect.fail(unknown)) : kv.commit(steps)
      })
      const node = yield* nodeClient(url)
      assert.match(
        (yield* Effect.flip(ask(() => node.atomic().sum(["n"], 1n).commit()))).message,
        /409 It is unknown whether commit x was applied/
      )
      assert.match(yield* denoAnswer(url, "sum"), /409.*It is unknown whether commit x was applied/)
      assert.strictEqual(commits, 3)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("that fails in a way nobody foresaw is an error, and the server goes on", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      let broken = false
      const commit: typeof kv.commit = (steps) => (broken ? Effect.die(new Error("secret details")) : kv.commit(steps))
      const { url } = yield* serve({ ...kv, commit })
      broken = true
      const node = yield* nodeClient(url)
      const { message } = yield* Effect.flip(ask(() => node.set(["k"], 1)))
      assert.match(message, /400 The server met an error of its own/)
      assert.notMatch(message, /secret/)
      assert.strictEqual((yield* ask(() => node.get(["k"]))).value, null)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("a store with the smallest limits", () => {
  const portable = Memory.layerKvWith({ limits: "portable" })

  it.live("takes eight checks, those of counters among them, and says so beyond", () =>
    Effect.gen(function* () {
      const node = yield* Effect.flatMap(serve(yield* Kv.Kv), ({ url }) => nodeClient(url))
      const write = (checks: number, sums: number) => {
        const atomic = node.atomic()
        for (let i = 0; i < checks; i++) atomic.check({ key: ["c", i], versionstamp: null })
        for (let i = 0; i < sums; i++) atomic.sum(["n", i], 1n)
        return ask(() => atomic.commit())
      }
      assert.isTrue((yield* write(8, 0)).ok)
      assert.isTrue((yield* write(0, 8)).ok)
      assert.isTrue((yield* write(4, 4)).ok)
      for (const [checks, sums] of [
        [9, 0],
        [0, 9],
        [5, 4]
      ] as const)
        assert.match(
          (yield* Effect.flip(write(checks, sums))).message,
          /400 The commit has 9 checks; this store takes at most 8\./
        )
      assert.deepStrictEqual((yield* ask(() => node.get(["n", 0]))).value, new KvU64(2n))
      // A check of a counter's own key is one check.
      const entry = yield* ask(() => node.get(["n", 0]))
      const both = node.atomic().check(entry)
      for (let i = 0; i < 8; i++) both.sum(["n", i], 1n)
      assert.isTrue((yield* ask(() => both.commit())).ok)
    }).pipe(Effect.scoped, Effect.provide(portable))
  )

  it.live("takes bytes of 64 KiB, and other values with four bytes less", () =>
    Effect.gen(function* () {
      const node = yield* Effect.flatMap(serve(yield* Kv.Kv), ({ url }) => nodeClient(url))
      yield* ask(() => node.set(["bytes"], new Uint8Array(65_536)))
      // V8 takes six bytes of its own for a text of this length.
      yield* ask(() => node.set(["text"], "x".repeat(65_526)))
      assert.match(
        (yield* Effect.flip(ask(() => node.set(["text"], "x".repeat(65_527))))).message,
        /400 The value of key \["text"\] has 65537 bytes; this store takes at most 65536/
      )
    }).pipe(Effect.scoped, Effect.provide(portable))
  )
})

for (const [name, store] of stores("pairs"))
  describe(`two servers over one ${name} store`, () => {
    it.live("lose no sum and no compare-and-set, and see one another's writes", () =>
      Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const urls = [(yield* serve(kv)).url, (yield* serve(kv)).url]
        const clients = yield* Effect.forEach(urls, (url) => nodeClient(url))
        const root = `pair ${process.pid}`
        const add = (client: Client) =>
          ask(() => client.atomic().sum([root, "sum"], 1n).set([root, "last"], 1).commit())
        const compare = (client: Client): Effect.Effect<void, unknown> =>
          Effect.gen(function* () {
            const entry = yield* ask(() => client.get<number>([root, "cas"]))
            const { ok } = yield* ask(() =>
              client
                .atomic()
                .check(entry)
                .set([root, "cas"], (entry.value ?? 0) + 1)
                .commit()
            )
            if (!ok) yield* compare(client)
          })
        const work = Array.from({ length: 40 }, (_, i) => clients[i % 2]!)
        yield* Effect.all(
          [
            Effect.forEach(work, add, { concurrency: 10 }),
            // A program that counts the same counter itself.
            Effect.forEach(work, () => Kv.sum([root, "sum"], 1n), { concurrency: 10 }),
            Effect.forEach(work.slice(0, 12), compare, { concurrency: 4 })
          ],
          { concurrency: 3 }
        )
        for (const client of clients) {
          assert.deepStrictEqual((yield* ask(() => client.get([root, "sum"]))).value, new KvU64(80n))
          assert.strictEqual((yield* ask(() => client.get([root, "cas"]))).value, 12)
        }
        const reader = clients[0]!.watch<[number]>([[root, "seen"]]).getReader()
        const seen = yield* Effect.forkScoped(
          ask(() => reader.read()),
          { startImmediately: true }
        )
        const { versionstamp } = yield* ask(() => clients[1]!.set([root, "seen"], 7))
        const { value } = yield* Fiber.join(seen)
        assert.deepStrictEqual(value, [{ key: [root, "seen"], value: 7, versionstamp }])
        yield* ask(() => reader.cancel())
      }).pipe(Effect.scoped, Effect.provide(store))
    )
  })
