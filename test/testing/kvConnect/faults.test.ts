/** What the official clients make of faults, which are those of a server in trouble or of the network before it. */
import { create, toBinary } from "@bufbuild/protobuf"
import { KvU64 } from "@deno/kv"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted, type Scope } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import { WatchSchema } from "../../../src/testing/kvConnect/datapath_pb.ts"
import { FaultPlan } from "../../../src/testing/kvConnect/faults.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess } from "../../support/processes.ts"
import { accessToken, ask, denoOptions, nodeClient } from "./clients.ts"
import { connect, packed } from "./wire.ts"

const prepare = Effect.gen(function* () {
  const server = yield* KvConnect.make({ accessTokens: [Redacted.make(accessToken)], pingInterval: "200 millis" })
  return { ...server, node: yield* nodeClient(server.url) }
})

/** Asks one question through Deno's client. */
const deno = (url: string, what: string) =>
  startProcess("deno", "test/testing/kvConnect/children/ask.deno.ts", [url, what], denoOptions)

const answerOf = (url: string, what: string) => Effect.flatMap(deno(url, what), (child) => child.line("answer: "))

const count = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  return Option.map(yield* kv.get(["n"]), ({ value }) => value).pipe(Option.getOrNull)
})

const suite = <A, E>(effect: Effect.Effect<A, E, Kv.Kv | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(Memory.layerKv))

describe("a plan of faults", () => {
  it("spreads a share evenly, the same in every run", () => {
    const pattern = (share: number, requests: number) => {
      const plan = new FaultPlan()
      plan.inject({ _tag: "Status", status: 503 }, { times: "Infinity", share })
      return Array.from({ length: requests }, () => (plan.next("watch") === undefined ? "." : "x")).join("")
    }
    assert.strictEqual(pattern(0.25, 12), "...x...x...x")
    assert.strictEqual(pattern(0.5, 6), ".x.x.x")
    assert.strictEqual(pattern(0.3, 10), "...x..x..x")
    assert.strictEqual(pattern(1, 3), "xxx")
    assert.strictEqual(pattern(0, 3), "...")
  })

  it("is used up by the requests it is for, in the order it was made", () => {
    const plan = new FaultPlan()
    plan.inject({ _tag: "Status", status: 500 }, { on: "watch" })
    plan.inject({ _tag: "Status", status: 501 }, { on: ["watch", "metadata"], times: 2 })
    plan.inject({ _tag: "Status", status: 502 }, {})
    const statuses = (["snapshot_read", "watch", "metadata", "watch", "atomic_write"] as const).map((operation) => {
      const fault = plan.next(operation)
      return fault?._tag === "Status" ? fault.status : undefined
    })
    assert.deepStrictEqual(statuses, [502, 500, 501, 501, undefined])
    assert.deepStrictEqual(plan.counts.watch, { requests: 2, faults: 2 })
    assert.deepStrictEqual(plan.counts.atomic_write, { requests: 1, faults: 0 })
    plan.inject({ _tag: "Freeze" }, { times: "Infinity" })
    plan.clear()
    assert.isUndefined(plan.next("watch"))
  })
})

describe("answers of 503", () => {
  it.live("are asked for again by both clients until all is done", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node, url } = yield* prepare
        yield* faults.inject({ _tag: "Status", status: 503 }, { on: "atomic_write", times: 2, share: 0.5 })
        yield* ask(() => node.atomic().sum(["n"], 1n).commit())
        yield* ask(() => node.atomic().sum(["n"], 1n).commit())
        yield* ask(() => node.atomic().sum(["n"], 1n).commit())
        assert.deepStrictEqual((yield* ask(() => node.get(["n"]))).value, new KvU64(3n))
        assert.strictEqual((yield* faults.counts).atomic_write.faults, 2)
        yield* faults.clear
        yield* faults.inject({ _tag: "Status", status: 503 }, { on: "atomic_write", times: "Infinity", share: 0.3 })
        assert.strictEqual(yield* answerOf(url, "sets"), '"all"')
        const kv = yield* Kv.Kv
        assert.isTrue(Option.isSome(yield* kv.get(["sets", 11])))
        assert.isAbove((yield* faults.counts).atomic_write.faults, 4)
      })
    )
  )

  it.live("of 4xx are errors at once, with the text of the server", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node, url } = yield* prepare
        yield* faults.inject({ _tag: "Status", status: 418 }, { on: "snapshot_read", times: 2 })
        assert.match((yield* Effect.flip(ask(() => node.get(["k"])))).message, /418 A fault on command/)
        assert.match(yield* answerOf(url, "get"), /418.*A fault on command/)
      })
    )
  )

  it.live("to the metadata exchange are waited out by Node", () =>
    suite(
      Effect.gen(function* () {
        const { faults, url } = yield* prepare
        yield* faults.inject({ _tag: "Status", status: 503 }, { on: "metadata" })
        const node = yield* nodeClient(url)
        assert.strictEqual((yield* ask(() => node.get(["k"]))).value, null)
        assert.deepStrictEqual((yield* faults.counts).metadata, { requests: 3, faults: 1 })
      })
    )
  )
})

