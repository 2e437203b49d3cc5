import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch, Layer, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../../src/Kv.ts"
import * as DenoKv from "../../../src/layers/denokv/index.ts"
import { nativeLimits } from "../../../src/layers/denokv/native.ts"
import { entriesBelow, own, serviceAndHandle, serviceAt, temporaryFile } from "./support.ts"

const memory = { path: ":memory:" }

const reasonOf = <A, R>(effect: Effect.Effect<A, Kv.KvError | Kv.Conflict, R>) =>
  Effect.map(Effect.flip(effect), (error) => (error._tag === "KvError" ? error.reason._tag : error._tag))

const valueOf = (entry: Option.Option<Kv.Entry> | undefined): unknown =>
  entry !== undefined && Option.isSome(entry) ? entry.value.value : undefined

const on = <A, E>(kv: Kv.Service, effect: Effect.Effect<A, E, Kv.Kv>) => Effect.provideService(effect, Kv.Kv, kv)

describe("keys", () => {
  it.effect("that begin with empty bytes belong to the store: no program reads, writes, checks or lists them", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle(memory)
      for (const key of [[own], [own, "g"], [own, "mine", 1]] as ReadonlyArray<Kv.Key>) {
        assert.strictEqual(yield* reasonOf(kv.get(key)), "InvalidKey")
        assert.strictEqual(yield* reasonOf(kv.set(key, 1)), "InvalidKey")
        assert.strictEqual(yield* reasonOf(kv.delete(key)), "InvalidKey")
        assert.strictEqual(yield* reasonOf(on(kv, Kv.sum(key, 1n))), "InvalidKey")
        assert.strictEqual(yield* reasonOf(on(kv, Kv.atomic([Kv.check(key, null)]))), "InvalidKey")
      }
      yield* kv.set([Uint8Array.of(0)], "first of all")
      yield* kv.set([true, true], "last of all")
      const all = yield* Stream.runCollect(kv.list({ prefix: [] }))
      assert.deepStrictEqual(
        all.map(({ value }) => value),
        ["first of all", "last of all"]
      )
      assert.isAbove((yield* entriesBelow(native, [own])).length, 3)
    })
  )

  it.effect("of the greatest length can be written, listed from, expired and counted", () =>
    Effect.gen(function* () {
      const kv = yield* serviceAt(memory)
      const longest: Kv.Key = ["k".repeat(2_046)]
      yield* kv.set(longest, 1, { expireIn: 1_000 })
      yield* kv.set(["l"], 2)
      const page = yield* kv.page({ prefix: [] }, { limit: 1 })
      assert.deepStrictEqual(page.entries[0]?.key, longest)
      const next = yield* kv.page({ prefix: [] }, { cursor: Option.getOrThrow(page.cursor) })
      assert.deepStrictEqual(
        next.entries.map(({ value }) => value),
        [2]
      )
      yield* TestClock.adjust(1_000)
      assert.isFalse(yield* kv.has(longest))
      yield* on(kv, Kv.sum(longest, 3n))
      assert.strictEqual(valueOf(yield* kv.get(longest)), 3n)
    })
  )
})

describe("what another program wrote", () => {
  it.effect("is refused by name and not misread, is no absent key, and can be replaced or deleted", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle(memory)
      const write = (key: DenoKv.NativeKey, bytes: Uint8Array) =>
        Effect.promise(() => {
          const atomic = native.atomic()
          atomic.set(key, bytes)
          return atomic.commit()
        })
      yield* write(["theirs"], Uint8Array.of(1, 2, 3))
      yield* write(["theirs too"], Uint8Array.of(0xe5, 1))
      yield* kv.set(["ours"], 1)
      for (const name of ["theirs", "theirs too"]) {
        const error = yield* Effect.flip(kv.get([name]))
        assert.strictEqual(error.reason._tag, "Undecodable")
        assert.include(error.message, `["${name}"]`)
        assert.strictEqual(yield* reasonOf(on(kv, Kv.atomic([Kv.check([name], null), Kv.set([name], 1)]))), "Conflict")
        assert.strictEqual(yield* reasonOf(on(kv, Kv.sum([name], 1n))), "NotACounter")
      }
      assert.strictEqual(yield* reasonOf(Stream.runDrain(kv.list({ prefix: [] }))), "Undecodable")
      assert.strictEqual(valueOf(yield* kv.get(["ours"])), 1)
      yield* kv.set(["theirs"], 2)
      yield* kv.delete(["theirs too"])
      assert.strictEqual((yield* Stream.runCollect(kv.list({ prefix: [] }))).length, 2)
    })
  )
})

