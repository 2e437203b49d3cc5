/** The change log of the Kv on PostgreSQL, and what grows: complete, in order, and no longer than it shall be. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { unpack } from "../../../src/internal/keyCodec.ts"
import * as Kv from "../../../src/Kv.ts"
import type { LogLine } from "../../../src/kv/driver.ts"
import { startServer } from "../../servers/index.ts"
import {
  assertInOrder,
  atomic,
  eventually,
  freshSchema,
  inTransaction,
  linesAfter,
  newRoot,
  type Room,
  room,
  roomOver,
  timed
} from "./support.ts"
import { machinePace } from "../../../src/testing/pace.ts"

const schema = freshSchema()

const here = Effect.suspend(() => room({ schema }))

describe("the change log", () => {
  it.live("loses, doubles and inverts nothing under many writers of every kind, read in pages of any size", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const rooms = yield* Effect.all([here, here, here, here])
      const reader = yield* here
      const start = yield* reader.driver.log.head
      const written = new Set<string>()
      const wrote = (names: ReadonlyArray<string>) => (stamp: string) =>
        Effect.sync(() => {
          for (const name of names) written.add(`${name} ${stamp}`)
        })
      /** In a transaction of the program that takes a while, with keys of its own; every other one is rolled back. */
      const slowly = (one: Room, i: number, n: number) =>
        Effect.gen(function* () {
          const mine = [`t${i}x`, `t${i}y`]
          const given = yield* one.client.withTransaction(
            Effect.gen(function* () {
              const stamps: Array<string> = []
              for (const name of mine) {
                stamps.push(yield* one.kv.set([root, name], n))
                yield* Effect.sleep((i % 4) * 3)
              }
              return n % 20 === 9 ? stamps : yield* Effect.fail("rolled back")
            })
          )
          for (const [at, name] of mine.entries()) yield* wrote([name])(given[at]!)
        }).pipe(Effect.ignore)
      const writers = Effect.forEach(
        Array.from({ length: 16 }, (_, i) => i),
        (i) =>
          Effect.gen(function* () {
            const one = rooms[i % 4]!
            for (let n = 0; n < 120; n++) {
              const a = `k${(i * 13 + n * 7) % 20}`
              const b = `n${(i + n) % 20}`
              if (n % 10 === 9) yield* slowly(one, i, n)
              else if (n % 3 === 0)
                yield* Effect.tap(atomic(one.kv, [Kv.set([root, a], n), Kv.sum([root, b], 1n)]), wrote([a, b]))
              else yield* Effect.tap(one.kv.set([root, a], n), wrote([a]))
            }
          }),
        { concurrency: "unbounded", discard: true }
      )
      const running = yield* Effect.forkChild(writers, { startImmediately: true })
      const seen: Array<LogLine> = []
      let at = start
      while (running.pollUnsafe() === undefined) {
        const page = yield* linesAfter(reader.driver, at, 1 + (seen.length % 17))
        seen.push(...page.lines)
        at = page.next
      }
      yield* Fiber.join(running)
      seen.push(...(yield* linesAfter(reader.driver, at)).lines)
      assertInOrder(seen)
      const found = seen
        .map(({ key, versionstamp }) => ({ key: unpack(key) as Kv.Key, versionstamp }))
        .filter(({ key }) => key[0] === root)
        .map(({ key, versionstamp }) => `${String(key[1])} ${versionstamp}`)
      assert.sameMembers(found, Array.from(written))
      // Read at once and in the smallest pages it is the same.
      const whole = (yield* linesAfter(reader.driver, start, 100_000)).lines
      const single = (yield* linesAfter(reader.driver, start, 3)).lines
      const text = (lines: ReadonlyArray<LogLine>) => lines.map(({ key, versionstamp }) => key + versionstamp)
      assert.deepStrictEqual(text(single), text(whole))
      assert.strictEqual(whole.length, seen.length)
      console.log(`${written.size} changes by 16 writers, read in ${seen.length} lines`)
    })
  )
})

