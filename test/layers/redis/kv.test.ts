import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Result, type Scope, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { type Packed, pack } from "../../../src/internal/keyCodec.ts"
import { kvKeys } from "../../../src/layers/redis/kv/keys.ts"
import { readEntry } from "../../../src/layers/redis/kv/stamps.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import { type RedisServer, startRedis, startRedisCluster, withRedis } from "../../servers/index.ts"
import { callsOf, connectionsOf, eventually, newNamespace, once, resetStats, sizesOf } from "./support.ts"

const server = once(startRedis())
const cluster = once(startRedisCluster())

/** A Kv over connections of its own, as in a process of its own. */
const store = (
  namespace: string,
  options?: Redis.ConnectionOptions & Redis.KvOptions
): Effect.Effect<Kv.Service, Redis.RedisError, Scope.Scope> =>
  Effect.flatMap(server, ({ url }) =>
    Effect.map(Layer.build(Layer.fresh(Redis.layerKv({ url, namespace, ...(options as object) }))), (context) =>
      Context.get(context, Kv.Kv)
    )
  )

const given = <A, E, R>(kv: Kv.Service, effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Kv.Kv, kv)

const values = (kv: Kv.Service, prefix: ReadonlyArray<Kv.KeyPart>, options?: Kv.ListOptions) =>
  Effect.map(Stream.runCollect(kv.list({ prefix }, options)), (entries) =>
    Array.from(entries, ({ value }) => value as number)
  )

const value = (kv: Kv.Service, key: Kv.Key) =>
  Effect.map(kv.get(key), (entry) => Option.getOrUndefined(Option.map(entry, (one) => one.value)))

const at = async (one: RedisServer, namespace: string, key: Kv.Key): Promise<Buffer | null> => {
  const name = kvKeys(namespace).value(pack(key) as Packed)
  return await Effect.runPromise(withRedis(one, (redis) => redis.getBuffer(Buffer.from(name as string))))
}

/** Some thousand entries below a prefix, in commits of a thousand. */
const fill = (kv: Kv.Service, prefix: string, count: number) =>
  Effect.forEach(
    Array.from({ length: Math.ceil(count / 1_000) }, (_, i) => i * 1_000),
    (from) =>
      given(
        kv,
        Kv.atomic(Array.from({ length: Math.min(1_000, count - from) }, (_, i) => Kv.set([prefix, from + i], from + i)))
      ),
    { discard: true }
  )

/** What the tests below compare clients by. */
const modes = [
  ["with scripts", "auto"],
  ["without scripts", "never"]
] as const

