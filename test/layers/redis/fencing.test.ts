/** A store that was set back or emptied: nothing stale passes, nothing is skipped, and everybody goes on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import { caughtUp, lag, promote, startRedis, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import {
  freshNamespace,
  Jobs,
  keepDoing,
  kvOver,
  modes,
  reasonOf,
  roomOver,
  sum,
  until,
  using,
  valueAt,
  watching,
  working
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const some = (kv: Kv.Service, key: string) => Effect.flatMap(kv.get([key]), Effect.fromOption)

/** What must be refused about an entry and a cursor that the store has forgotten. */
const refusesThePast = (
  kv: Kv.Service,
  past: { readonly entry: Kv.Entry; readonly cursor: Kv.Cursor; readonly stamp: Kv.Versionstamp }
) =>
  Effect.gen(function* () {
    const { cursor, entry, stamp } = past
    const stale = yield* reasonOf(
      "the stale check",
      3_000,
      using(kv)(Kv.atomic([Kv.check(entry.key, entry), Kv.set(entry.key, "overwritten")]))
    )
    assert.strictEqual(stale._tag, "Conflict")
    for (const since of [cursor, stamp, entry.versionstamp]) {
      const resumed = yield* watching(kv, ["w"], { since })
      yield* until("the resume is refused", () => resumed.failure() !== undefined)
      assert.include(String((resumed.failure() as Kv.KvError).reason._tag), "Compacted")
    }
  })

