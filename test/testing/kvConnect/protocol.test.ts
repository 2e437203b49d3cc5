import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as http from "node:http"
import * as net from "node:net"
import * as Memory from "../../../src/layers/memory/index.ts"
import {
  AtomicWriteStatus,
  MutationType,
  SnapshotReadStatus,
  ValueEncoding
} from "../../../src/testing/kvConnect/datapath_pb.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { accessToken, server } from "./clients.ts"
import { connect, exchange, metadataOf, packed, post } from "./wire.ts"

const url = Effect.map(KvConnect.KvConnect, (one) => one.url)
const client = Effect.flatMap(url, connect)

const live = { excludeTestServices: true } as const
const overMemory = Layer.provideMerge(server(), Memory.layerKv)

const bytes = (text: string) => new TextEncoder().encode(text)
const set = (key: Uint8Array, text: string) => ({
  key,
  value: { data: bytes(text), encoding: ValueEncoding.VE_BYTES },
  mutationType: MutationType.M_SET
})
const u64 = (n: number) => ({ data: new Uint8Array([n, 0, 0, 0, 0, 0, 0, 0]), encoding: ValueEncoding.VE_LE64 })

layer(overMemory, live)("the metadata exchange", (it) => {
  it.effect("answers exactly what clients take, in the best version both know", () =>
    Effect.gen(function* () {
      for (const [supported, version] of [
        ["[1,2,3]", 3],
        ["[3,2]", 3],
        ["[1,2]", 2],
        ["[2,99]", 2]
      ] as const) {
        const answer = yield* exchange(yield* url, `{"supportedVersions":${supported}}`)
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.headers.get("content-type"), "application/json")
        const { databaseId, expiresAt, token, ...rest } = JSON.parse(answer.text)
        assert.deepStrictEqual(rest, { version, endpoints: [{ url: `v${version}`, consistency: "strong" }] })
        assert.match(databaseId, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
        assert.match(expiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        const left = Date.parse(expiresAt) - Date.now()
        assert.isTrue(left > 86_300_000 && left <= 86_400_000, expiresAt)
        assert.match(token, /^\S+$/)
      }
    })
  )

  it.effect("takes a client that sends no versions for one of version 1, and tells it a whole address", () =>
    Effect.gen(function* () {
      const base = yield* url
      const { databaseId, endpoints, token, version } = JSON.parse((yield* exchange(base, "")).text)
      assert.strictEqual(version, 1)
      assert.deepStrictEqual(endpoints, [{ url: `${base}/v1`, consistency: "strong" }])
      const strange = yield* Effect.callback<number | undefined>((resume) => {
        const headers = { host: "not a host", authorization: `Bearer ${accessToken}` }
        const request = http.request(base, { method: "POST", headers }, (response) => {
          response.resume()
          resume(Effect.succeed(response.statusCode))
        })
        request.end()
      })
      assert.strictEqual(strange, 400)
      const read = yield* post(
        `${endpoints[0].url}/snapshot_read`,
        { authorization: `Bearer ${token}`, "x-transaction-domain-id": databaseId },
        new Uint8Array()
      )
      assert.strictEqual(read.status, 200)
    })
  )

  const refusals: ReadonlyArray<readonly [string, number, RegExp, (base: string) => ReturnType<typeof exchange>]> = [
    [
      "another access token",
      401,
      /access token is not valid/,
      (base) => exchange(base, undefined, "another-token-here")
    ],
    ["no access token", 401, /access token is not valid/, (base) => post(base, {}, '{"supportedVersions":[3]}')],
    [
      "versions nobody knows",
      400,
      /knows versions 4, 5 .* knows 1, 2, 3/,
      (base) => exchange(base, '{"supportedVersions":[4,5]}')
    ],
    ["no JSON", 400, /supportedVersions/, (base) => exchange(base, "{")],
    ["JSON of another kind", 400, /supportedVersions/, (base) => exchange(base, '{"supportedVersions":"3"}')],
    ["null", 400, /supportedVersions/, (base) => exchange(base, "null")]
  ]
  for (const [name, status, text, ask] of refusals)
    it.effect(`refuses ${name}`, () =>
      Effect.gen(function* () {
        const answer = yield* ask(yield* url)
        assert.strictEqual(answer.status, status)
        assert.match(answer.text, text)
        assert.match(answer.headers.get("content-type") ?? "", /^text\/plain/)
      })
    )
})

layer(overMemory, live)("the data path", (it) => {
  const refusals: ReadonlyArray<
    readonly [string, number, RegExp, (one: Effect.Success<typeof client>) => ReturnType<typeof post>]
  > = [
    ["an unknown path", 404, /KV Connect server/, ({ send }) => send("/v3/dance", "")],
    ["a path of no version", 404, /KV Connect server/, ({ send }) => send("/snapshot_read", "")],
    ["another method", 405, /takes POST, not GET/, ({ send }) => send("/v3/snapshot_read", "", {}, "GET")],
    [
      "another version than that of the path",
      400,
      /x-denokv-version is "2"/,
      ({ send }) => send("/v3/snapshot_read", "", { "x-denokv-version": "2" })
    ],
    [
      "a version nobody knows",
      400,
      /x-denokv-version is "9"/,
      ({ send }) => send("/v3/snapshot_read", "", { "x-denokv-version": "9" })
    ],
    [
      "a token of nobody",
      401,
      /token is not valid/,
      ({ send }) => send("/v3/snapshot_read", "", { authorization: "Bearer 0.9999999999999.x" })
    ],
    [
      "the access token",
      401,
      /token is not valid/,
      ({ send }) => send("/v3/snapshot_read", "", { authorization: "Bearer a-token-of-the-tests" })
    ],
    [
      "another kind of authorization",
      401,
      /no data token/,
      ({ send }) => send("/v3/snapshot_read", "", { authorization: "Basic eDp5" })
    ],
    [
      "another database",
      400,
      /names another database/,
      ({ send }) => send("/v3/snapshot_read", "", { "x-denokv-database-id": "00000000-0000-0000-0000-000000000000" })
    ],
    [
      "a body that is no message",
      400,
      /is no com\.deno\.kv\.datapath\.SnapshotRead/,
      ({ send }) => send("/v3/snapshot_read", new Uint8Array([10, 200, 1]))
    ],
    [
      "a body that is too large",
      413,
      /more than 1048576 bytes/,
      ({ send }) => send("/v3/atomic_write", new Uint8Array(1_100_000))
    ],
    [
      "eleven ranges",
      400,
      /11 ranges; at most 10/,
      ({ read }) => read({ ranges: Array.from({ length: 11 }, () => ({ start: packed(1), end: packed(2), limit: 1 })) })
    ],
    [
      "a limit of nothing",
      400,
      /limit of a range is 0/,
      ({ read }) => read({ ranges: [{ start: packed(1), end: packed(2) }] })
    ],
    [
      "a limit below nothing",
      400,
      /limit of a range is -1/,
      ({ read }) => read({ ranges: [{ start: packed(1), end: packed(2), limit: -1 }] })
    ],
    [
      "too many entries at once",
      400,
      /up to 1001 entries/,
      ({ read }) => read({ ranges: [500, 501].map((limit) => ({ start: packed(1), end: packed(2), limit })) })
    ],
    [
      "a bound that is too long",
      400,
      /has 2050 bytes/,
      ({ read }) => read({ ranges: [{ start: new Uint8Array(2_050), end: packed(2), limit: 1 }] })
    ],
    ["a check of an empty key", 400, /key is empty/, ({ write }) => write({ checks: [{}] })],
    [
      "a short versionstamp",
      400,
      /versionstamp of a check has 8 bytes/,
      ({ write }) => write({ checks: [{ key: packed(1), versionstamp: new Uint8Array(8) }] })
    ],
    [
      "a key that is none",
      400,
      /cannot be stored here/,
      ({ write }) => write({ mutations: [set(new Uint8Array([3, 3]), "x")] })
    ],
    ["a mutation of no kind", 400, /mutation type 0/, ({ write }) => write({ mutations: [{ key: packed(1) }] })],
    [
      "a mutation of a new kind",
      400,
      /mutation type 77/,
      ({ write }) => write({ mutations: [{ key: packed(1), value: u64(1), mutationType: 77 as MutationType }] })
    ],
    [
      "a set of nothing",
      400,
      /has no value/,
      ({ write }) => write({ mutations: [{ key: packed(1), mutationType: MutationType.M_SET }] })
    ],
    [
      "a value of no encoding",
      400,
      /encoding 0 is unknown/,
      ({ write }) =>
        write({ mutations: [{ key: packed(1), value: { data: bytes("x") }, mutationType: MutationType.M_SET }] })
    ],
    [
      "an integer of 7 bytes",
      400,
      /has 8 bytes, this one has 7/,
      ({ write }) =>
        write({
          mutations: [
            {
              key: packed(1),
              value: { data: new Uint8Array(7), encoding: ValueEncoding.VE_LE64 },
              mutationType: MutationType.M_SET
            }
          ]
        })
    ],
    [
      "a sum with bounds",
      400,
      /has bounds/,
      ({ write }) =>
        write({ mutations: [{ key: packed(1), value: u64(1), sumMax: bytes("x"), mutationType: MutationType.M_SUM }] })
    ],
    [
      "an expiry before time",
      400,
      /expiry of key \[1\] is -5/,
      ({ write }) => write({ mutations: [{ ...set(packed(1), "x"), expireAtMs: -5n }] })
    ],
    [
      "a message for a queue",
      400,
      /takes no queue messages/,
      ({ write }) => write({ mutations: [set(packed("q"), "x")], enqueues: [{ payload: bytes("hello") }] })
    ]
  ]
  for (const [name, status, text, ask] of refusals)
    it.effect(`refuses ${name}, and goes on`, () =>
      Effect.gen(function* () {
        const one = yield* client
        const answer = yield* ask(one)
        assert.strictEqual(answer.status, status, answer.text)
        assert.match(answer.text, text)
        const next = yield* one.read({ ranges: [{ start: packed("q"), end: packed("r"), limit: 10 }] })
        assert.strictEqual(next.output.status, SnapshotReadStatus.SR_SUCCESS)
        assert.deepStrictEqual(
          next.output.ranges.map(({ values }) => values.length),
          [0]
        )
      })
    )

  it.effect("says which checks failed, each by its place", () =>
    Effect.gen(function* () {
      const { write } = yield* client
      const made = yield* write({ mutations: [set(packed("c", 1), "a"), set(packed("c", 2), "b")] })
      const { versionstamp } = made.output
      assert.strictEqual(versionstamp.length, 10)
      const older = Uint8Array.from(versionstamp, (byte, i) => (i === 9 ? byte ^ 1 : byte))
      const none = new Uint8Array()
      const ask = (...checks: ReadonlyArray<readonly [number, Uint8Array]>) =>
        Effect.map(
          write({
            checks: checks.map(([n, stamp]) => ({ key: packed("c", n), versionstamp: stamp })),
            mutations: [set(packed("c", 9), "never")]
          }),
          ({ output }) => output
        )
      for (const [checks, failed] of [
        [
          [
            [1, versionstamp],
            [2, older],
            [3, none]
          ],
          [1]
        ],
        [
          [
            [1, none],
            [2, versionstamp],
            [3, versionstamp]
          ],
          [0, 2]
        ],
        [
          [
            [3, none],
            [1, none],
            [2, none]
          ],
          [1, 2]
        ]
      ] as const) {
        const output = yield* ask(...checks)
        assert.strictEqual(output.status, AtomicWriteStatus.AW_CHECK_FAILURE)
        assert.deepStrictEqual(output.failedChecks, [...failed])
      }
      assert.strictEqual(
        (yield* ask([1, versionstamp], [2, versionstamp], [3, none])).status,
        AtomicWriteStatus.AW_SUCCESS
      )
    })
  )

  it.effect("reads several ranges in the order they were asked for", () =>
    Effect.gen(function* () {
      const { read, write } = yield* client
      yield* write({ mutations: [1, 2, 3, 4].map((n) => set(packed("r", n), `${n}`)) })
      const range = (start: Uint8Array, end: Uint8Array, limit: number, reverse = false) => ({
        start,
        end,
        limit,
        reverse
      })
      const all = new Uint8Array([0xff])
      const { output } = yield* read({
        ranges: [
          range(packed("r", 2), packed("r", 4), 10),
          range(packed("r", 3), new Uint8Array([...packed("r", 3), 0]), 1),
          range(packed("r", 1), packed("r", 9), 2, true),
          // The first key from here on, whether it is this one or not.
          range(packed("r", 2.5), all, 1),
          range(packed("r", 4), all, 1),
          range(packed("r", 2), new Uint8Array([...packed("r", 2), 0]), 1)
        ]
      })
      const texts = output.ranges.map(({ values }) => values.map(({ value }) => new TextDecoder().decode(value)))
      // The fourth asks for the third key, which another range asks for as such: it is not shown twice.
      assert.deepStrictEqual(texts, [["2", "3"], ["3"], ["4", "3"], [], ["4"], ["2"]])
      const alone = yield* read({ ranges: [range(packed("r", 2.5), all, 1)] })
      assert.deepStrictEqual(
        alone.output.ranges[0]!.values.map(({ key }) => key),
        [packed("r", 3)]
      )
      assert.isTrue(output.readIsStronglyConsistent)
    })
  )

  it.effect("takes any bytes for bounds", () =>
    Effect.gen(function* () {
      const { read, write } = yield* client
      yield* write({
        mutations: [set(packed("bounds"), "a"), set(packed("bounds", "é"), "b"), set(packed("bounds\0"), "c")]
      })
      const within = (start: string, end: string) =>
        Effect.map(
          read({ ranges: [{ start: Buffer.from(start, "latin1"), end: Buffer.from(end, "latin1"), limit: 100 }] }),
          ({ output }) => output.ranges[0]!.values.map(({ value }) => new TextDecoder().decode(value)).join("")
        )
      assert.strictEqual(yield* within("\x02bounds", "\x02boundt"), "abc")
      assert.strictEqual(yield* within("\x02bounds\0\0", "\x02bounds\0\xff"), "b")
      assert.strictEqual(yield* within("\x02bounds\0\x02\xc3", "\x02bounds\0\x02\xc4"), "b")
      assert.strictEqual(yield* within("\x02bounds\0\xff", "\x02boundt"), "c")
      assert.strictEqual(yield* within("\x02bounds\0", "\x02bounds\0\0"), "a")
      assert.strictEqual(yield* within("\x02boundt", "\x02bounds"), "")
    })
  )
})

/** Sends bytes over a connection of their own, piece by piece; answers all that came back until it was closed. */
const rawly = (port: number, pieces: ReadonlyArray<string | Buffer>) =>
  Effect.callback<string>((resume) => {
    const socket = net.connect(port, "127.0.0.1")
    let got = ""
    socket.setNoDelay(true)
    socket.on("data", (data) => (got += data.toString("latin1")))
    socket.on("error", () => undefined)
    socket.on("close", () => resume(Effect.succeed(got)))
    const next = (at: number): void => {
      const piece = pieces[at]
      if (piece === undefined) return void socket.end()
      socket.write(piece, () => setTimeout(() => next(at + 1), 20))
    }
    socket.on("connect", () => next(0))
  })

describe("one port", () => {
  layer(
    overMemory,
    live
  )((it) => {
    it.effect("takes HTTP/1.1, also when its first bytes come one by one", () =>
      Effect.gen(function* () {
        const { port } = yield* KvConnect.KvConnect
        const answer = yield* rawly(port, ["P", "O", "ST / HTTP/1.1\r\nhost: x\r\n", "connection: close\r\n\r\n"])
        assert.match(answer, /^HTTP\/1\.1 401 /)
      })
    )

    it.effect("takes HTTP/2, also when its first bytes come one by one", () =>
      Effect.gen(function* () {
        const { port } = yield* KvConnect.KvConnect
        const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
        const answer = yield* rawly(port, ["P", "R", "I * HTTP/2.0\r\n\r\nS", "M\r\n\r\n", settings])
        // The server's own settings: a frame of type 4.
        assert.strictEqual(answer.charCodeAt(3), 4)
      })
    )

    it.effect("survives what is neither, and connections that break", () =>
      Effect.gen(function* () {
        const { port, url: base } = yield* KvConnect.KvConnect
        assert.match(yield* rawly(port, [Buffer.from([22, 3, 1, 0, 200, 1, 0, 0])]), /^HTTP\/1\.1 400 /)
        assert.match(yield* rawly(port, ["hello\r\n\r\n"]), /^HTTP\/1\.1 400 /)
        assert.strictEqual(yield* rawly(port, []), "")
        assert.strictEqual(yield* rawly(port, ["PRI * HT"]), "")
        yield* rawly(port, ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Buffer.alloc(200, 7)])
        yield* rawly(port, ["POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"])
        yield* rawly(port, ["POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz"])
        assert.strictEqual((yield* metadataOf(base)).version, 3)
      })
    )

    it.effect("ends a request that grows without saying how long it is", () =>
      Effect.gen(function* () {
        const { port, url: base } = yield* KvConnect.KvConnect
        const { headers } = yield* client
        const head = ["POST /v3/atomic_write HTTP/1.1", "host: x", "transfer-encoding: chunked"]
        for (const [name, value] of Object.entries(headers)) head.push(`${name}: ${value}`)
        const sent = yield* Effect.callback<number>((resume) => {
          const socket = net.connect(port, "127.0.0.1")
          let count = 0
          const more = () => {
            if (socket.destroyed) return
            count += 65_536
            socket.write(`10000\r\n${"x".repeat(65_536)}\r\n`, () => setImmediate(more))
          }
          socket.on("error", () => undefined)
          socket.on("close", () => resume(Effect.succeed(count)))
          socket.on("connect", () => socket.write(`${head.join("\r\n")}\r\n\r\n`, more))
        })
        // What the buffers of the machine take in between counts too.
        assert.isBelow(sent, 50_000_000)
        assert.strictEqual((yield* metadataOf(base)).version, 3)
      })
    )
  })
})