describe.each(modes)("a list %s", (_, scripts) => {
  it.live("is read in pages, each in two round trips, and never searches through all keys", () =>
    Effect.gen(function* () {
      const one = yield* server
      const kv = yield* store(newNamespace(), { scripts })
      yield* fill(kv, "p", 2_000)
      yield* fill(kv, "other", 1_000)
      yield* resetStats(one)
      assert.deepStrictEqual(
        yield* values(kv, ["p"]),
        Array.from({ length: 2_000 }, (__, i) => i)
      )
      const calls = yield* callsOf(one)
      // Pages of 256, and what a transaction adds to them.
      const pages = Math.ceil(2_000 / 256)
      assert.isAtMost((calls.evalsha ?? 0) + (calls.exec ?? 0), 2 * pages)
      assert.isAtMost(calls.zrangebylex ?? 0, 2 * pages)
      for (const name of ["keys", "scan", "zscan", "sort", "zrange", "hgetall"]) assert.isUndefined(calls[name], name)
      yield* resetStats(one)
      assert.deepStrictEqual(yield* values(kv, ["p"], { limit: 3, reverse: true }), [1_999, 1_998, 1_997])
      const few = yield* callsOf(one)
      assert.isAtMost((few.evalsha ?? 0) + (few.exec ?? 0), 2)
    })
  )

  it.live(
    "of fifty thousand keys streams in order while others insert and delete, and reads no more than is taken",
    () =>
      Effect.gen(function* () {
        const one = yield* server
        const namespace = newNamespace()
        const kv = yield* store(namespace, { scripts })
        const other = yield* store(namespace)
        const count = 50_000
        yield* fill(other, "p", count)
        const churn = yield* Effect.forkChild(
          Effect.forever(
            Effect.gen(function* () {
              const n = (Math.random() * count) | 0
              // Between two that stay.
              yield* other.set(["p", n + 0.5], -1)
              yield* other.delete(["p", n + 0.5])
            })
          )
        )
        let last = -1
        let stayed = 0
        yield* Stream.runForEach(kv.list({ prefix: ["p"] }), ({ key }) =>
          Effect.sync(() => {
            const n = key[1] as number
            assert.isAbove(n, last)
            last = n
            if (Number.isInteger(n)) assert.strictEqual(n, stayed++)
          })
        )
        assert.strictEqual(stayed, count)
        yield* Fiber.interrupt(churn)
        yield* resetStats(one)
        const some = yield* Stream.runCollect(Stream.take(kv.list({ prefix: ["p"] }), 300))
        assert.lengthOf(some, 300)
        const { evalsha = 0, exec = 0 } = yield* callsOf(one)
        assert.isAtMost(evalsha + exec, 2 * 3)
      })
  )

  it.live("comes to an end while others insert and delete within one page without a pause", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const namespace = newNamespace()
      const other = yield* store(namespace)
      yield* fill(other, "p", 600)
      const connection = yield* Redis.makeConnection({ url, namespace, scripts })
      let reads = 0
      // Between any two steps of a page a key comes or goes.
      const disturbed: Redis.ConnectionService = {
        ...connection,
        snapshot: (commands) =>
          Effect.andThen(
            Effect.orDie(++reads % 2 === 0 ? other.set(["p", 3.5], -1) : other.delete(["p", 3.5])),
            connection.snapshot(commands)
          )
      }
      const kv = yield* Kv.make(yield* Redis.makeKvDriver(disturbed))
      if (scripts === "auto") {
        const found = yield* values(kv, ["p"])
        assert.deepStrictEqual(
          found.filter((n) => n >= 0),
          Array.from({ length: 600 }, (__, n) => n)
        )
        assert.isAtMost(reads, 30)
        const reverse = yield* values(kv, ["p"], { reverse: true, limit: 599 })
        assert.deepStrictEqual(
          reverse.filter((n) => n >= 0).slice(0, 590),
          Array.from({ length: 590 }, (__, n) => 599 - n)
        )
      } else {
        const error = yield* Effect.flip(values(kv, ["p"]))
        assert.include(error.message, "came and went")
        assert.isTrue(error.isRetryable)
        assert.deepStrictEqual(yield* values(kv, ["p"], { reverse: true, limit: 3 }), [599, 598, 597])
      }
    })
  )
})

