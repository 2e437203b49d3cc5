/** What clients and Effect programs see of one another's entries, and of one another's keys. */
import { KvU64 } from "@deno/kv"
import type { Kv as Client, KvKey } from "@deno/kv"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Redacted } from "effect"
import { deserialize } from "node:v8"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import { MutationType } from "../../../src/testing/kvConnect/datapath_pb.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess } from "../../support/processes.ts"
import { accessToken, ask, denoOptions, nodeClient } from "./clients.ts"
import { connect, packed } from "./wire.ts"

const gateway = (options?: Partial<KvConnect.Options>) =>
  KvConnect.make({ accessTokens: [Redacted.make(accessToken)], ...options })

const client = (options?: Partial<KvConnect.Options>) => Effect.flatMap(gateway(options), ({ url }) => nodeClient(url))

const keys = (kv: Client, ...args: Parameters<Client["list"]>) =>
  ask(async () => {
    const found: Array<KvKey> = []
    for await (const { key } of kv.list(...args)) found.push(key)
    return found
  })

const values = (kv: Client, prefix: string) =>
  ask(async () => {
    const found: Record<string, unknown> = {}
    for await (const { key, value } of kv.list({ prefix: [prefix] })) found[String(key[1])] = value
    return found
  })

const valueOf = (key: Kv.Key) =>
  Effect.flatMap(Kv.Kv, (kv) => Effect.map(kv.get(key), (entry) => Option.getOrThrow(entry).value))