describe("what is kept beside the entries", () => {
  it.effect("of expiries is gone with them, and with an expiry that was overwritten", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle(memory)
      const indexed = entriesBelow(native, [own, "e"])
      for (let i = 0; i < 30; i++) yield* kv.set(["a", i], i, { expireIn: 1_000 + i })
      for (let i = 0; i < 30; i += 3) yield* kv.set(["a", i], "stays")
      for (let i = 1; i < 30; i += 3) yield* kv.delete(["a", i])
      assert.strictEqual((yield* indexed).length, 10)
      yield* TestClock.adjust(2_000)
      for (let i = 0; i < 500 && (yield* indexed).length > 0; i++) yield* TestClock.withLive(Effect.sleep(2))
      assert.strictEqual((yield* indexed).length, 0)
      assert.strictEqual((yield* entriesBelow(native, ["a"])).length, 10)
    })
  )

  it.effect("of an expiry that somebody else overwrote is dropped at its time, and the entry stays", () =>
    Effect.gen(function* () {
      const connection = yield* DenoKv.makeConnection(memory)
      const make = Effect.flatMap(DenoKv.makeKvDriver(connection), (driver) => Kv.make(driver))
      const [one, two] = [yield* make, yield* make]
      yield* one.set(["a"], 1, { expireIn: 1_000 })
      yield* two.set(["a"], 2)
      yield* two.set(["b"], 2, { expireIn: 500 })
      yield* one.set(["b"], 3, { expireIn: 5_000 })
      yield* TestClock.adjust(1_500)
      const indexed = entriesBelow(connection.native, [own, "e"])
      for (let i = 0; i < 500 && (yield* indexed).length > 1; i++) yield* TestClock.withLive(Effect.sleep(2))
      assert.strictEqual((yield* indexed).length, 1)
      assert.deepStrictEqual((yield* one.getMany([["a"], ["b"]])).map(valueOf), [2, 3])
    })
  )

  it.effect("of the log is no more than it is told to keep, and some generations", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle({ ...memory, logLength: 64 })
      const lines = entriesBelow(native, [own, "l"])
      for (let i = 0; i < 400; i++) yield* kv.set(["a"], i)
      for (let i = 0; i < 500 && (yield* lines).length > 110; i++) yield* TestClock.withLive(Effect.sleep(2))
      assert.isAtLeast((yield* lines).length, 64)
      assert.isAtMost((yield* lines).length, 110)
      assert.isAtMost((yield* entriesBelow(native, [own, "h"])).length, 10)
    })
  )

  it.effect("of values that fill an entry of Deno KV is gone after they were replaced", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const connection = yield* DenoKv.makeConnection(memory)
        const tails = entriesBelow(connection.native, [own, "t"])
        const make = Effect.flatMap(DenoKv.makeKvDriver(connection), (driver) => Kv.make(driver))
        const kv = yield* make
        const large = new Uint8Array(65_536)
        for (let i = 0; i < 12; i++) yield* kv.set(["large", i % 2], large.fill(i))
        yield* kv.set(["just"], new Uint8Array(65_520))
        // The first look of this service may come late, and remove what is replaced by then.
        assert.isAbove((yield* tails).length, 2)
        assert.isAtMost((yield* tails).length, 12)
        // Looked for when a service begins, and now and then.
        const again = yield* make
        for (let i = 0; i < 500 && (yield* tails).length > 2; i++) yield* TestClock.withLive(Effect.sleep(2))
        assert.strictEqual((yield* tails).length, 2)
        assert.isTrue((valueOf(yield* again.get(["large", 1])) as Uint8Array).every((byte) => byte === 11))
      })
    )
  )

  it.effect("of a large commit is nothing, once it is done", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle(memory)
      yield* on(kv, Kv.atomic(Array.from({ length: 100 }, (_, i) => Kv.sum(["n", i], BigInt(i)))))
      assert.strictEqual((yield* entriesBelow(native, [own, "x"])).length, 0)
      assert.strictEqual((yield* entriesBelow(native, ["n"])).length, 100)
    })
  )
})

