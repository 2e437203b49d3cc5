/** Group commit of the Kv on PostgreSQL: each member ends by itself, and nobody waits for another's locks but who wants the same key. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import type { Commit } from "../../../src/kv/driver.ts"
import { type Grouped, makeGroups, type Request } from "../../../src/layers/postgres/kv/group.ts"
import { planOf } from "../../../src/layers/postgres/kv/plan.ts"
import { atomic, count, freshSchema, inTransaction, newRoot, room, timed, valueAt } from "./support.ts"
import { machinePace } from "../../../src/testing/pace.ts"

const schema = freshSchema()
const here = Effect.suspend(() => room({ schema }))

const all = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(effects, { concurrency: "unbounded" })

describe("commits that come at once", () => {
  it.live("end each by itself: applied, in conflict, or refused", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const { kv } = yield* here
      yield* kv.set([root, "json"], 1)
      yield* count(kv, [root, "full"], 2n ** 63n - 1n)
      const tags = yield* all(
        Array.from({ length: 200 }, (_, i) => {
          const steps = [
            [Kv.set([root, "a", i], i), Kv.sum([root, "total"], 1n)],
            [Kv.check([root, "json"], null), Kv.set([root, "never"], i)],
            [Kv.set([root, "never"], i), Kv.sum([root, "json"], 1n)],
            [Kv.set([root, "never"], i), Kv.sum([root, "full"], 1n)],
            [Kv.set([root, "c", i], new Uint8Array([i]), { expireIn: "1 hour" })],
            [Kv.check([root, "d", i], null), Kv.set([root, "d", i], i), Kv.delete([root, "json", i])],
            [Kv.set([root, "never"], "text"), Kv.sum([root, "never"], 1n)]
          ][i % 7]!
          return Effect.map(Effect.result(atomic(kv, steps)), (result) =>
            Result.isSuccess(result)
              ? "done"
              : result.failure._tag === "Conflict"
                ? `Conflict ${result.failure.failed}`
                : result.failure.reason._tag
          )
        })
      )
      assert.deepStrictEqual(
        tags,
        tags.map(
          (_, i) => ["done", "Conflict 0", "NotACounter", "CounterOverflow", "done", "done", "NotACounter"][i % 7]!
        )
      )
      assert.strictEqual(yield* valueAt(kv, root, "total"), BigInt(tags.filter((_, i) => i % 7 === 0).length))
      assert.isUndefined(yield* valueAt(kv, root, "never"))
      for (const name of ["a", "c", "d"]) assert.isAbove((yield* kv.page({ prefix: [root, name] })).entries.length, 25)
    })
  )

  it.live("of one key are applied in the order in which they came", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const { kv } = yield* here
      for (let round = 0; round < 20; round++) {
        const stamps = yield* all(Array.from({ length: 40 }, (_, i) => kv.set([root, "a"], i)))
        assert.deepStrictEqual(stamps.toSorted(), stamps)
        assert.strictEqual(yield* valueAt(kv, root, "a"), 39)
      }
    })
  )

  it.live(
    "do not wait for keys that somebody has locked, and leave connections for others, however many want those",
    () =>
      Effect.gen(function* () {
        const root = newRoot()
        const [one, two] = [yield* here, yield* here]
        const names = Array.from({ length: 12 }, (_, i) => i)
        for (const name of names.slice(0, 6)) yield* one.kv.set([root, "locked", name], "before")
        let blocked: Fiber.Fiber<ReadonlyArray<unknown>, Kv.KvError> | undefined
        yield* inTransaction(
          one,
          Effect.gen(function* () {
            // Half of them are there, half are being made.
            for (const name of names) yield* one.kv.set([root, "locked", name], "held")
            blocked = yield* Effect.forkDetach(
              all(Array.from({ length: 120 }, (_, i) => two.kv.set([root, "locked", i % 12], i)))
            )
            yield* Effect.sleep("50 millis")
            for (let round = 0; round < 10; round++) {
              const [millis] = yield* timed(
                all([
                  ...Array.from({ length: 30 }, (_, i) => Effect.asVoid(two.kv.set([root, "free", i], round))),
                  ...Array.from({ length: 30 }, (_, i) => Effect.asVoid(two.kv.get([root, "free", i])))
                ])
              )
              assert.isBelow(millis, 500 * machinePace)
            }
          })
        )
        yield* Fiber.join(blocked!)
        for (const name of names) assert.strictEqual(yield* valueAt(two.kv, root, "locked", name), 108 + name)
      })
  )

  it.live("and want what stays locked fail in time, having written nothing", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const one = yield* here
      const two = yield* room({ schema, commandTimeout: "300 millis" })
      yield* one.kv.set([root, "a"], "before")
      yield* inTransaction(
        one,
        Effect.gen(function* () {
          yield* one.kv.set([root, "a"], "held")
          const [millis, results] = yield* timed(
            all(Array.from({ length: 20 }, (_, i) => Effect.result(two.kv.set([root, "a"], i))))
          )
          for (const result of results)
            assert.isTrue(
              Result.isFailure(result) && result.failure.reason._tag === "Unavailable",
              `it was to fail: ${String(result)}`
            )
          assert.isBelow(millis, 2_000)
        })
      )
      yield* Effect.sleep("100 millis")
      assert.strictEqual(yield* valueAt(two.kv, root, "a"), "held")
      yield* two.kv.set([root, "a"], "after")
    })
  )
})

describe("groups", () => {
  const request = (id: number, ...keys: ReadonlyArray<string>): Request => {
    const commit: Commit = {
      id: String(id),
      checks: [],
      mutations: keys.map((key) => ({ _tag: "Delete", key: key as never })),
      size: 1
    }
    return { commit, plan: planOf(commit) }
  }
  const done = (value: string): Grouped<string> => ({ _tag: "done", exit: Exit.succeed(value) })

  it.live("keep the order of commits along each key, also of those that leave their group", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      let running = new Set<string>()
      const serve = (requests: ReadonlyArray<Request>, how: string) =>
        Effect.gen(function* () {
          const keys = new Set(requests.flatMap(({ plan }) => plan.keys as ReadonlyArray<string>))
          for (const key of keys) assert.isFalse(running.has(key), `${key} is under way twice`)
          running = new Set([...running, ...keys])
          yield* Effect.sleep(1 + (order.length % 3))
          for (const key of keys) running.delete(key)
          return requests.map(({ commit }, i): Grouped<string> => {
            const waits = how === "together" && (Number(commit.id) + order.length) % 5 === 0
            // Behind one that would have to wait nothing of its keys goes on either: it is locked.
            const behind = requests
              .slice(0, i)
              .some(
                (before) =>
                  stopped.has(before.commit.id) && before.plan.keys.some((key) => requests[i]!.plan.keys.includes(key))
              )
            if (waits || behind) {
              stopped.add(commit.id)
              return { _tag: "wait" }
            }
            stopped.delete(commit.id)
            order.push(commit.id)
            return done(commit.id)
          })
        })
      const stopped = new Set<string>()
      const submit = yield* makeGroups<string>(
        {
          alone: (one) => Effect.as(serve([one], "alone"), one.commit.id),
          together: (some) => serve(some, "together")
        },
        10,
        5_000,
        Clock.Clock.defaultValue()
      )
      const names = ["a", "b", "c", "d"]
      const wanted = Array.from({ length: 300 }, (_, i) =>
        i % 7 === 0 ? [names[i % 4]!, names[(i + 1) % 4]!] : [names[(i * 3) % 4]!]
      )
      const answers = yield* all(wanted.map((keys, i) => submit(request(i, ...keys))))
      assert.deepStrictEqual(
        answers,
        wanted.map((_, i) => String(i))
      )
      for (const name of names) {
        const mine = order.filter((id) => wanted[Number(id)]!.includes(name)).map(Number)
        assert.deepStrictEqual(
          mine,
          mine.toSorted((a, b) => a - b)
        )
      }
    })
  )
})