describe("an expiry is told once, however many look for it", () => {
  it.live.each([
    ["with scripts", ["auto", "auto", "auto", "auto"]],
    ["without scripts", ["never", "never", "never", "never"]],
    ["both", ["auto", "never", "auto", "never"]]
  ] as const)("four connections sweep at once, %s", ([, kinds]) =>
    Effect.gen(function* () {
      const one = yield* server
      const namespace = newNamespace()
      const stores = yield* Effect.forEach(kinds, (scripts) => store(namespace, { scripts }))
      const watcher = yield* store(namespace)
      const expired: Array<number> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(watcher.watchPrefix(["e"]), (change) =>
          Effect.sync(() => {
            if (change._tag === "Expire") expired.push(change.key[1] as number)
          })
        )
      )
      const count = 200
      yield* Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        (n) => stores[n % 4]!.set(["e", n], n, { expireIn: 300 + (n % 5) * 20 }),
        { concurrency: 32, discard: true }
      )
      // All four know of a deadline of their own, and all look when it comes.
      yield* eventually(
        "all are told",
        Effect.sync(() => expired.length >= count)
      )
      yield* Effect.sleep("150 millis")
      yield* Fiber.interrupt(watching)
      assert.deepStrictEqual(
        expired.toSorted((a, b) => a - b),
        Array.from({ length: count }, (_, n) => n)
      )
      const sizes = yield* withRedis(one, (redis) => sizesOf(redis, `{${namespace}}:`))
      for (const name of Object.keys(sizes)) assert.notMatch(name, /^[ksix]\b/, "nothing of them is left")
      const log = yield* withRedis(one, (redis) => redis.lrangeBuffer(`{${namespace}}:l`, "0", "-1"))
      const told = log.flatMap((entry, i) => readEntry(entry, i + 1)).filter(({ op }) => op === "expire")
      assert.strictEqual(told.length, count)
      assert.strictEqual(new Set(told.map(({ key }) => key)).size, count)
    })
  )

  it.live(
    "an entry that a killed process left to expire is invisible at its deadline, and removed by the next one",
    () =>
      Effect.gen(function* () {
        const one = yield* server
        const namespace = newNamespace()
        yield* Effect.scoped(Effect.flatMap(store(namespace), (kv) => kv.set(["short"], 1, { expireIn: 100 })))
        yield* Effect.sleep("150 millis")
        const kv = yield* store(namespace)
        assert.isFalse(yield* kv.has(["short"]))
        yield* eventually(
          "it is gone",
          Effect.map(
            withRedis(one, (redis) => sizesOf(redis, `{${namespace}}:`)),
            (sizes) => sizes.i === undefined && sizes.x === undefined
          )
        )
      })
  )
})

