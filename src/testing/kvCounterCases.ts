import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { failure, reasonOf, some, valueOf } from "./kvSupport.ts"

const greatest = 2n ** 63n - 1n

export const counterCases = (test: Cases): void => {
  describe("counters", () => {
    test("begin at 0n for sum, and at the operand for min and max", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.atomic([
          Kv.sum(key("sum"), 7n),
          Kv.min(key("min"), 7n),
          Kv.max(key("max"), 7n),
          Kv.sum(key("zero"), 0n)
        ])
        const found = yield* kv.getMany([key("sum"), key("min"), key("max"), key("zero")])
        assert.deepStrictEqual(found.map(valueOf), [7n, 7n, 7n, 0n])
      }))

    test("expire when the write that makes them says so; later writes keep that", ({ advance, key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.sum(key("hits"), 1n, { expireIn: 300 })
        yield* Kv.sum(key("hits"), 1n, { expireIn: 60_000 })
        yield* Kv.max(key("hits"), 5n)
        const before = some(yield* kv.get(key("hits")))
        assert.strictEqual(before.value, 5n)
        assert.isTrue(Option.isSome(before.expiresAt))
        yield* advance(300)
        assert.isTrue(Option.isNone(yield* kv.get(key("hits"))))
        yield* Kv.sum(key("hits"), 1n)
        const after = some(yield* kv.get(key("hits")))
        assert.deepStrictEqual([after.value, after.expiresAt], [1n, Option.none()])
        const refused = yield* Effect.flip(Kv.sum(key("other"), 1n, { expireIn: 0 }))
        assert.strictEqual(refused.reason._tag, "InvalidExpiry")
      }))

    test("take the smaller with min and the greater with max", ({ key, kv }) =>
      Effect.gen(function* () {
        for (const n of [5n, 9n, 3n, 4n]) {
          yield* Kv.min(key("min"), n)
          yield* Kv.max(key("max"), n)
        }
        assert.deepStrictEqual((yield* kv.getMany([key("min"), key("max")])).map(valueOf), [3n, 9n])
      }))

    test("are exact beyond 2^53 and up to 2^63 - 1", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.sum(key("n"), 2n ** 53n)
        yield* Kv.sum(key("n"), 1n)
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), 2n ** 53n + 1n)
        yield* Kv.sum(key("n"), greatest - 2n ** 53n - 2n)
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), greatest - 1n)
        yield* Kv.sum(key("n"), 1n)
        yield* Kv.sum(key("n"), 0n)
        yield* Kv.max(key("n"), greatest)
        yield* Kv.min(key("n"), greatest)
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), greatest)
        yield* Kv.max(key("max"), greatest - 1n)
        yield* Kv.min(key("max"), greatest)
        assert.strictEqual(valueOf(yield* kv.get(key("max"))), greatest - 1n)
      }))

    test("refuse to leave their range, and stay as they were", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.sum(key("n"), greatest)
        const before = yield* kv.get(key("n"))
        yield* failure("CounterOverflow", Kv.sum(key("n"), 1n))
        yield* failure("CounterOverflow", Kv.sum(key("n"), greatest))
        yield* failure("CounterOverflow", Kv.atomic([Kv.sum(key("m"), greatest), Kv.sum(key("m"), 1n)]))
        for (const bad of [-1n, greatest + 1n, 2n ** 64n]) {
          for (const op of [Kv.sum, Kv.min, Kv.max])
            assert.notStrictEqual(yield* reasonOf(op(key("new"), bad)), "success")
        }
        assert.notStrictEqual(yield* reasonOf(Kv.sum(key("new"), 1 as unknown as bigint)), "success")
        assert.deepStrictEqual(yield* kv.get(key("n")), before)
        assert.deepStrictEqual((yield* kv.getMany([key("m"), key("new")])).map(valueOf), ["(none)", "(none)"])
      }))

    test("are not JSON and not bytes: NotACounter, and nothing changes", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.atomic([Kv.set(key("one"), 1), Kv.set(key("text"), "1"), Kv.set(key("bytes"), new Uint8Array(8))])
        for (const name of ["one", "text", "bytes"]) {
          for (const op of [Kv.sum, Kv.min, Kv.max]) yield* failure("NotACounter", op(key(name), 1n))
        }
        assert.deepEqual((yield* kv.getMany([key("one"), key("text"), key("bytes")])).map(valueOf), [
          1,
          "1",
          new Uint8Array(8)
        ])
      }))

    test("end when the key is set or deleted", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.sum(key("n"), 3n)
        yield* kv.set(key("n"), 3)
        yield* failure("NotACounter", Kv.sum(key("n"), 1n))
        yield* kv.delete(key("n"))
        yield* Kv.sum(key("n"), 1n)
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), 1n)
      }))

    test("lose nothing to concurrency", ({ key, kv, settle }) =>
      Effect.gen(function* () {
        yield* settle(
          Effect.forEach(
            Array.from({ length: 300 }, (_, i) => BigInt(i)),
            (n) =>
              Kv.atomic([
                Kv.sum(key("total"), n),
                Kv.sum(key("count"), 1n),
                Kv.max(key("max"), n),
                Kv.min(key("min"), n)
              ]),
            { concurrency: "unbounded", discard: true }
          )
        )
        const found = yield* kv.getMany([key("total"), key("count"), key("max"), key("min")])
        assert.deepStrictEqual(found.map(valueOf), [(299n * 300n) / 2n, 300n, 299n, 0n])
      }))
  })

  describe("isolation", () => {
    const accounts = 8
    const opening = 1_000

    test("keeps a bank's total through concurrent transfers, whoever looks", ({ key, kv, settle }) =>
      Effect.gen(function* () {
        const account = (i: number) => key("account", i)
        const all = Array.from({ length: accounts }, (_, i) => account(i))
        yield* Kv.atomic(all.map((one) => Kv.set(one, opening)))
        const read = Effect.map(kv.getMany(all), (found) => found.map((entry) => valueOf(entry) as number))
        const total = Effect.map(read, (balances) => balances.reduce((a, b) => a + b, 0))

        const transfer = (from: number, to: number, amount: number) =>
          Kv.transact(
            Effect.gen(function* () {
              const [a, b] = yield* kv.getMany([account(from), account(to)])
              yield* Effect.yieldNow
              const has = valueOf(a!) as number
              if (has < amount) return
              yield* Kv.atomic([
                Kv.check(account(from), a!),
                Kv.check(account(to), b!),
                Kv.set(account(from), has - amount),
                Kv.set(account(to), (valueOf(b!) as number) + amount),
                Kv.sum(key("moved"), BigInt(amount))
              ])
            })
          )
        const client = (seed: number) =>
          Effect.gen(function* () {
            for (let i = 0; i < 25; i++) {
              const from = (seed * 7 + i * 3) % accounts
              const to = (from + 1 + ((seed + i) % (accounts - 1))) % accounts
              yield* transfer(from, to, 1 + ((seed * 13 + i * 17) % 200))
            }
          })
        const done = yield* Effect.forkChild(
          settle(
            Effect.forEach(
              Array.from({ length: 12 }, (_, i) => i),
              client,
              { concurrency: "unbounded", discard: true }
            )
          )
        )
        let looks = 0
        while (done.pollUnsafe() === undefined) {
          assert.strictEqual(yield* total, accounts * opening)
          looks++
          yield* Effect.yieldNow
        }
        yield* Fiber.join(done)
        const balances = yield* read
        assert.strictEqual(
          balances.reduce((a, b) => a + b, 0),
          accounts * opening
        )
        assert.isTrue(balances.every((balance) => balance >= 0))
        assert.isTrue((valueOf(yield* kv.get(key("moved"))) as bigint) > 0n)
        assert.isAbove(looks, 3)
      }))

    test("refuses the second of two commits that each read what the other writes", ({ key, kv, settle }) =>
      Effect.gen(function* () {
        yield* Kv.atomic([Kv.set(key("a"), "on call"), Kv.set(key("b"), "on call")])
        const look = (mine: string, other: string) =>
          Effect.map(kv.getMany([key(mine), key(other)]), ([me, they]) =>
            Kv.atomic([Kv.check(key(mine), me!), Kv.check(key(other), they!), Kv.set(key(mine), "away")])
          )
        // Both have read before either commits, however long a read takes.
        const [first, second] = yield* settle(
          Effect.all([look("a", "b"), look("b", "a")], { concurrency: "unbounded" })
        )
        const outcomes = yield* settle(Effect.all([reasonOf(first), reasonOf(second)], { concurrency: "unbounded" }))
        assert.deepStrictEqual(outcomes.toSorted(), ["Conflict", "success"])
      }))

    test("lets a read see every commit that was answered before it began", ({ key, kv, settle }) =>
      settle(
        Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) =>
            Effect.gen(function* () {
              for (let n = 0; n < 10; n++) {
                const stamp = yield* kv.set(key(i), n)
                const entry = some(yield* kv.get(key(i)))
                assert.strictEqual(entry.value, n)
                assert.strictEqual(entry.versionstamp, stamp)
                yield* kv.delete(key(i))
                assert.isFalse(yield* kv.has(key(i)))
              }
            }),
          { concurrency: "unbounded", discard: true }
        )
      ))

    test("shows getMany and a page one moment: entries of one commit are never seen apart", ({
      key,
      kv,
      root,
      settle
    }) =>
      Effect.gen(function* () {
        const keys = Array.from({ length: 20 }, (_, i) => key(i))
        const write = (n: number) => Kv.atomic(keys.map((one) => Kv.set(one, n)))
        yield* write(0)
        const writer = yield* Effect.forkChild(
          settle(
            Effect.forEach(
              Array.from({ length: 100 }, (_, i) => i + 1),
              (n) => Effect.andThen(write(n), Effect.yieldNow),
              { discard: true }
            )
          )
        )
        const seen = new Set<unknown>()
        while (writer.pollUnsafe() === undefined) {
          const values = (yield* kv.getMany(keys)).map(valueOf)
          assert.strictEqual(new Set(values).size, 1)
          const page = yield* kv.page({ prefix: [root] })
          assert.strictEqual(new Set(page.entries.map((entry) => entry.versionstamp)).size, 1)
          seen.add(values[0])
          yield* Effect.yieldNow
        }
        yield* Fiber.join(writer)
        assert.isAbove(seen.size, 1)
      }))

    test("lets an interrupted write be done or not done, but never be done later", ({ key, kv, pause }) =>
      Effect.gen(function* () {
        for (let i = 0; i < 20; i++) {
          const fiber = yield* Effect.forkChild(kv.set(key(i), "written"), { startImmediately: i % 2 === 0 })
          if (i % 4 === 0) yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          const first = yield* kv.get(key(i))
          yield* pause
          assert.deepStrictEqual(yield* kv.get(key(i)), first)
        }
      }))
  })
}