describe("a large commit", () => {
  it.live("is one state to whoever reads, beside commits that write the same keys", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const [one, two] = [yield* serviceAt({ path }), yield* serviceAt({ path })]
      const names = Array.from({ length: 9 }, (_, i) => ["same", i] as const)
      // Nine counters and three more: more than one write checks.
      const counters = [...names, ["same", 9], ["same", 10], ["same", 11]] as ReadonlyArray<Kv.Key>
      const large = on(one, Kv.atomic(counters.map((key) => Kv.sum(key, 1n))))
      const state = { done: false }
      const writer = Effect.ensuring(
        Effect.repeat(large, { times: 14 }),
        Effect.sync(() => void (state.done = true))
      )
      const reader = Effect.gen(function* () {
        while (!state.done) {
          const values = new Set((yield* two.getMany(names)).map(valueOf))
          assert.strictEqual(values.size, 1, Array.from(values).join())
          const listed = yield* Stream.runCollect(two.list({ prefix: ["same"] }))
          assert.isAtMost(new Set(listed.map(({ value }) => value)).size, 1)
        }
      })
      const other = Effect.gen(function* () {
        for (let i = 0; !state.done; i++) {
          yield* two.set(["other"], i)
          yield* on(two, Kv.sum(["also"], 1n))
        }
      })
      yield* Effect.all([writer, reader, other], { concurrency: "unbounded" })
      assert.deepStrictEqual(
        (yield* two.getMany(counters)).map(valueOf),
        counters.map(() => 15n)
      )
    })
  )

  it.live("that was driven out is done as it was decided, whatever an earlier attempt wrote down", () =>
    Effect.gen(function* () {
      const connection = yield* DenoKv.makeConnection(memory)
      // An earlier attempt came to a second record, which begins in the middle of an item.
      const beside: typeof connection.write = (write) =>
        connection.write({
          ...write,
          mutations: write.mutations.flatMap((mutation) =>
            mutation._tag === "Set" && mutation.key[1] === "x"
              ? [mutation, { ...mutation, key: [...mutation.key.slice(0, 3), 1], value: Uint8Array.of(55) }]
              : [mutation]
          )
        })
      const kv = yield* Effect.flatMap(DenoKv.makeKvDriver({ ...connection, write: beside }), (driver) =>
        Kv.make(driver)
      )
      yield* on(kv, Kv.atomic(Array.from({ length: 30 }, (_, i) => Kv.sum(["n", i], 1n))))
      assert.strictEqual(valueOf(yield* kv.get(["n", 29])), 1n)
      assert.strictEqual((yield* entriesBelow(connection.native, [own, "x"])).length, 0)
    })
  )

  it.live("tells its Conflict, and leaves nothing and nobody waiting", () =>
    Effect.gen(function* () {
      const { kv, native } = yield* serviceAndHandle(memory)
      const stamp = yield* kv.set(["a"], 1)
      yield* kv.set(["a"], 2)
      const steps = Array.from({ length: 30 }, (_, i) => Kv.sum(["n", i], 1n))
      const error = yield* Effect.flip(on(kv, Kv.atomic([Kv.check(["b"], null), Kv.check(["a"], stamp), ...steps])))
      assert.deepStrictEqual(error._tag === "Conflict" && error.failed, [1])
      yield* kv.set(["text"], "no counter")
      assert.strictEqual(yield* reasonOf(on(kv, Kv.atomic([...steps, Kv.sum(["text"], 1n)]))), "NotACounter")
      assert.strictEqual((yield* entriesBelow(native, ["n"])).length, 0)
      yield* kv.set(["a"], 3)
    })
  )
})