describe("FLUSHALL", () => {
  for (const { mode, scripts } of modes)
    it.live(
      `makes every entry, cursor and versionstamp of before stale, also when the numbers come again, ${mode}`,
      () =>
        Effect.gen(function* () {
          const server = yield* startRedis()
          const kv = yield* kvOver({ url: server.url, namespace: freshNamespace(), scripts })
          for (let i = 0; i < 5; i++) yield* kv.set(["w", i], i)
          yield* kv.set(["a"], "old")
          const entry = yield* some(kv, "a")
          const watch = yield* watching(kv, ["w"])
          const stamp = yield* kv.set(["w", "last"], 1)
          yield* until("the watch has it", () => watch.state.has("last"))
          const past = { entry, cursor: watch.cursor(), stamp }

          yield* withRedis(server, (redis) => redis.flushall())
          // The counter is behind, then exactly there, then beyond.
          for (const least of [3, 6, 7, 8, 20]) {
            while (true) {
              const number = Number.parseInt((yield* kv.set(["a"], "new")).slice(0, 16), 16)
              if (number >= least) break
            }
            yield* refusesThePast(kv, past)
            assert.strictEqual((yield* some(kv, "a")).value, "new")
          }
          yield* kv.set(["w", "new"], 1)
          yield* until("the watch tells the new state", () => watch.state.has("new"))
          assert.include(watch.tags(), "Reset")
          assert.deepStrictEqual(Array.from(watch.state.keys()), ["new"])
          assert.strictEqual(watch.failure(), undefined)
        }).pipe(quiet)
    )

  for (const { mode, scripts } of modes)
    it.live(`is noticed by a watch though the counter came to the same number before it looked, ${mode}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis()
        const namespace = freshNamespace()
        const proxy = yield* faultProxy(server.port)
        const kv = yield* kvOver({ url: proxy.through(server.url), namespace, scripts })
        const outside = yield* kvOver({ url: server.url, namespace, scripts })
        yield* outside.set(["w", "old"], 1)
        const watch = yield* watching(kv, ["w"])
        // It waits by now.
        yield* Effect.sleep("100 millis")
        yield* proxy.refuse
        yield* proxy.cut
        yield* withRedis(server, (redis) => redis.flushall())
        yield* outside.set(["w", "new"], 2)
        yield* proxy.accept
        yield* until("the watch tells the new state", () => watch.state.has("new"), "4 seconds")
        assert.include(watch.tags(), "Reset")
        assert.deepStrictEqual(Array.from(watch.state.keys()), ["new"])
      }).pipe(quiet)
    )

  it.live("under workers and producers crashes nobody: new messages are handled, old ones are gone", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const namespace = freshNamespace()
      const room = yield* roomOver({ url: server.url, namespace })
      const idle = yield* roomOver({ url: server.url, namespace: `${namespace}-idle` })
      const handled: Array<number> = []
      const worker = Jobs.worker(
        (n) =>
          Effect.andThen(
            Effect.sleep("2 millis"),
            Effect.sync(() => void handled.push(n))
          ),
        {
          concurrency: 4,
          prefetch: 4,
          lease: "1 second"
        }
      )
      // Another queue, whose worker waits: what would wake it is forgotten too.
      const idleHandled: Array<number> = []
      yield* Effect.provide(Layer.build(Jobs.worker((n) => Effect.sync(() => void idleHandled.push(n)))), idle)
      yield* Effect.provide(Jobs.enqueue(0), idle)
      yield* until("the idle worker works", () => idleHandled.length === 1)

      yield* Effect.gen(function* () {
        yield* Layer.build(worker)
        let n = 0
        const stop = yield* keepDoing(
          Effect.orDie(
            Effect.suspend(() =>
              Jobs.enqueueAll([n++, n++], { group: n % 3 === 0 ? "g" : undefined, delay: n % 5 === 0 ? 20 : 0 })
            )
          )
        )
        for (let i = 0; i < 5; i++) {
          const before = handled.length
          yield* until("messages are handled", () => handled.length > before + 30)
          yield* withRedis(server, (redis) => redis.flushall())
        }
        yield* stop
        yield* until(
          "what is there is handled",
          Effect.map(Jobs.stats, ({ claimed, delayed, ready }) => claimed === 0 && delayed === 0 && ready === 0)
        )
        const before = handled.length
        yield* Jobs.enqueueAll([1_000_001, 1_000_002, 1_000_003])
        yield* until("new messages are handled", () => handled.length === before + 3, "11 seconds")
        const twice = handled.length - new Set(handled).size
        console.log(`emptied five times: accepted ${n + 3}, handled ${new Set(handled).size}, handled twice ${twice}`)
        assert.strictEqual(twice, 0)
        // A handler that has ended is settled behind it.
        yield* until(
          "nothing is left",
          Effect.map(
            Jobs.stats,
            ({ claimed, dead, delayed, ready }) => ready === 0 && delayed === 0 && claimed === 0 && dead === 0
          )
        )
      }).pipe(Effect.provide(room))
      yield* Effect.provide(Jobs.enqueue(1), idle)
      yield* until("the idle worker goes on", () => idleHandled.length === 2, "11 seconds")
    }).pipe(quiet)
  )
})

describe("a replica that lagged and was promoted", () => {
  for (const { mode, scripts } of modes)
    it.live(`lets no stale check pass and skips no change, ${mode}`, () =>
      Effect.gen(function* () {
        const master = yield* startRedis()
        const replica = yield* startRedis({ replicaOf: master.port })
        const namespace = freshNamespace()
        // The address stays, and another server answers there.
        const proxy = yield* faultProxy(master.port)
        const kv = yield* kvOver({ url: proxy.through(master.url), namespace, scripts })
        for (let i = 0; i < 4; i++) yield* kv.set(["w", i], i)
        yield* kv.set(["a"], "kept")
        yield* caughtUp(master, replica)
        yield* lag(replica)
        const watch = yield* watching(kv, ["w"])
        yield* kv.set(["a"], "lost")
        const entry = yield* some(kv, "a")
        const stamp = yield* kv.set(["w", "lost"], 1)
        yield* until("the watch has it", () => watch.state.has("lost"))
        const past = { entry, cursor: (yield* watching(kv, ["w"])).cursor(), stamp }

        yield* promote(replica)
        const other = yield* kvOver({ url: replica.url, namespace, scripts })
        yield* proxy.refuse
        yield* proxy.cut
        // As many commits as were lost: the counter stands where it stood.
        yield* other.set(["a"], "other")
        yield* other.set(["w", "other"], 2)
        assert.strictEqual(yield* valueAt(other, "w", "lost"), undefined)
        yield* refusesThePast(other, past)
        const seen = yield* watching(other, ["w"])
        assert.sameMembers(Array.from(seen.state.keys()), ["0", "1", "2", "3", "other"])
        // What the replica had is no past that was lost: it is read on from there.
        const resumed = yield* watching(other, ["w"], { since: watch.cursor() })
        yield* until("the resumed watch has it", () => resumed.state.has("other"))
        assert.deepStrictEqual(Array.from(resumed.state.keys()), ["other"])

        // The client of before comes to the new master.
        const moved = yield* kvOver({ url: replica.url, namespace, scripts })
        yield* refusesThePast(moved, past)
        assert.strictEqual((yield* some(moved, "a")).value, "other")
        yield* sum(moved, "n")
        yield* working(moved)
      }).pipe(quiet)
    )
})

describe("a server that is set back while a watch reads the state it begins with", () => {
  const key: Kv.Key = ["w", "a"]
  const page = Array.from({ length: 300 }, (_, i) => Kv.set(["w", "b", i], i))
  const cases = [
    ["of a prefix, behind its last page", (kv: Kv.Service) => kv.watchPrefix(["w"]), "read"],
    ["of a prefix, between two pages", (kv: Kv.Service) => kv.watchPrefix(["w"]), "list"],
    ["of a key", (kv: Kv.Service) => kv.watch([key]), "read"]
  ] as const
  for (const [name, watch, when] of cases)
    it.live(`does not hide the final state from it: ${name}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis()
        const connection = yield* Redis.makeConnection({ url: server.url, namespace: freshNamespace() })
        const driver = yield* Redis.makeKvDriver(connection)
        const other = yield* Kv.make(driver)
        yield* using(other)(Kv.atomic(page))
        const copy = yield* withRedis(server, async (redis) =>
          Promise.all((await redis.keysBuffer("*")).map(async (one) => [one, await redis.dumpBuffer(one)] as const))
        )
        const setBack = Effect.andThen(
          withRedis(server, async (redis) => {
            await redis.flushall()
            await Promise.all(copy.map(([one, dump]) => redis.restore(one, 0, dump)))
          }),
          other.set(key, "final")
        )
        /** Before the first call an effect, before the second another. */
        const before = <A>(...first: ReadonlyArray<Effect.Effect<unknown, unknown>>) => {
          let calls = 0
          return (call: Effect.Effect<A, Kv.KvError>) =>
            Effect.suspend(() => Effect.andThen(Effect.orDie(first[calls++] ?? Effect.void), call))
        }
        const lost = other.set(key, "lost")
        const listing = before<Effect.Success<ReturnType<typeof driver.list>>>(
          lost,
          ...(when === "list" ? [setBack] : [])
        )
        const getting = before<Effect.Success<ReturnType<typeof driver.getMany>>>(lost)
        const reading = before<Kv.LogRead>(...(when === "read" ? [setBack] : []))
        const kv = yield* Kv.make({
          ...driver,
          list: (range, options) => listing(driver.list(range, options)),
          getMany: (keys) => getting(driver.getMany(keys)),
          log: { ...driver.log, read: (options) => reading(driver.log.read(options)) }
        })
        const seen: Array<unknown> = []
        yield* watch(kv).pipe(
          Stream.runForEachWhile((change) =>
            Effect.sync(() => {
              const told = change._tag === "Put" ? change.entry.value : change._tag
              if (typeof told !== "number") seen.push(told)
              return !(told === "Synced" && seen.includes("final"))
            })
          ),
          Effect.timeoutOption("8 seconds")
        )
        assert.deepStrictEqual(seen, ["lost", "Reset", "final", "Synced"])
      }).pipe(quiet)
    )
})