describe.each(modes)("values %s", (_, scripts) => {
  it.live("are stored plain: JSON text, bytes, decimal counters", () =>
    Effect.gen(function* () {
      const one = yield* server
      const namespace = newNamespace()
      const kv = yield* store(namespace, { scripts })
      const json = { a: [1, null, "é\u0000"], b: true }
      yield* kv.set(["json"], json)
      yield* kv.set(["text"], "plain")
      yield* kv.set(["bytes"], new Uint8Array([0, 255, 13, 10]))
      yield* kv.set(["empty"], new Uint8Array())
      yield* given(kv, Kv.sum(["counter"], 42n))
      const read = (key: string) => Effect.promise(() => at(one, namespace, [key]))
      assert.strictEqual(String(yield* read("json")), JSON.stringify(json))
      assert.strictEqual(String(yield* read("text")), '"plain"')
      assert.deepStrictEqual(yield* read("bytes"), Buffer.from([0, 255, 13, 10]))
      assert.deepStrictEqual(yield* read("empty"), Buffer.from([]))
      assert.strictEqual(String(yield* read("counter")), "42")
      assert.deepStrictEqual(yield* value(kv, ["empty"]), new Uint8Array())
    })
  )

  it.live("keys of every byte and of huge numbers come back as they were, in their order", () =>
    Effect.gen(function* () {
      const kv = yield* store(newNamespace(), { scripts })
      const bytes = Uint8Array.from({ length: 256 }, (__, i) => i)
      const parts: ReadonlyArray<Kv.KeyPart> = [
        new Uint8Array(),
        ...Array.from({ length: 256 }, (__, i) => Uint8Array.of(i)),
        bytes,
        bytes.toReversed(),
        "",
        "\u0000",
        "\u0000\u00ff",
        "a\u0000b",
        "é",
        "\u{10ffff}",
        "\r\n",
        "{tag}",
        "*?[a-z]",
        -(2n ** 2000n),
        -(2n ** 64n),
        -1n,
        0n,
        255n,
        256n,
        2n ** 63n,
        2n ** 2000n,
        -Infinity,
        -1e300,
        -0.5,
        0,
        5e-324,
        1,
        1e300,
        Infinity,
        false,
        true
      ]
      yield* Effect.forEach(parts, (part, i) => kv.set(["k", part], i), { concurrency: 64, discard: true })
      const entries = yield* Stream.runCollect(kv.list({ prefix: ["k"] }))
      const packed = parts.map((part) => pack(["k", part]) as Packed)
      const order = packed.map((key, i) => ({ key, i })).toSorted((a, b) => (a.key < b.key ? -1 : 1))
      assert.deepStrictEqual(
        entries.map((entry) => entry.value),
        order.map(({ i }) => i)
      )
      assert.deepStrictEqual(
        entries.map(({ key }) => key),
        order.map(({ i }): Kv.Key => ["k", parts[i]!])
      )
      const found = yield* kv.getMany(parts.map((part): Kv.Key => ["k", part]))
      assert.deepStrictEqual(
        found.map((entry) => Option.getOrThrow(entry).value),
        parts.map((__, i) => i)
      )
      const sums = yield* Effect.forEach(parts, (part) => given(kv, Kv.delete(["k", part])), { concurrency: 64 })
      assert.strictEqual(new Set(sums).size, parts.length)
      assert.deepStrictEqual(yield* values(kv, ["k"]), [])
    })
  )

  it.live("counters are exact up to 2^63-1, and beyond that nothing happens", () =>
    Effect.gen(function* () {
      const kv = yield* store(newNamespace(), { scripts })
      const largest = 2n ** 63n - 1n
      const act = <A, E>(effect: Effect.Effect<A, E, Kv.Kv>) => given(kv, effect)
      yield* act(Kv.sum(["a"], largest - 1n))
      yield* act(Kv.sum(["a"], 1n))
      assert.strictEqual(yield* value(kv, ["a"]), largest)
      const before = Option.getOrThrow(yield* kv.get(["a"]))
      const error = yield* Effect.flip(act(Kv.atomic([Kv.set(["b"], 1), Kv.sum(["a"], 1n), Kv.set(["c"], 1)])))
      assert.strictEqual(error._tag === "KvError" ? error.reason._tag : error._tag, "CounterOverflow")
      assert.deepStrictEqual(Option.getOrThrow(yield* kv.get(["a"])), before)
      assert.isFalse(yield* kv.has(["b"]))
      yield* act(Kv.sum(["a"], 0n))
      yield* act(Kv.max(["a"], largest))
      yield* act(Kv.min(["a"], largest - 5n))
      yield* act(Kv.max(["a"], largest - 6n))
      assert.strictEqual(yield* value(kv, ["a"]), largest - 5n)
      // Lengths differ, and so a comparison as text would be wrong.
      yield* act(Kv.atomic([Kv.max(["m"], 9n), Kv.max(["m"], 10n), Kv.min(["n"], 10n), Kv.min(["n"], 9n)]))
      assert.deepStrictEqual([yield* value(kv, ["m"]), yield* value(kv, ["n"])], [10n, 9n])
      // Beyond what a double holds.
      yield* act(Kv.sum(["d"], 2n ** 53n))
      for (let i = 0; i < 3; i++) yield* act(Kv.sum(["d"], 1n))
      assert.strictEqual(yield* value(kv, ["d"]), 2n ** 53n + 3n)
      yield* act(Kv.atomic([Kv.sum(["e"], largest), Kv.min(["e"], 0n), Kv.sum(["e"], largest)]))
      assert.strictEqual(yield* value(kv, ["e"]), largest)
    })
  )
})