describe("a connection that is cut", () => {
  it.live("before anything was done: Node fails and nothing is written, Deno sends it again", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node, url } = yield* prepare
        yield* faults.inject({ _tag: "Cut", when: "before" }, { on: "atomic_write" })
        assert.match((yield* Effect.flip(ask(() => node.atomic().sum(["n"], 1n).commit()))).message, /fetch failed/)
        assert.isNull(yield* count)
        yield* faults.inject({ _tag: "Cut", when: "before" }, { on: "atomic_write" })
        assert.strictEqual(yield* answerOf(url, "sum"), "true")
        assert.strictEqual(yield* count, 1n)
        assert.deepStrictEqual((yield* faults.counts).atomic_write, { requests: 3, faults: 2 })
      })
    )
  )

  it.live("after the write: Node fails though it is written", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node } = yield* prepare
        yield* faults.inject({ _tag: "Cut", when: "after" }, { on: "atomic_write" })
        assert.match((yield* Effect.flip(ask(() => node.atomic().sum(["n"], 1n).commit()))).message, /fetch failed/)
        assert.strictEqual(yield* count, 1n)
      })
    )
  )

  it.live("after the write: Deno sends it again, so that a sum counts twice, and a check fails by its own write", () =>
    suite(
      Effect.gen(function* () {
        const { faults, url } = yield* prepare
        yield* faults.inject({ _tag: "Cut", when: "after" }, { on: "atomic_write" })
        assert.strictEqual(yield* answerOf(url, "sum"), "true")
        assert.strictEqual(yield* count, 2n)
        yield* faults.inject({ _tag: "Cut", when: "after" }, { on: "atomic_write" })
        assert.strictEqual(yield* answerOf(url, "cas"), "false")
        assert.strictEqual(yield* answerOf(url, "set"), "true")
      })
    )
  )

  it.live("during reads and the exchange: Deno asks again", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node, url } = yield* prepare
        yield* ask(() => node.set(["k"], "here"))
        yield* faults.inject({ _tag: "Cut", when: "before" }, { on: "snapshot_read", times: 2 })
        yield* faults.inject({ _tag: "Cut", when: "after" }, { on: "snapshot_read" })
        assert.strictEqual(yield* answerOf(url, "get"), '"here"')
        assert.deepStrictEqual((yield* faults.counts).snapshot_read, { requests: 4, faults: 3 })
      })
    )
  )
})

describe("a slow answer", () => {
  it.live("comes later by what was asked for", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node } = yield* prepare
        yield* faults.inject({ _tag: "Delay", duration: "400 millis" }, { on: "snapshot_read" })
        const start = Date.now()
        yield* ask(() => node.get(["k"]))
        assert.isAtLeast(Date.now() - start, 390)
        const second = Date.now()
        yield* ask(() => node.get(["k"]))
        assert.isBelow(Date.now() - second, 390)
      })
    )
  )

  it.live("comes when the server thaws, and what it was to do is done only then", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node } = yield* prepare
        yield* faults.inject({ _tag: "Freeze" }, { on: "atomic_write" })
        const frozen = yield* Effect.forkScoped(
          ask(() => node.set(["n"], 1)),
          { startImmediately: true }
        )
        while ((yield* faults.counts).atomic_write.faults === 0) yield* Effect.sleep("5 millis")
        // Others are served meanwhile.
        assert.strictEqual((yield* ask(() => node.get(["n"]))).versionstamp, null)
        assert.isUndefined(frozen.pollUnsafe())
        yield* faults.clear
        assert.isTrue((yield* Fiber.join(frozen)).ok)
        assert.strictEqual((yield* ask(() => node.get(["n"]))).value, 1)
      })
    )
  )
})

describe("watches that are dropped", () => {
  it.live("are opened again by both clients, which miss nothing", () =>
    suite(
      Effect.gen(function* () {
        const { faults, node, url } = yield* prepare
        const kv = yield* Kv.Kv
        yield* kv.set(["k"], "first")
        const reader = node.watch<[string]>([["k"]]).getReader()
        const next = ask(() => reader.read().then(({ value }) => value?.[0].value))
        const child = yield* deno(url, "watch")
        assert.strictEqual(yield* next, "first")
        yield* child.line('saw: "first"')
        assert.strictEqual(yield* faults.dropWatches, 2)
        yield* kv.set(["k"], "between")
        yield* child.line('saw: "between"')
        assert.strictEqual(yield* next, "between")
        yield* faults.inject({ _tag: "Cut", when: "after" }, { on: "watch", times: 2 })
        yield* faults.dropWatches
        yield* kv.set(["k"], "last")
        assert.strictEqual(yield* child.line("answer: "), '"last"')
        // Until it is connected again too: cancelled while it waits to connect, the client connects all the same, and nobody catches its failure.
        assert.strictEqual(yield* next, "last")
        yield* ask(() => reader.cancel())
      })
    )
  )

  it.live("get signs of life while nothing changes", () =>
    suite(
      Effect.gen(function* () {
        const { url } = yield* prepare
        const { headers } = yield* connect(url)
        const body = toBinary(WatchSchema, create(WatchSchema, { keys: [{ key: packed("k") }] }))
        const lengths = yield* ask(async () => {
          const init = { method: "POST", headers, body: new Uint8Array(body) }
          const reader = (await fetch(`${url}/v3/watch`, init)).body!.getReader()
          const take = async (bytes: Uint8Array, found: ReadonlyArray<number>): Promise<ReadonlyArray<number>> => {
            if (found.length === 4) return found
            const length = bytes.length < 4 ? undefined : new DataView(bytes.buffer).getUint32(0, true)
            if (length !== undefined && bytes.length >= 4 + length)
              return take(bytes.slice(4 + length), [...found, length])
            const { value } = await reader.read()
            return take(Uint8Array.from([...bytes, ...value!]), found)
          }
          return take(new Uint8Array(), []).finally(() => reader.cancel())
        })
        assert.isAbove(lengths[0]!, 0)
        assert.deepStrictEqual(lengths.slice(1), [0, 0, 0])
      })
    )
  )
})
