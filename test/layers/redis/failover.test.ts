/** Another server takes over: through Sentinel, under load, by hand, and with a replica that had not everything. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, References } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { caughtUp, lag, promote, startRedis, startSentinel, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { load } from "./loadFaults.ts"
import {
  connectionsOf,
  freshNamespace,
  inspectKv,
  Jobs,
  kvOver,
  modes,
  reasonOf,
  rejections,
  roomOver,
  succeeds,
  sum,
  until,
  using,
  warnings,
  watching,
  working
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

describe("a failover through Sentinel", () => {
  it.live(
    "under load: everybody comes to the new master by himself, when it was asked for and when the master died",
    () =>
      Effect.gen(function* () {
        const unheard = yield* rejections
        const group = yield* startSentinel()
        const sentinel = { sentinels: [group.address], name: group.name }
        const namespace = freshNamespace()
        const rooms = yield* Effect.forEach([1, 2], (n) =>
          roomOver({ sentinel, namespace, clientName: `failover-${n}` })
        )
        const unscripted = yield* roomOver({ sentinel, namespace: `${namespace}-u`, scripts: "never" })
        const running = yield* load({ rooms, lossy: true })
        const beside = yield* load({ rooms: [unscripted], lossy: true })
        const progress = Effect.gen(function* () {
          const [commits, accepted, handled, others] = [
            running.commits(),
            running.accepted(),
            running.handled(),
            beside.commits()
          ]
          yield* until(
            "writers, producers and workers make progress",
            () =>
              running.commits() > commits + 50 &&
              running.accepted() > accepted + 50 &&
              running.handled() > handled + 50 &&
              beside.commits() > others + 20,
            "20 seconds"
          )
        })
        yield* progress
        const second = yield* group.failover
        yield* progress
        // What it answered in the last moments is lost, and no more.
        for (const server of group.servers) if (server !== second) yield* caughtUp(second, server)
        yield* second.kill
        const third = yield* group.successor(second)
        yield* progress
        yield* running.certain
        yield* beside.certain
        yield* progress
        yield* running.end("two failovers, with scripts")
        yield* beside.end("two failovers, without scripts")
        for (const name of [namespace, `${namespace}-u`]) {
          const { problems } = yield* inspectKv(third, name)
          assert.deepStrictEqual(problems, [])
        }
        assert.deepStrictEqual(unheard, [])
      }).pipe(quiet)
  )

  it.live("is found though the Sentinel that is asked first is frozen", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const frozen = yield* startRedis()
      const asked = yield* faultProxy(frozen.port)
      yield* frozen.pause
      const sentinel = { sentinels: [{ host: "127.0.0.1", port: asked.port }, group.address], name: group.name }
      const kv = yield* kvOver({ sentinel, namespace: freshNamespace(), connectTimeout: "2 seconds" })
      assert.isAbove(yield* asked.accepted, 0)
      yield* sum(kv, "n")
      for (const replica of group.servers.slice(1)) yield* caughtUp(group.servers[0], replica)
      yield* group.servers[0].kill
      yield* group.successor(group.servers[0])
      yield* until("it works with the new master", Effect.as(sum(kv, "n"), true), "6 seconds")
    }).pipe(quiet)
  )

  it.live("leaves the old master when the Sentinels say so, and not only when it is demoted", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      // As it is by default: an old master that is well is made a replica seconds later.
      yield* withRedis(group.sentinel, (redis) => redis.call("SENTINEL", "DEBUG", "INFO-PERIOD", "10000"))
      const sentinel = { sentinels: [group.address], name: group.name }
      const stores = yield* Effect.forEach(modes, ({ scripts }) =>
        kvOver({ sentinel, namespace: freshNamespace(), scripts })
      )
      for (const kv of stores) yield* sum(kv, "n")
      for (const replica of group.servers.slice(1)) yield* caughtUp(group.servers[0], replica)
      const next = yield* group.failover
      for (const kv of stores) {
        yield* working(kv)
        yield* until(
          "commits go to the new master",
          Effect.gen(function* () {
            const mine = yield* sum(kv, "n")
            const log = yield* withRedis(next, (redis) => redis.keys("*:v"))
            const ids = yield* Effect.forEach(log, (key) =>
              withRedis(next, (redis) => redis.lindex(key.slice(0, -1) + "l", -1))
            )
            return ids.some((id) => id?.startsWith(mine.slice(16)) === true)
          }),
          "1500 millis"
        )
      }
    }).pipe(quiet)
  )

  it.live("to a replica that lagged: stale checks are Conflicts, old places are Compacted, a watch is Reset", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const sentinel = { sentinels: [group.address], name: group.name }
      const [first, ...replicas] = group.servers
      yield* Effect.forEach(modes, ({ scripts }) =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const kv = yield* kvOver({ sentinel, namespace, scripts })
          yield* kv.set(["w", "kept"], 1)
          yield* kv.set(["a"], "kept")
          for (const replica of replicas) yield* caughtUp(first, replica)
          return { kv, namespace, scripts }
        })
      ).pipe(
        Effect.flatMap((stores) =>
          Effect.gen(function* () {
            // Nobody may send them back to their master.
            yield* group.sentinel.pause
            for (const replica of replicas) yield* lag(replica)
            const pasts = yield* Effect.forEach(stores, ({ kv }) =>
              Effect.gen(function* () {
                const watch = yield* watching(kv, ["w"])
                yield* kv.set(["a"], "lost")
                const entry = yield* Effect.flatMap(kv.get(["a"]), Effect.fromOption)
                const stamp = yield* kv.set(["w", "lost"], 1)
                yield* until("the watch has it", () => watch.state.has("lost"))
                return { watch, entry, stamp, cursor: (yield* watching(kv, ["w"])).cursor() }
              })
            )
            yield* first.kill
            yield* promote(replicas[0]!)
            yield* group.sentinel.resume
            yield* group.successor(first)
            for (const [i, { kv }] of stores.entries()) {
              const { cursor, entry, stamp, watch } = pasts[i]!
              yield* working(kv)
              // The counter comes to the number of the entry, with another commit.
              yield* kv.set(["a"], "other")
              const stale = yield* reasonOf(
                "the stale check",
                3_000,
                using(kv)(Kv.atomic([Kv.check(["a"], entry), Kv.set(["a"], "overwritten")]))
              )
              assert.strictEqual(stale._tag, "Conflict")
              for (const since of [cursor, stamp]) {
                const resumed = yield* watching(kv, ["w"], { since })
                yield* until("the resume is refused", () => resumed.failure() !== undefined)
                assert.strictEqual((resumed.failure() as Kv.KvError).reason._tag, "Compacted")
              }
              yield* kv.set(["w", "other"], 2)
              yield* until("the watch has the new state", () => watch.state.has("other"))
              assert.include(watch.tags(), "Reset")
              assert.sameMembers(Array.from(watch.state.keys()), ["kept", "other"])
            }
          })
        )
      )
    }).pipe(quiet)
  )
})

describe("a master that becomes a replica behind one address", () => {
  it.live("is left: the next connection meets the new master", () =>
    Effect.gen(function* () {
      const warned = yield* warnings
      const master = yield* startRedis()
      const namespace = freshNamespace()
      const room = yield* roomOver({ url: master.url, namespace })
      const other = yield* startRedis({ replicaOf: master.port })
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* sum(kv, "n")
        yield* caughtUp(master, other)
        yield* withRedis(master, (redis) => redis.call("REPLICAOF", "127.0.0.1", String(other.port)))
        const reasons = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () => reasonOf("a commit at a replica", 2_000, sum(kv, "n")),
          { concurrency: "unbounded" }
        )
        for (const { _tag } of reasons) assert.strictEqual(_tag, "Unavailable")
        assert.isTrue(
          reasons.some(({ message }) => message.includes("READONLY")),
          reasons[0]!.message
        )
        yield* withRedis(master, (redis) => redis.call("REPLICAOF", "NO", "ONE"))
        yield* working(kv)
        yield* succeeds("the enqueue", 2_000, Jobs.enqueue(1))
        assert.deepStrictEqual(warned, [])
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("a read-only replica given as the address", () => {
  for (const { mode, scripts } of modes)
    it.live(`answers reads, refuses writes by name, and nobody tries for ever, ${mode}`, () =>
      Effect.gen(function* () {
        const master = yield* startRedis()
        const namespace = freshNamespace()
        const source = yield* kvOver({ url: master.url, namespace, scripts })
        yield* sum(source, "n")
        const replica = yield* startRedis({ replicaOf: master.port })
        yield* caughtUp(master, replica)
        const proxy = yield* faultProxy(replica.port)
        const clientName = `replica-${namespace}`
        const kv = yield* kvOver({ url: proxy.through(replica.url), namespace, scripts, clientName })
        assert.strictEqual((yield* Effect.flatMap(kv.get(["n"]), Effect.fromOption)).value, 1n)
        for (let i = 0; i < 5; i++) {
          const calls: ReadonlyArray<Effect.Effect<unknown, unknown, never>> = [
            sum(kv, "n"),
            kv.delete(["n"]),
            kv.set(["x"], 1)
          ]
          for (const call of calls) {
            // While it reconnects after a refusal there is no connection.
            yield* until(
              "the write is refused by name",
              Effect.map(reasonOf("a write", 1_500, call), ({ _tag, message }) => {
                assert.strictEqual(_tag, "Unavailable")
                return message.includes("READONLY")
              }),
              "2 seconds"
            )
          }
        }
        const queue = yield* reasonOf("a queue", 1_500, roomOver({ url: replica.url, namespace, scripts }))
        assert.include(queue.message, "READONLY")
        // One reconnection for each refusal and no more.
        yield* Effect.sleep("300 millis")
        const before = yield* proxy.accepted
        yield* Effect.sleep("500 millis")
        assert.isAtMost((yield* proxy.accepted) - before, 1)
        assert.isAtMost(yield* connectionsOf(replica, clientName), 4)
      }).pipe(quiet)
    )
})
