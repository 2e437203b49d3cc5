import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted, Result, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { accessToken, serviceAt, startServer, startWork } from "./support.ts"

const at = (url: string) => ({ path: url, accessToken })

const valueOf = (entry: Option.Option<Kv.Entry>): unknown => (Option.isSome(entry) ? entry.value.value : undefined)

const sum = (kv: Kv.Service, key: Kv.Key, n: bigint) => Effect.provideService(Kv.sum(key, n), Kv.Kv, kv)

describe("fifty writers over a link of 20 ms", () => {
  it.live("do not disturb each other: no key is compared by all of them", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      // Each with a connection and a driver of its own, as fifty processes have them.
      const writers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => i),
        () => serviceAt({ ...at(server.url), timeout: "1 minute" }),
        { concurrency: 10 }
      )
      yield* server.faults.inject({ _tag: "Delay", duration: 20 }, { times: "Infinity" })
      const before = (yield* server.faults.counts).atomic_write.requests
      const each = 6
      yield* Effect.forEach(
        writers,
        (kv, writer) =>
          Effect.forEach(
            Array.from({ length: each }, (_, i) => i),
            (i) => kv.set(["writer", writer, i], i),
            { discard: true }
          ),
        { concurrency: "unbounded", discard: true }
      )
      const writes = (yield* server.faults.counts).atomic_write.requests - before
      yield* server.faults.clear
      const commits = writers.length * each
      const found = yield* Stream.runCollect(writers[0]!.list({ prefix: ["writer"] }))
      assert.strictEqual(found.length, commits)
      // A generation that is renewed disturbs whoever is under way, once.
      assert.isBelow(writes, commits * 1.5, `${writes} writes for ${commits} commits`)
    })
  )

  it.live("count one counter exactly", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const writers = yield* Effect.forEach(
        Array.from({ length: 10 }, (_, i) => i),
        () => serviceAt(at(server.url))
      )
      yield* server.faults.inject({ _tag: "Delay", duration: 20 }, { times: "Infinity" })
      yield* Effect.forEach(
        writers,
        (kv) => Effect.forEach([1n, 2n, 3n, 4n, 5n], (n) => sum(kv, ["n"], n), { concurrency: 5, discard: true }),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(valueOf(yield* writers[0]!.get(["n"])), 150n)
    })
  )
})

describe("answers that are lost", () => {
  const lossy = Effect.gen(function* () {
    const server = yield* startServer
    const kv = yield* serviceAt(at(server.url))
    // Carried out, and not answered.
    yield* server.faults.inject({ _tag: "Cut", when: "after" }, { on: "atomic_write", share: 0.3, times: "Infinity" })
    return { kv, server } as const
  })

  it.live("never count twice, and never fail", () =>
    Effect.gen(function* () {
      const { kv, server } = yield* lossy
      for (let i = 0; i < 30; i++) yield* sum(kv, ["n"], 1n)
      assert.strictEqual(valueOf(yield* kv.get(["n"])), 30n)
      assert.isAtLeast((yield* server.faults.counts).atomic_write.faults, 8)
    })
  )

  it.live("make no false conflict, and give the versionstamp that was written", () =>
    Effect.gen(function* () {
      const { kv } = yield* lossy
      let stamp: Kv.Versionstamp | null = null
      for (let i = 0; i < 30; i++) {
        const steps: ReadonlyArray<Kv.Op<unknown, Kv.KvError, never> | Kv.Check> = [
          Kv.check(["a"], stamp),
          Kv.set(["a"], i),
          Kv.set(["b", i], i)
        ]
        stamp = yield* Effect.provideService(Kv.atomic(steps), Kv.Kv, kv)
        const entry = yield* kv.get(["a"])
        assert.strictEqual(Option.isSome(entry) && entry.value.versionstamp, stamp)
      }
      // A new key each time: that it does not exist holds again once somebody deletes it.
      for (let i = 0; i < 10; i++) {
        const made = [Kv.check(["c", i], null), Kv.set(["c", i], i)]
        yield* Effect.provideService(Kv.atomic(made), Kv.Kv, kv)
      }
    })
  )

  it.live("leave large commits whole", () =>
    Effect.gen(function* () {
      const { kv } = yield* lossy
      const many = Array.from({ length: 15 }, (_, i) => Kv.sum(["many", i], 1n))
      for (let i = 0; i < 6; i++) yield* Effect.provideService(Kv.atomic(many), Kv.Kv, kv)
      const found = yield* kv.getMany(Array.from({ length: 15 }, (_, i) => ["many", i] as const))
      assert.deepStrictEqual(
        found.map(valueOf),
        found.map(() => 6n)
      )
    })
  )
})

