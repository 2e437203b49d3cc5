/** What a wrong design of the Kv on PostgreSQL would fail: open transactions, old transactions, skew, races, and callers of every isolation. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { makeConnection } from "../../../src/layers/postgres/index.ts"
import { serverUrl } from "../../servers/index.ts"
import {
  assertInOrder,
  atomic,
  count,
  eventually,
  freshSchema,
  inTransaction,
  linesAfter,
  newRoot,
  type Room,
  room,
  stampAt,
  stateOf,
  timed,
  valueAt
} from "./support.ts"

const schema = freshSchema()

const here = Effect.suspend(() => room({ schema }))

const isolated = <A, E>(one: Room, level: string, effect: Effect.Effect<A, E>) =>
  one.client.withTransaction(Effect.andThen(one.client.unsafe(`SET TRANSACTION ISOLATION LEVEL ${level}`), effect))

describe("a transaction of the program", () => {
  it.live("that stays open for 3 seconds with a key written holds up nobody who writes or watches others", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const [one, two] = [yield* here, yield* here]
      const state = yield* stateOf(two.kv, [root])
      yield* one.kv.set([root, "held"], "before")
      let over = false
      const open = yield* Effect.forkChild(
        inTransaction(
          one,
          Effect.gen(function* () {
            yield* one.kv.set([root, "held"], "inside")
            yield* atomic(one.kv, [Kv.check([root, "absent"], null), Kv.set([root, "new"], 1)])
            yield* Effect.sleep("3 seconds")
            over = true
          })
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("100 millis")
      const blocked = yield* Effect.forkChild(two.kv.set([root, "held"], "after"), { startImmediately: true })
      yield* Effect.forEach(
        Array.from({ length: 8 }, (_, writer) => writer),
        (writer) => Effect.forEach(Array.from({ length: 50 }), (_, i) => two.kv.set([root, `w${writer}`], i)),
        { concurrency: "unbounded" }
      )
      yield* eventually(
        "the watch has what the writers wrote",
        Effect.sync(() => Array.from({ length: 8 }, (_, writer) => state.get(`w${writer}`)).every((n) => n === 49))
      )
      assert.isFalse(over, "they waited for the open transaction")
      assert.deepStrictEqual([state.get("held"), state.get("new")], ["before", undefined])
      assert.strictEqual(yield* valueAt(two.kv, root, "held"), "before")
      yield* Fiber.join(open)
      yield* Fiber.join(blocked)
      yield* eventually(
        "the watch has the rest",
        Effect.sync(() => state.get("held") === "after" && state.get("new") === 1)
      )
    })
  )

  it.live("that began long before it writes is not passed over by those who watch", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const [one, two] = [yield* here, yield* here]
      const state = yield* stateOf(two.kv, [root])
      const start = yield* two.driver.log.head
      yield* inTransaction(
        one,
        Effect.gen(function* () {
          yield* one.client.unsafe("SELECT pg_current_xact_id()::text")
          for (let i = 0; i < 30; i++) yield* two.kv.set([root, "other"], i)
          yield* eventually(
            "the watch is far ahead",
            Effect.sync(() => state.get("other") === 29)
          )
          yield* one.kv.set([root, "late"], 1)
          yield* one.kv.set([root, "other"], "from the transaction")
          yield* Effect.forkDetach(two.kv.set([root, "other"], "behind it"))
          yield* two.kv.set([root, "more"], 1)
          yield* eventually(
            "the watch goes on",
            Effect.sync(() => state.get("more") === 1)
          )
          assert.isUndefined(state.get("late"))
        })
      )
      yield* eventually(
        "the watch has what the transaction wrote",
        Effect.sync(() => state.get("late") === 1 && state.get("other") === "behind it")
      )
      const { lines } = yield* linesAfter(two.driver, start)
      assertInOrder(lines)
    })
  )

  it.live("takes its Kv writes with it when it is rolled back, and shows them to itself alone before", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const [one, two] = [yield* here, yield* here]
      const state = yield* stateOf(two.kv, [root])
      yield* one.kv.set([root, "a"], "before")
      const result = yield* Effect.result(
        one.client.withTransaction(
          Effect.gen(function* () {
            yield* one.kv.set([root, "a"], "inside")
            yield* one.kv.set([root, "b"], 1)
            yield* one.kv.delete([root, "a"])
            yield* count(one.kv, [root, "n"], 5n)
            assert.deepStrictEqual(
              [yield* valueAt(one.kv, root, "a"), yield* valueAt(one.kv, root, "n")],
              [undefined, 5n]
            )
            assert.deepStrictEqual(
              [yield* valueAt(two.kv, root, "a"), yield* valueAt(two.kv, root, "n")],
              ["before", undefined]
            )
            return yield* Effect.fail("rolled back" as const)
          })
        )
      )
      assert.isTrue(Result.isFailure(result))
      assert.deepStrictEqual(
        [yield* valueAt(one.kv, root, "a"), yield* valueAt(one.kv, root, "b"), yield* valueAt(one.kv, root, "n")],
        ["before", undefined, undefined]
      )
      // A savepoint that is undone takes its part only.
      yield* inTransaction(
        one,
        Effect.gen(function* () {
          yield* one.kv.set([root, "kept"], 1)
          yield* Effect.result(
            one.client.withTransaction(Effect.andThen(one.kv.set([root, "lost"], 1), Effect.fail(1)))
          )
          yield* one.kv.set([root, "end"], 1)
        })
      )
      yield* eventually(
        "the watch has the end",
        Effect.sync(() => state.get("end") === 1)
      )
      assert.deepStrictEqual(
        new Map(state),
        new Map<string, unknown>([
          ["a", "before"],
          ["kept", 1],
          ["end", 1]
        ])
      )
    })
  )

  it.live("goes on after a commit that was refused, and nothing of that commit is left", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const one = yield* here
      yield* one.kv.set([root, "json"], 1)
      yield* count(one.kv, [root, "full"], 2n ** 63n - 1n)
      const locked = Effect.map(
        Effect.orDie(one.client.unsafe(`SELECT k FROM "${schema}".kv WHERE n = 0`)),
        (rows) => rows.length
      )
      const before = yield* locked
      yield* inTransaction(
        one,
        Effect.gen(function* () {
          yield* one.kv.set([root, "first"], 1)
          const refused = [
            [Kv.check([root, "json"], null)],
            [Kv.check([root, "none"], "0".repeat(36) as Kv.Versionstamp)],
            [Kv.sum([root, "json"], 1n)],
            [Kv.sum([root, "full"], 1n)],
            [Kv.set([root, "text"], "x"), Kv.sum([root, "text"], 1n)],
            [Kv.sum([root, "twice"], 2n ** 63n - 1n), Kv.sum([root, "twice"], 1n)]
          ]
          const tags: Array<string> = []
          for (const steps of refused) {
            const error = yield* Effect.flip(
              atomic(one.kv, [
                Kv.set([root, "made"], 1),
                Kv.delete([root, "first"]),
                ...steps,
                Kv.set([root, "made", 2], 1)
              ])
            )
            tags.push(error._tag === "Conflict" ? `Conflict ${error.failed}` : error.reason._tag)
          }
          assert.deepStrictEqual(tags, [
            "Conflict 0",
            "Conflict 0",
            "NotACounter",
            "CounterOverflow",
            "NotACounter",
            "CounterOverflow"
          ])
          yield* one.kv.set([root, "last"], 1)
        })
      )
      const { entries } = yield* one.kv.page({ prefix: [root] })
      assert.deepStrictEqual(
        entries.map(({ key }) => key[1]),
        ["first", "full", "json", "last"]
      )
      assert.strictEqual(yield* locked, before, "rows that were made to be locked are left")
    })
  )

  for (const level of ["REPEATABLE READ", "SERIALIZABLE"])
    it.live(`can be ${level}: others who write other keys do not fail it, one who writes its key does`, () =>
      Effect.gen(function* () {
        const root = newRoot()
        const [one, two] = [yield* here, yield* here]
        const state = yield* stateOf(two.kv, [root])
        yield* one.kv.set([root, "read"], "before")
        const start = yield* two.driver.log.head
        yield* Effect.orDie(
          isolated(
            one,
            level,
            Effect.gen(function* () {
              assert.strictEqual(yield* valueAt(one.kv, root, "read"), "before")
              yield* two.kv.set([root, "read"], "after")
              for (let i = 0; i < 20; i++) yield* two.kv.set([root, `other-${i % 5}`], i)
              assert.strictEqual(yield* valueAt(one.kv, root, "read"), "before", "one snapshot")
              yield* one.kv.set([root, "own"], 1)
              yield* atomic(one.kv, [
                Kv.check([root, "own-2"], null),
                Kv.set([root, "own-2"], 2),
                Kv.sum([root, "n"], 1n)
              ])
              yield* two.kv.set([root, "between"], 1)
            })
          )
        )
        yield* eventually(
          "the watch has both",
          Effect.sync(() => state.get("own") === 1 && state.get("own-2") === 2 && state.get("between") === 1)
        )
        assertInOrder((yield* linesAfter(two.driver, start)).lines)

        const lost = yield* Effect.result(
          isolated(
            one,
            level,
            Effect.gen(function* () {
              yield* one.kv.get([root, "read"])
              yield* two.kv.set([root, "read"], "changed since")
              yield* one.kv.set([root, "read"], "overwritten")
            })
          )
        )
        assert.isTrue(Result.isFailure(lost) && lost.failure instanceof Kv.KvError && lost.failure.isRetryable)
        assert.strictEqual(yield* valueAt(two.kv, root, "read"), "changed since")
      })
    )

  it.live("8 SERIALIZABLE ones at a time that are tried again all count, next to plain writers", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const [one, two] = [yield* here, yield* here]
      const bump = (i: number): Effect.Effect<void> =>
        isolated(one, i % 2 === 0 ? "SERIALIZABLE" : "REPEATABLE READ", count(one.kv, [root, "n"])).pipe(
          Effect.asVoid,
          Effect.retry({ times: 200 }),
          Effect.orDie
        )
      yield* Effect.all(
        [
          Effect.forEach(Array.from({ length: 64 }), (_, i) => bump(i), { concurrency: 8, discard: true }),
          Effect.forEach(Array.from({ length: 100 }), () => count(two.kv, [root, "n"]), {
            concurrency: 4,
            discard: true
          })
        ],
        { concurrency: "unbounded" }
      )
      assert.strictEqual(yield* valueAt(one.kv, root, "n"), 164n)
    })
  )
})

describe("somebody in another database", () => {
  it.live("who has a transaction open delays no watcher", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const url = new URL(yield* serverUrl("postgres"))
      const one = yield* here
      const name = `other_${globalThis.crypto.randomUUID().slice(0, 8)}`
      yield* one.client.unsafe(`CREATE DATABASE ${name}`)
      yield* Effect.addFinalizer(() => Effect.ignore(one.client.unsafe(`DROP DATABASE ${name} WITH (FORCE)`)))
      url.pathname = `/${name}`
      const other = yield* makeConnection({ url: url.href, schema, listen: false })
      const state = yield* stateOf(one.kv, [root])
      yield* other.client.withTransaction(
        Effect.gen(function* () {
          yield* other.client.unsafe("CREATE TABLE t (a int)")
          for (let i = 0; i < 20; i++) {
            const [millis] = yield* timed(
              Effect.andThen(
                one.kv.set([root, "a"], i),
                eventually(
                  "the watch has it",
                  Effect.sync(() => state.get("a") === i)
                )
              )
            )
            assert.isBelow(millis, 1_000)
          }
        })
      )
    }).pipe(Effect.orDie)
  )
})

describe("commits that meet", () => {
  it.live("allow no write skew through their checks, of keys that are there or not", () =>
    Effect.gen(function* () {
      const rooms = [yield* here, yield* here]
      let both = 0
      let none = 0
      for (let round = 0; round < 150; round++) {
        const root = newRoot()
        const there = round % 2 === 0
        if (there) yield* atomic(rooms[0]!.kv, [Kv.set([root, "a"], "free"), Kv.set([root, "b"], "free")])
        const expected = yield* Effect.forEach(["a", "b"], (name) =>
          there ? stampAt(rooms[0]!.kv, [root, name]) : Effect.succeed(null)
        )
        // Each takes its own unless the other is taken.
        const results = yield* Effect.forEach(
          [0, 1],
          (i) =>
            Effect.result(
              atomic(rooms[i]!.kv, [
                Kv.check([root, i === 0 ? "b" : "a"], expected[1 - i]!),
                Kv.set([root, i === 0 ? "a" : "b"], "taken")
              ])
            ),
          { concurrency: "unbounded" }
        )
        const won = results.filter(Result.isSuccess).length
        if (won === 2) both++
        if (won === 0) none++
      }
      assert.deepStrictEqual([both, none], [0, 0])
    })
  )

  it.live(
    "race to make and to delete one key: one makes it at a time, and every watcher ends with what is stored",
    () =>
      Effect.gen(function* () {
        const root = newRoot()
        const rooms = [yield* here, yield* here, yield* here]
        const key: Kv.Key = [root, "k"]
        const state = yield* stateOf(rooms[2]!.kv, [root])
        const start = yield* rooms[0]!.driver.log.head
        const made: Array<string> = []
        yield* Effect.forEach(
          Array.from({ length: 12 }, (_, i) => i),
          (i) =>
            Effect.gen(function* () {
              const { kv } = rooms[i % 2]!
              for (let n = 0; n < 60; n++) {
                if (i % 4 === 3) yield* kv.delete(key)
                else if (i % 4 === 2) yield* kv.set(key, `${i}.${n}`)
                else {
                  const result = yield* Effect.result(atomic(kv, [Kv.check(key, null), Kv.set(key, `${i}.${n}`)]))
                  if (Result.isSuccess(result)) made.push(result.success)
                }
              }
            }),
          { concurrency: "unbounded" }
        )
        const { lines } = yield* linesAfter(rooms[0]!.driver, start)
        assertInOrder(lines)
        // Before each commit that found nothing there was a delete, or nothing at all.
        const makers = new Set(made)
        let there = false
        for (const { op, versionstamp } of lines) {
          if (makers.has(versionstamp)) assert.isFalse(there, "made what was there")
          there = op === "put"
        }
        assert.isAbove(makers.size, 0)
        const stored = yield* valueAt(rooms[0]!.kv, ...key)
        yield* eventually(
          "the watch has what is stored",
          Effect.sync(() => state.get("k") === stored)
        )
      })
  )

  it.live(
    "leave alone what was written later: one that deletes a missing key, slowly, and one that makes it meanwhile",
    () =>
      Effect.gen(function* () {
        // A schema of its own: writing "slow" waits there while somebody holds the lock.
        const own = freshSchema()
        const { client } = yield* room({ schema: own })
        const [one, other] = [yield* room({ schema: own }), yield* room({ schema: own })]
        yield* Effect.addFinalizer(() => Effect.orDie(client.unsafe(`DROP SCHEMA "${own}" CASCADE`)))
        for (const statement of [
          `CREATE FUNCTION "${own}".slow() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.doc = '"slow"' THEN PERFORM pg_advisory_xact_lock(hashtext('${own}')); END IF; RETURN NEW; END $$`,
          `CREATE TRIGGER slow BEFORE UPDATE ON "${own}".kv FOR EACH ROW EXECUTE FUNCTION "${own}".slow()`
        ])
          yield* client.unsafe(statement)
        const start = yield* other.driver.log.head
        const slow = yield* client.withTransaction(
          Effect.gen(function* () {
            yield* client.unsafe(`SELECT pg_advisory_xact_lock(hashtext('${own}'))`)
            const commit = yield* Effect.forkChild(atomic(one.kv, [Kv.set(["other"], "slow"), Kv.delete(["missing"])]))
            yield* eventually(
              "it has its number and waits",
              Effect.map(
                other.client.unsafe(
                  `SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%"${own}".kv_commit(%'`
                ),
                (rows) => rows.length === 1
              )
            )
            yield* other.kv.set(["missing"], "later")
            return commit
          })
        )
        yield* Fiber.join(slow)
        assert.strictEqual(yield* valueAt(other.kv, "missing"), "later")
        const { lines } = yield* linesAfter(other.driver, start)
        assert.deepStrictEqual(
          lines.map(({ op }) => op),
          ["put", "put"]
        )
      })
  )

  it.live("name many keys in any order: nobody waits in a circle", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const rooms = [yield* here, yield* here]
      const [millis] = yield* timed(
        Effect.forEach(
          Array.from({ length: 16 }, (_, i) => i),
          (i) =>
            Effect.gen(function* () {
              const { kv } = rooms[i % 2]!
              for (let n = 0; n < 25; n++) {
                const names = Array.from({ length: 6 }, (_, j) => (i * 7 + n * 3 + j * 5) % 11)
                const steps = (n % 2 === 0 ? names : names.toReversed()).map((name) =>
                  (i + n) % 5 === 0 ? Kv.delete([root, name]) : Kv.set([root, name], i)
                )
                yield* atomic(kv, [...steps, Kv.sum([root, "n"], 1n)])
              }
            }),
          { concurrency: "unbounded" }
        )
      )
      assert.strictEqual(yield* valueAt(rooms[0]!.kv, root, "n"), 400n)
      // The server looks for a deadlock after a second of waiting.
      console.log(`400 commits of 7 contended keys: ${millis} ms`)
      const deadlocks = yield* Effect.orDie(
        rooms[0]!.client.unsafe<{ readonly n: bigint }>(
          "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()"
        )
      )
      console.log(`deadlocks that the server has counted: ${deadlocks[0]!.n}`)
    })
  )
})