describe("what is read in parts", () => {
  /**
   * A service whose reads in parts meet a token that moves between two keys: in the first two rounds it is at the one while the other is
   * looked at, so that both rounds find the same, which never was.
   */
  const withToken = (at: { readonly first: Kv.Key; readonly second: Kv.Key }) =>
    Effect.gen(function* () {
      const connection = yield* DenoKv.makeConnection(memory)
      const over = (changes: Partial<typeof connection>) =>
        Effect.flatMap(DenoKv.makeKvDriver({ ...connection, ...changes }), (driver) => Kv.make(driver))
      const other = yield* over({})
      const move = (from: Kv.Key, to: Kv.Key) => on(other, Kv.atomic([Kv.delete(from), Kv.set(to, "token")]))
      yield* move(at.first, at.second)
      const passed = Latch.makeUnsafe(false)
      let rounds = 0
      const first = <A, E>(read: Effect.Effect<A, E>) =>
        Effect.suspend(() => {
          passed.closeUnsafe()
          if (rounds++ >= 2) return Effect.ensuring(read, passed.open)
          return move(at.first, at.second).pipe(
            Effect.orDie,
            Effect.andThen(read),
            Effect.tap(() => Effect.orDie(move(at.second, at.first))),
            Effect.ensuring(passed.open)
          )
        })
      const second = <A, E>(read: Effect.Effect<A, E>) => Effect.andThen(passed.await, read)
      return { connection, first, other, over, second } as const
    })

  it.live("is a state that the store had: of a token that moves between two of many keys there is one", () =>
    Effect.gen(function* () {
      const at = { first: ["a"], second: ["z"] } as const
      const { connection, first, over, second } = yield* withToken(at)
      const kv = yield* over({
        getMany: (keys) => {
          const read = connection.getMany(keys)
          const names = new Set(keys.map(([name]) => name))
          return names.has("a") ? first(read) : names.has("z") ? second(read) : read
        }
      })
      const many = [at.first, ...Array.from({ length: 14 }, (_, i) => ["n", i] as const), at.second]
      assert.deepStrictEqual((yield* kv.getMany(many)).map(valueOf).filter(Boolean), ["token"])
    })
  )

  it.live("and so is a page of more entries than one read has", () =>
    Effect.gen(function* () {
      const at = { first: ["p", -1], second: ["p", 1_000] } as const
      const { connection, first, other, over, second } = yield* withToken(at)
      yield* on(other, Kv.atomic(Array.from({ length: 600 }, (_, i) => Kv.set(["p", i], i))))
      const kv = yield* over({
        list: (selector, options) => {
          const read = connection.list(selector, options)
          if (options.limit < 100 || selector.start?.[0] === own) return read
          return options.limit === nativeLimits.list ? first(read) : second(read)
        }
      })
      const page = yield* kv.page({ prefix: ["p"] }, { limit: 800 })
      assert.strictEqual(page.entries.filter(({ value }) => value === "token").length, 1)
      assert.strictEqual(page.entries.length, 601)
    })
  )
})

describe("a layer", () => {
  it.live("gives the raw handle as a service, and answers lastingly unavailable once it is closed", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const native = yield* DenoKv.Native
        const kv = yield* Kv.Kv
        yield* kv.set(["a"], 1)
        const entry = yield* Effect.promise(() => native.get(["a"]))
        assert.instanceOf(entry.value, Uint8Array)
        return kv
      })
      const connected = Layer.mergeAll(DenoKv.layerKvConnected(), DenoKv.layerNative)
      const kv = yield* Effect.provide(program, Layer.provide(connected, DenoKv.layerConnection(memory)))
      const error = yield* Effect.flip(kv.get(["a"]))
      assert.strictEqual(error.reason._tag === "Unavailable" && error.reason.lasting, true)
      assert.isFalse(error.isRetryable)
      assert.strictEqual(yield* reasonOf(kv.set(["a"], 2)), "Unavailable")
    })
  )

  it.live("ends the watches of its store with an error when it is closed", () =>
    Effect.gen(function* () {
      for (const path of [":memory:", yield* temporaryFile]) {
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(DenoKv.makeConnection({ path }), scope)
        const waits = yield* Deferred.make<void>()
        const { wake } = connection
        const wait: typeof wake.wait = (version) =>
          Effect.andThen(Deferred.succeed(waits, undefined), wake.wait(version))
        const driver = yield* Scope.provide(DenoKv.makeKvDriver({ ...connection, wake: { ...wake, wait } }), scope)
        const kv = yield* Scope.provide(Kv.make(driver), scope)
        const ended = yield* Effect.forkChild(Effect.flip(Stream.runDrain(kv.watchPrefix([]))), {
          startImmediately: true
        })
        yield* Deferred.await(waits)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Effect.timeout(Fiber.join(ended), "5 seconds")
        assert.include(error.message, "closed")
      }
    })
  )

  it.effect("refuses a log of no length", () =>
    Effect.gen(function* () {
      for (const logLength of [0, -1, 1.5, Number.NaN]) {
        const exit = yield* Effect.exit(Effect.scoped(serviceAt({ ...memory, logLength })))
        assert.isTrue(Exit.hasDies(exit))
      }
    })
  )
})