describe("entries of others", () => {
  it.live("are read by both clients as what they are, and theirs by Effect programs", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const { url } = yield* gateway()
      const node = yield* nodeClient(url)
      yield* kv.set(["for deno", "json"], { a: [1, "ü", null] })
      yield* kv.set(["for deno", "bytes"], new Uint8Array([1, 2]))
      yield* Kv.sum(["for deno", "counter"], 3n)
      assert.deepStrictEqual(yield* values(node, "for deno"), {
        json: { a: [1, "ü", null] },
        bytes: new Uint8Array([1, 2]),
        counter: new KvU64(3n)
      })
      yield* ask(() => node.set(["for deno", "node bytes"], new Uint8Array([3])))
      yield* ask(() => node.set(["for deno", "node u64"], new KvU64(2n ** 64n - 1n)))
      yield* ask(() => node.set(["for deno", "node v8"], { b: true }))
      yield* ask(() => node.atomic().sum(["both"], 1n).commit())
      yield* Kv.sum(["both"], 1n)

      const deno = yield* startProcess("deno", "test/testing/kvConnect/children/interop.deno.ts", [url], denoOptions)
      assert.strictEqual(yield* deno.exit, 0, deno.errors())
      assert.deepStrictEqual(deno.lines.toSorted(), [
        "bytes: bytes 1,2",
        "counter: u64 3",
        "end",
        'json: json {"a":[1,"ü",null]}',
        "node bytes: bytes 3",
        "node u64: u64 18446744073709551615",
        'node v8: json {"b":true}'
      ])

      assert.deepStrictEqual(
        yield* ask(() => node.get(["from deno", "bytes"]).then(({ value }) => value)),
        new Uint8Array([4, 5])
      )
      assert.deepStrictEqual(
        yield* ask(() => node.get(["from deno", "large u64"]).then(({ value }) => value)),
        new KvU64(2n ** 63n)
      )
      assert.deepStrictEqual(yield* valueOf(["from deno", "bytes"]), new Uint8Array([4, 5]))
      assert.strictEqual(yield* valueOf(["from deno", "u64"]), 9n)
      assert.strictEqual(yield* valueOf(["both"]), 3n)
      // What Node serialized, behind the mark.
      const v8 = (yield* valueOf(["for deno", "node v8"])) as Uint8Array
      assert.deepStrictEqual(deserialize(v8.subarray(4)), { b: true })
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("a prefix", () => {
  it.live("keeps clients apart from the keys beside it, and from one another", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const one = yield* client({ prefix: ["tenants", 1] })
      const two = yield* client({ prefix: ["tenants", 2] })
      yield* kv.set(["tenants"], "outside")
      yield* kv.set(["tenants", 1], "the prefix itself")
      yield* kv.set(["tenants", 10, "x"], "outside")
      yield* ask(() => one.atomic().set(["a"], 1).set(["a", "b"], 2).set([new Uint8Array()], 0).commit())
      yield* ask(() => two.set(["a"], "two"))
      const all: ReadonlyArray<KvKey> = [[new Uint8Array()], ["a"], ["a", "b"]]
      assert.deepStrictEqual(yield* keys(one, { prefix: [] }), all)
      assert.deepStrictEqual(yield* keys(one, { prefix: [] }, { reverse: true }), all.toReversed())
      assert.deepStrictEqual(yield* keys(one, { prefix: ["a"] }), [["a", "b"]])
      assert.deepStrictEqual(yield* keys(one, { start: ["a"], end: ["b"] }), [["a"], ["a", "b"]])
      assert.deepStrictEqual(yield* keys(two, { prefix: [] }), [["a"]])
      assert.isTrue(Option.isSome(yield* kv.get(["tenants", 1, "a", "b"])))
      const entries = yield* ask(() => one.getMany([["a"], ["a", "b"], ["c"]]))
      assert.deepStrictEqual(
        entries.map(({ value }) => value),
        [1, 2, null]
      )
      yield* ask(() => one.delete(["a"]))
      assert.deepStrictEqual(yield* valueOf(["tenants", 2, "a"]).pipe(Effect.map(Boolean)), true)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("cannot be left with bytes that are no key", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const { url } = yield* gateway({ prefix: ["p"] })
      const { read, write } = yield* connect(url)
      yield* kv.set(["p\0"], "outside")
      yield* kv.set(["p\0q", 1], "outside")
      yield* kv.set(["o"], "outside")
      yield* kv.set(["q"], "outside")
      yield* kv.set(["p"], "the prefix itself")
      yield* kv.set(["p", "k"], "inside")
      const byte = (...codes: ReadonlyArray<number>) => Uint8Array.from(codes)
      const whole = [
        [byte(), byte(0xff, 0xff, 0xff)],
        [byte(0), byte(0xff)],
        [byte(), byte(0xff, 0x80)]
      ] as const
      for (const [start, end] of whole)
        for (const reverse of [false, true]) {
          const { output } = yield* read({ ranges: [{ start, end, limit: 100, reverse }] })
          assert.deepStrictEqual(
            output.ranges[0]!.values.map(({ key }) => key),
            [packed("k")]
          )
        }
      for (const [start, end] of [
        [byte(0xff, 0), byte(0xff, 0, 0)],
        [byte(0xff, 0x71, 0), byte(0xff)],
        [byte(0xff, 0), byte(0xff, 0xff)]
      ] as const) {
        const { output } = yield* read({ ranges: [{ start, end, limit: 1 }] })
        assert.deepStrictEqual(output.ranges[0]!.values, [])
      }
      for (const key of [byte(0xff, 0), byte(0xff, 0x71, 0)]) {
        const mutation = { key, mutationType: MutationType.M_DELETE }
        assert.match((yield* write({ mutations: [mutation] })).text, /cannot be stored here/)
      }
      assert.strictEqual(yield* valueOf(["p\0"]), "outside")
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("counts towards the length of a key, and the error says so", () =>
    Effect.gen(function* () {
      const kv = yield* client({ prefix: ["p".repeat(1_000)] })
      yield* ask(() => kv.set(["k".repeat(1_044)], 1))
      const { message } = yield* Effect.flip(ask(() => kv.set(["k".repeat(1_045)], 1)))
      assert.match(message, /1047 bytes when packed, and 2049 with the prefix of this gateway; at most 2048/)
      assert.strictEqual((yield* keys(kv, { prefix: [] })).length, 1)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("is watched without the keys beside it", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const node = yield* client({ prefix: ["p"] })
      yield* kv.set(["k"], "outside")
      yield* kv.set(["p", "k"], "inside")
      const reader = node.watch([["k"]]).getReader()
      const first = yield* ask(() => reader.read())
      assert.deepStrictEqual(
        first.value?.map(({ value }) => value),
        ["inside"]
      )
      yield* ask(() => reader.cancel())
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("the library's own keys", () => {
  const prepare = Effect.gen(function* () {
    const kv = yield* Kv.Kv
    for (const key of [["a"], ["z"], ["~effect"], ["~effect-seamt"], ["~effect-seam"]] as const)
      yield* kv.set(key, "user")
    for (let i = 0; i < 30; i++) yield* kv.set(["~effect-seams/queue", "mails", i], "state")
    yield* kv.set(["~effect-seams"], "state")
  })
  const visible: ReadonlyArray<KvKey> = [["a"], ["z"], ["~effect"], ["~effect-seam"], ["~effect-seamt"]]

  it.live("are neither shown nor written", () =>
    Effect.gen(function* () {
      const kv = yield* client()
      yield* prepare
      assert.deepStrictEqual(yield* keys(kv, { prefix: [] }), visible)
      assert.deepStrictEqual(yield* keys(kv, { prefix: [] }, { reverse: true }), visible.toReversed())
      // Pages are full although what lies between is left out.
      assert.deepStrictEqual(yield* keys(kv, { prefix: [] }, { batchSize: 1 }), visible)
      assert.deepStrictEqual(yield* keys(kv, { prefix: [] }, { batchSize: 1, reverse: true }), visible.toReversed())
      assert.deepStrictEqual(yield* keys(kv, { start: ["~effect-seams"], end: ["~effect-seamt"] }), [])
      assert.deepStrictEqual(yield* keys(kv, { prefix: ["~effect-seams/queue"] }), [])
      const hidden = ["~effect-seams/queue", "mails", 3]
      assert.strictEqual((yield* ask(() => kv.get(hidden))).versionstamp, null)
      for (const write of [
        () => kv.set(hidden, 1),
        () => kv.delete(["~effect-seams"]),
        () => kv.atomic().check({ key: hidden, versionstamp: null }).set(["a"], 1).commit(),
        () => kv.atomic().sum(["~effect-seams-too"], 1n).commit(),
        () => kv.watch([hidden], { raw: true }).getReader().read()
      ])
        assert.match((yield* Effect.flip(ask<unknown>(write))).message, /begin with "~effect-seams"/)
      assert.strictEqual(yield* valueOf(["a"]), "user")
      assert.strictEqual(yield* valueOf(["~effect-seams/queue", "mails", 3]), "state")
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )

  it.live("are shown and written when that is asked for", () =>
    Effect.gen(function* () {
      const kv = yield* client({ internalKeys: true })
      yield* prepare
      // The id of the database is one of them.
      assert.strictEqual((yield* keys(kv, { prefix: [] })).length, visible.length + 31 + 1)
      yield* ask(() => kv.set(["~effect-seams"], "mine"))
      assert.strictEqual((yield* ask(() => kv.get(["~effect-seams"]))).value, "mine")
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})

describe("the id of a database", () => {
  it.live("is kept by the store: the same for all servers over it, another below another prefix", () =>
    Effect.gen(function* () {
      const first = yield* Effect.scoped(gateway())
      const [second, third] = yield* Effect.all([gateway(), gateway()], { concurrency: 2 })
      assert.strictEqual(first.databaseId, second.databaseId)
      assert.strictEqual(first.databaseId, third.databaseId)
      const below = yield* gateway({ prefix: ["p"] })
      assert.notStrictEqual(below.databaseId, first.databaseId)
      const fixed = "6b1f6a1c-8d54-4a0e-9f5e-2f5a3f1d7c11"
      assert.strictEqual((yield* gateway({ databaseId: fixed })).databaseId, fixed)
    }).pipe(Effect.scoped, Effect.provide(Memory.layerKv))
  )
})