describe("a server that fails", () => {
  it.live("with 503 for a third of all requests costs time only", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const kv = yield* serviceAt(at(server.url))
      yield* server.faults.inject({ _tag: "Status", status: 503 }, { share: 0.34, times: "Infinity" })
      for (let i = 0; i < 20; i++) {
        yield* kv.set(["a", i], i)
        assert.strictEqual(valueOf(yield* kv.get(["a", i])), i)
        yield* sum(kv, ["n"], 1n)
      }
      assert.strictEqual(valueOf(yield* kv.get(["n"])), 20n)
    })
  )

  it.live("to answer is given up in time, and what was sent is told for what it is", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const kv = yield* serviceAt({ ...at(server.url), timeout: 500 })
      yield* kv.set(["a"], 1)
      yield* server.faults.inject({ _tag: "Freeze" }, { times: "Infinity" })
      const read = yield* Effect.flip(kv.get(["a"]))
      assert.strictEqual(read.reason._tag, "Unavailable")
      assert.isTrue(read.isRetryable)
      const written = yield* Effect.flip(kv.set(["a"], 2))
      assert.strictEqual(written.reason._tag, "CommitUnknown")
      yield* server.faults.clear
      // Whatever became of it, the store goes on.
      yield* Effect.retry(kv.set(["a"], 3), { times: 20 })
      assert.strictEqual(valueOf(yield* kv.get(["a"])), 3)
    })
  )

  it.live("is asked what became of a commit, and a commit that did not arrive is fenced", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const kv = yield* serviceAt({ ...at(server.url), timeout: 1_000 })
      yield* kv.set(["a"], 1)
      // Only this write is held back; what asks for it goes through.
      yield* server.faults.inject({ _tag: "Freeze" }, { on: "atomic_write", times: 1 })
      const written = yield* Effect.flip(kv.set(["a"], 2))
      assert.strictEqual(written.reason._tag, "Unavailable")
      yield* kv.set(["a"], 3)
      // It arrives after all, with the generation of before.
      yield* server.faults.clear
      for (let i = 0; i < 50; i++) {
        assert.strictEqual(valueOf(yield* kv.get(["a"])), 3)
        yield* Effect.sleep(10)
      }
    })
  )

  it.live("to know its tokens any more gets the access token again", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const kv = yield* serviceAt(at(server.url))
      const seen: Array<unknown> = []
      const watch = yield* kv.watchPrefix(["w"]).pipe(
        Stream.tap((change) => Effect.sync(() => void (change._tag === "Put" && seen.push(change.entry.value)))),
        Stream.takeUntil((change) => change._tag === "Put" && change.entry.value === 4),
        Stream.runDrain,
        Effect.forkScoped
      )
      for (let i = 0; i < 5; i++) {
        yield* kv.set(["w", i], i)
        yield* server.faults.expireTokens
        if (i === 2) assert.isAtLeast(yield* server.faults.dropWatches, 0)
        assert.strictEqual(valueOf(yield* kv.get(["w", i])), i)
      }
      yield* Effect.timeout(Fiber.join(watch), "30 seconds")
      assert.deepStrictEqual(seen.toSorted(), [0, 1, 2, 3, 4])
    })
  )

  it.live("tells a watch within moments of what another client wrote, and after its watches were dropped too", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const one = yield* serviceAt(at(server.url))
      const two = yield* serviceAt(at(server.url))
      const last: { value: unknown } = { value: undefined }
      yield* one.watch([["a"]]).pipe(
        Stream.runForEach((change) =>
          Effect.sync(() => void (change._tag === "Put" && (last.value = change.entry.value)))
        ),
        Effect.forkScoped
      )
      for (let i = 0; i < 6; i++) {
        if (i === 3) yield* server.faults.dropWatches
        yield* two.set(["a"], i)
        yield* Effect.timeout(
          Effect.repeat(
            Effect.andThen(
              Effect.sleep(5),
              Effect.sync(() => last.value)
            ),
            { until: (value) => value === i }
          ),
          "15 seconds"
        )
      }
    })
  )

  it.live("to take the access token is told as that, without the token", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const refused = yield* Effect.result(
        Effect.scoped(serviceAt({ path: server.url, accessToken: Redacted.make("not-the-right-token") }))
      )
      if (Result.isSuccess(refused)) return assert.fail("it was let in")
      assert.strictEqual(refused.failure.reason._tag, "AuthRefused")
      assert.notInclude(String(refused.failure.message), "not-the-right-token")
      assert.include(refused.failure.message, server.url)
    })
  )
})

describe("Deno's own client", () => {
  it.live("counts exactly although answers are lost, tokens end and requests fail", () =>
    Effect.gen(function* () {
      const server = yield* startServer
      const kv = yield* serviceAt(at(server.url))
      const children = yield* Effect.forEach([1, 2], () => startWork("deno", "increment", server.url, 25))
      for (const child of children) yield* child.line("ready")
      yield* server.faults.inject({ _tag: "Cut", when: "after" }, { on: "atomic_write", share: 0.2, times: 12 })
      yield* server.faults.inject({ _tag: "Status", status: 503 }, { share: 0.2, times: 8 })
      yield* Effect.sleep(300)
      yield* server.faults.expireTokens
      for (const child of children) {
        yield* child.exit
        assert.deepStrictEqual(child.lines, ["ready", "done"], child.errors())
      }
      const [n, count] = yield* kv.getMany([["n"], ["count"]])
      assert.deepStrictEqual([valueOf(n!), valueOf(count!)], [50, 50n])
    })
  )
})