describe("commits in flight", () => {
  it.live("sixty-four travel in few writes over one connection, and are applied in the order of the program", () =>
    Effect.gen(function* () {
      const one = yield* server
      let writes = 0
      const port = yield* Effect.map(
        Effect.acquireRelease(
          Effect.callback<Net.Server>((resume) => {
            const proxy = Net.createServer((from) => {
              const to = Net.connect(one.port, "127.0.0.1")
              from.setNoDelay(true)
              from.on("data", (data) => {
                writes++
                to.write(data)
              })
              to.on("data", (data) => from.write(data))
              from.on("close", () => to.destroy())
              to.on("close", () => from.destroy())
              from.on("error", () => undefined)
              to.on("error", () => undefined)
            })
            proxy.listen(0, "127.0.0.1", () => resume(Effect.succeed(proxy)))
          }),
          (proxy) => Effect.sync(() => proxy.close())
        ),
        (proxy) => (proxy.address() as Net.AddressInfo).port
      )
      const clientName = newNamespace()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const kv = yield* store(clientName, { url: `redis://127.0.0.1:${port}`, clientName })
          yield* kv.set(["warm"], 1)
          writes = 0
          const stamps = yield* Effect.forEach(
            Array.from({ length: 64 }, (_, n) => n),
            (n) => kv.set(["k", n], n),
            { concurrency: "unbounded" }
          )
          assert.isAtMost(writes, 6)
          assert.deepStrictEqual(stamps, stamps.toSorted())
          assert.strictEqual(yield* connectionsOf(one, clientName), 2)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("without scripts they use at most four connections more", () =>
    Effect.gen(function* () {
      const one = yield* server
      const clientName = newNamespace()
      const kv = yield* store(clientName, { clientName, scripts: "never" })
      const stamps = yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) => given(kv, Kv.atomic([Kv.sum(["sum"], 1n), Kv.set(["k", n], n)])),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(stamps).size, 200)
      assert.strictEqual(yield* value(kv, ["sum"]), 200n)
      assert.isAtMost(yield* connectionsOf(one, clientName), 6)
    })
  )
})

describe("clients with and without scripts share one namespace", () => {
  const pair = (namespace = newNamespace()) => Effect.all([store(namespace), store(namespace, { scripts: "never" })])

  it.live("they see each other's commits, and check against them", () =>
    Effect.gen(function* () {
      const both = yield* pair()
      for (const [mine, theirs] of [both, both.toReversed()] as ReadonlyArray<ReadonlyArray<Kv.Service>>) {
        const key = ["k", globalThis.crypto.randomUUID()] as const
        const first = yield* mine!.set(key, 1)
        const seen = Option.getOrThrow(yield* theirs!.get(key))
        assert.deepStrictEqual([seen.value, seen.versionstamp], [1, first])
        const second = yield* given(theirs!, Kv.atomic([Kv.check(key, seen), Kv.set(key, 2)]))
        assert.isAbove((second as string) < first ? -1 : 1, 0, "stamps grow along a key")
        const stale = yield* Effect.flip(given(mine!, Kv.atomic([Kv.check(key, first), Kv.set(key, 3)])))
        assert.strictEqual(stale._tag, "Conflict")
        const absent = yield* Effect.flip(given(mine!, Kv.atomic([Kv.check(key, null), Kv.set(key, 3)])))
        assert.strictEqual(absent._tag, "Conflict")
        yield* mine!.delete(key)
        yield* given(theirs!, Kv.atomic([Kv.check(key, null), Kv.set(key, 4)]))
        assert.strictEqual(yield* value(mine!, key), 4)
      }
    })
  )

  it.live("counters and read-modify-write of both are exact", () =>
    Effect.gen(function* () {
      const both = yield* pair()
      const add = (kv: Kv.Service) =>
        given(
          kv,
          Kv.transact(
            Effect.gen(function* () {
              const old = yield* kv.get(["cell"])
              const now = Option.isSome(old) ? (old.value.value as number) : 0
              yield* Kv.atomic([Kv.check(["cell"], old), Kv.set(["cell"], now + 1), Kv.sum(["counter"], 1n)])
            })
          )
        )
      yield* Effect.forEach(
        Array.from({ length: 60 }, (_, i) => both[i % 2]!),
        add,
        { concurrency: 8, discard: true }
      )
      assert.strictEqual(yield* value(both[0], ["cell"]), 60)
      assert.strictEqual(yield* value(both[1], ["counter"]), 60n)
    })
  )

  it.live("watches of both see all changes of both, in the same order", () =>
    Effect.gen(function* () {
      const both = yield* pair()
      const seen = both.map((): Array<string> => [])
      const watching = yield* Effect.forEach(both, (kv, i) =>
        Effect.forkChild(
          Stream.runForEach(kv.watchPrefix(["w"], { initial: false }), (change) =>
            Effect.sync(() => {
              if (change._tag === "Put")
                seen[i]!.push(`${change.entry.versionstamp} put ${String(change.entry.key[1])}`)
              else if (change._tag === "Delete" || change._tag === "Expire")
                seen[i]!.push(`${change.versionstamp} ${change._tag} ${String(change.key[1])}`)
            })
          )
        )
      )
      yield* Effect.sleep("200 millis")
      yield* Effect.forEach(
        Array.from({ length: 120 }, (_, n) => n),
        (n) => both[n % 2]!.set(["w", n], n),
        { concurrency: 16, discard: true }
      )
      for (let n = 0; n < 40; n++) yield* both[(n + 1) % 2]!.delete(["w", n])
      const last = yield* both[0].set(["w", "last"], 1)
      yield* eventually(
        "both are through",
        Effect.sync(() => seen.every((events) => events.at(-1)?.startsWith(last) === true))
      )
      yield* Effect.forEach(watching, Fiber.interrupt)
      for (const events of seen) {
        assert.deepStrictEqual(events, events.toSorted())
        const put = new Set(events.flatMap((event) => / put (\d+)$/.exec(event)?.[1] ?? []))
        const gone = new Set(events.flatMap((event) => / Delete (\d+)$/.exec(event)?.[1] ?? []))
        for (let n = 0; n < 120; n++) assert.isTrue(put.has(String(n)) || gone.has(String(n)), `key ${n}`)
        assert.strictEqual(gone.size, 40)
      }
    })
  )

  it.live("what one lets expire the other does not see, checks as missing, and writes anew", () =>
    Effect.gen(function* () {
      const both = yield* pair()
      for (const [mine, theirs] of [both, both.toReversed()] as ReadonlyArray<ReadonlyArray<Kv.Service>>) {
        const key = ["x", globalThis.crypto.randomUUID()] as const
        yield* mine!.set(key, 1, { expireIn: 60 })
        const seen = Option.getOrThrow(yield* theirs!.get(key))
        assert.isTrue(Option.isSome(seen.expiresAt))
        const left = Option.getOrThrow(seen.expiresAt) - (yield* theirs!.now)
        assert.isAtMost(left, 60)
        yield* Effect.sleep(Math.max(0, left) + 1)
        yield* given(theirs!, Kv.atomic([Kv.check(key, null), Kv.set(key, 2)]))
        yield* Effect.sleep("100 millis")
        const after = Option.getOrThrow(yield* mine!.get(key))
        assert.deepStrictEqual([after.value, Option.isNone(after.expiresAt)], [2, true], "no old expiry is left on it")
        yield* theirs!.set(key, 3, { expireIn: 40 })
        yield* mine!.set(key, 4)
        yield* Effect.sleep("80 millis")
        assert.strictEqual(yield* value(theirs!, key), 4)
      }
    })
  )
})

describe("a namespace", () => {
  it.live("has one hash tag for all its keys", () =>
    Effect.gen(function* () {
      const one = yield* server
      const { nodes } = yield* cluster
      const namespace = newNamespace()
      const kv = yield* store(namespace)
      const bare = yield* store(namespace, { scripts: "never" })
      yield* kv.set(["a}{b", 1], 1, { expireIn: "1 minute" })
      yield* bare.set(["{other}", 2], 1, { expireIn: "1 minute" })
      yield* given(kv, Kv.sum(["c"], 1n))
      const keys = yield* withRedis(one, (redis) => redis.keys(`*${namespace}*`))
      assert.isAbove(keys.length, 8)
      for (const key of keys) assert.isTrue(key.startsWith(`{${namespace}}:`), key)
      const slots = yield* withRedis(nodes[0]!, (redis) =>
        Promise.all(keys.map((key) => redis.cluster("KEYSLOT", key)))
      )
      assert.strictEqual(new Set(slots).size, 1)
    })
  )

  it.live("does not see another one, not even one whose name it begins", () =>
    Effect.gen(function* () {
      const name = newNamespace()
      const names = [name, `${name}x`, `${name}.k`, `${name}-`]
      const stores = yield* Effect.forEach(names, (one) => store(one))
      const heard: Array<unknown> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(stores[0]!.watchPrefix([], { initial: false }), (change) =>
          Effect.sync(() => {
            if (change._tag === "Put") heard.push(change.entry.value)
          })
        )
      )
      yield* Effect.sleep("100 millis")
      for (const [i, kv] of stores.entries()) yield* kv.set(["key"], i)
      for (const [i, kv] of stores.entries()) {
        assert.strictEqual(yield* value(kv, ["key"]), i)
        assert.deepStrictEqual(yield* values(kv, []), [i])
      }
      yield* eventually(
        "its own is heard",
        Effect.sync(() => heard.length > 0)
      )
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(watching)
      assert.deepStrictEqual(heard, [0])
    })
  )
})