describe("what grows", () => {
  it.live(
    "the log is trimmed to about its length, not beyond what an open transaction may still show, and old places are refused",
    () =>
      Effect.gen(function* () {
        const own = freshSchema()
        // A server of its own: transactions of others would keep more of the log.
        const { url } = yield* startServer("postgres")
        const over = roomOver({ url, schema: own, logLength: 200 })
        const one = yield* over
        const lines = Effect.map(
          Effect.orDie(one.client.unsafe(`SELECT n FROM "${own}".kv_log`)),
          (rows) => rows.length
        )
        const old = yield* one.driver.log.head
        for (let i = 0; i < 600; i++) yield* one.kv.set(["a"], i)
        yield* eventually(
          "the log is short",
          Effect.map(lines, (n) => n < 300)
        )
        assert.strictEqual(
          (yield* one.driver.log.read({ after: old, watched: { _tag: "Keys", keys: new Set() }, limit: 1 }))._tag,
          "Trimmed"
        )
        yield* Effect.timeout(one.driver.log.grown(old), "1 second")
        yield* inTransaction(
          one,
          Effect.gen(function* () {
            yield* one.client.unsafe("SELECT pg_current_xact_id()::text")
            const other = yield* over
            yield* other.kv.set(["a"], "first")
            const during = yield* other.driver.log.head
            for (let i = 0; i < 400; i++) yield* other.kv.set(["a"], i)
            assert.strictEqual((yield* linesAfter(other.driver, during)).lines.length, 400)
          })
        )
        for (let i = 0; i < 50; i++) yield* one.kv.set(["a"], i)
        yield* eventually(
          "the log is short again",
          Effect.map(lines, (n) => n < 300)
        )
      })
  )

  it.live(
    "rows that were only locked are swept, and an entry that somebody has locked does not make the sweeper spin",
    () =>
      Effect.gen(function* () {
        const own = freshSchema()
        const one = yield* room({ schema: own })
        const rows = Effect.map(Effect.orDie(one.client.unsafe(`SELECT k FROM "${own}".kv`)), (found) => found.length)
        yield* atomic(one.kv, [Kv.check(["absent"], null), Kv.check(["absent", 2], null)])
        assert.strictEqual(yield* rows, 2)
        assert.deepStrictEqual((yield* one.kv.page({ prefix: [] })).entries, [])
        yield* one.client.unsafe(`UPDATE "${own}".kv SET expires = clock_timestamp()`)
        const before = yield* one.driver.log.head
        yield* one.driver.sweep
        assert.strictEqual(yield* rows, 0)
        assert.deepStrictEqual((yield* linesAfter(one.driver, before)).lines, [])

        const other = yield* room({ schema: own })
        yield* one.kv.set(["due"], 1, { expireIn: "1 second" })
        yield* inTransaction(
          one,
          Effect.gen(function* () {
            yield* one.client.unsafe(`SELECT 1 FROM "${own}".kv FOR UPDATE`)
            yield* Effect.sleep("1010 millis")
            const [now, next] = [yield* other.driver.now, yield* other.driver.sweep]
            assert.isAtLeast(next!, now + 200)
          })
        )
        yield* eventually(
          "it is swept",
          Effect.map(rows, (n) => n === 0)
        )
      })
  )

  it.live("a store that fills up behind prepared statements is still read by its index", () =>
    Effect.gen(function* () {
      const own = freshSchema()
      const one = yield* room({ schema: own, maxConnections: 2, listen: false })
      // Every statement is prepared and planned while the tables are empty.
      const look = Effect.gen(function* () {
        yield* one.kv.getMany([
          ["p", 5],
          ["p", 70_000]
        ])
        yield* one.kv.page({ prefix: ["p", 70_000] })
        yield* one.kv.set(["p", 7], "x")
        yield* atomic(one.kv, [Kv.check(["q"], null), Kv.set(["p", 9], "x"), Kv.sum(["n"], 1n), Kv.delete(["p", 11])])
        yield* one.driver.log.read({
          after: yield* one.driver.log.head,
          watched: { _tag: "Keys", keys: new Set() },
          limit: 9
        })
        yield* one.driver.sweep
      })
      for (let i = 0; i < 7; i++) yield* look
      for (let i = 0; i < 60; i++)
        yield* atomic(
          one.kv,
          Array.from({ length: 1_000 }, (_, n) => Kv.set(["p", i * 1_000 + n], "some text"))
        )
      const [millis] = yield* timed(Effect.repeat(look, { times: 49 }))
      console.log(`50 rounds of 6 operations over 60,000 entries: ${millis} ms`)
      assert.isBelow(millis, 3_000 * machinePace)
    })
  )
})

describe("a store that was set back", () => {
  const refused = (one: Room, after: Kv.Cursor) =>
    Effect.gen(function* () {
      yield* Effect.timeout(one.driver.log.grown(after), "1 second")
      const read = yield* one.driver.log.read({ after, watched: { _tag: "Keys", keys: new Set() }, limit: 1 })
      return read._tag === "Trimmed" ? read.detail : read._tag
    })

  it.live(
    "or made anew does not know the places and versionstamps of before, also when it has come to their numbers again",
    () =>
      Effect.gen(function* () {
        const own = freshSchema()
        const before = yield* room({ schema: own })
        yield* before.kv.set(["a"], 1)
        const stamp = yield* before.kv.set(["a"], 2)
        const place = yield* before.driver.log.head
        assert.isDefined(yield* before.driver.log.locate(stamp))

        // As from a copy of the disk: the same store, and another second commit.
        yield* before.client.unsafe(`UPDATE "${own}".kv_log SET cid = 'abcdefabcdefabcdefab' WHERE n = 2`)
        assert.include(yield* refused(before, place), "set back")
        assert.isUndefined(yield* before.driver.log.locate(stamp))
        // Or with less than that.
        yield* before.client.unsafe(`DELETE FROM "${own}".kv_log WHERE n = 2`)
        assert.include(yield* refused(before, place), "set back")

        yield* before.client.unsafe(`DROP SCHEMA "${own}" CASCADE`)
        const after = yield* room({ schema: own })
        for (let i = 0; i < 3; i++) yield* after.kv.set(["a"], i)
        assert.include(yield* refused(after, place), "another store")
        assert.isUndefined(yield* after.driver.log.locate(stamp))
        const stale = yield* Effect.flip(atomic(after.kv, [Kv.check(["a"], stamp), Kv.set(["a"], "overwritten")]))
        assert.strictEqual(stale._tag, "Conflict")
      })
  )
})