describe.each(modes)("the change log %s", (_, scripts) => {
  it.live("keeps its numbers right when it is trimmed: a resume goes on exactly, or fails with Compacted", () =>
    Effect.gen(function* () {
      const one = yield* server
      const namespace = newNamespace()
      const kv = yield* store(namespace, { scripts, logLength: 50 })
      const cursorNow = Effect.map(
        Stream.runHead(
          Stream.filterMap(kv.watchPrefix(["none"]), (change) =>
            change._tag === "Synced" ? Result.succeed(change.cursor) : Result.failVoid
          )
        ),
        Option.getOrThrow
      )
      const origin = yield* cursorNow
      for (let n = 0; n < 330; n++) yield* kv.set(["k", n % 7], n)
      const cursor = yield* cursorNow
      const length = yield* withRedis(one, async (redis) => {
        const [counter, size] = await Promise.all([redis.get(`{${namespace}}:v`), redis.llen(`{${namespace}}:l`)])
        assert.strictEqual(counter, "330")
        return size
      })
      assert.isAtLeast(length, 50)
      assert.isAtMost(length, 50 + 100)
      const stamps: Array<Kv.Versionstamp> = []
      for (let n = 0; n < 30; n++) stamps.push(yield* kv.set(["k", n], 1_000 + n))
      const follow = (since: Kv.Cursor | Kv.Versionstamp, count: number) =>
        kv.watchPrefix(["k"], { since }).pipe(
          Stream.filterMap((change) => (change._tag === "Put" ? Result.succeed(change.entry.value) : Result.failVoid)),
          Stream.take(count),
          Stream.runCollect,
          Effect.timeout("5 seconds")
        )
      assert.deepStrictEqual(
        yield* follow(cursor, 30),
        Array.from({ length: 30 }, (__, n) => 1_000 + n)
      )
      assert.deepStrictEqual(
        (yield* follow(stamps[9]!, 20)).filter((n) => (n as number) > 1_009),
        Array.from({ length: 20 }, (__, n) => 1_010 + n)
      )
      const gone = yield* Effect.flip(follow(origin, 1))
      assert.strictEqual(gone._tag === "KvError" ? gone.reason._tag : gone._tag, "Compacted")
    })
  )
})
