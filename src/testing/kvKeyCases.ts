import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { pack, packedSize } from "../internal/keyCodec.ts"
import * as Kv from "../Kv.ts"
import type { Case, Cases } from "./kvSupport.ts"
import { failure, reasonOf, setAll, some, valueOf } from "./kvSupport.ts"

const bytes = (...list: ReadonlyArray<number>) => Uint8Array.from(list)

/** Single parts in the order every backend must list them. */
const ordered: ReadonlyArray<Kv.KeyPart> = [
  bytes(),
  bytes(0),
  bytes(0, 0),
  bytes(0, 1),
  bytes(1),
  bytes(255),
  bytes(255, 0),
  "",
  "\0",
  "\0a",
  "\u0001",
  "1",
  "A",
  "a",
  "a\0",
  "a\0b",
  "a\u0001",
  "aa",
  "b",
  "\u00e9",
  "\uffff",
  "\u{1f600}",
  -(2n ** 600n),
  -(2n ** 64n),
  -(2n ** 63n),
  -256n,
  -255n,
  -1n,
  0n,
  1n,
  255n,
  256n,
  2n ** 63n,
  2n ** 64n,
  2n ** 600n,
  Number.NEGATIVE_INFINITY,
  -1e308,
  -1.5,
  -1,
  -Number.MIN_VALUE,
  0,
  Number.MIN_VALUE,
  0.5,
  1,
  256,
  2 ** 53,
  1e308,
  Number.POSITIVE_INFINITY,
  false,
  true
]

const badKeys: ReadonlyArray<readonly [string, unknown]> = [
  ["an empty tuple", []],
  ["NaN", [Number.NaN]],
  ["a lone surrogate", ["a\ud800"]],
  ["null", ["a", null]],
  ["undefined", ["a", undefined]],
  ["a Date", [new Date(0)]],
  ["a nested tuple", ["a", ["b"]]],
  ["an object", [{ a: 1 }]],
  ["a symbol", [Symbol("a")]],
  ["text instead of a tuple", "users"],
  ["nothing", undefined]
]

/** A key that packs to exactly this many bytes. */
const keyOfSize = ({ key, root }: Case, size: number): Kv.Key => {
  const used = pack([root, ""])
  return key("x".repeat(size - packedSize(used as Kv.Packed)))
}

export const keyCases = (test: Cases): void => {
  describe("keys", () => {
    test("are different for every different tuple", ({ key, kv }) =>
      Effect.gen(function* () {
        const keys = [
          key("1"),
          key(1),
          key(1n),
          key(true),
          key(bytes(0x31)),
          key("a", "b"),
          key("a:b"),
          key("a/b"),
          key("ab"),
          key("a", "b", ""),
          key("a", ""),
          key("a"),
          key("a\0b"),
          key("a", bytes(0x62))
        ]
        for (const [i, one] of keys.entries()) yield* kv.set(one, i)
        const found = yield* kv.getMany(keys)
        assert.deepStrictEqual(found.map(valueOf), Array.from(keys.keys()))
        yield* kv.delete(key("a", "b"))
        assert.deepStrictEqual(
          (yield* kv.getMany(keys)).map(Option.isSome),
          keys.map((_, i) => i !== 5)
        )
      }))

    test("are ordered bytes, string, bigint, number, boolean, each by value", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const shuffled = [...ordered.keys()].toSorted((a, b) => ((a * 31) % 53) - ((b * 31) % 53))
        yield* setAll(
          kv,
          shuffled.map((i) => [key(ordered[i]!), i])
        )
        const listed = yield* Stream.runCollect(kv.list({ prefix: [root] }))
        assert.deepStrictEqual(
          listed.map((entry) => entry.key),
          ordered.map((part) => key(part))
        )
        const reversed = yield* Stream.runCollect(kv.list({ prefix: [root] }, { reverse: true }))
        assert.deepStrictEqual(
          reversed.map((entry) => entry.value),
          [...ordered.keys()].toReversed()
        )
      }))

    test("order a tuple before the tuples that continue it, and those before the next tuple", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const keys = [
          key("a"),
          key("a", bytes()),
          key("a", "b"),
          key("a", "b", 1),
          key("a", true),
          key("a\0"),
          key("b")
        ]
        yield* setAll(
          kv,
          keys.toReversed().map((one) => [one, 0])
        )
        const listed = yield* Stream.runCollect(kv.list({ prefix: [root] }))
        assert.deepStrictEqual(
          listed.map((entry) => entry.key),
          keys
        )
      }))

    test("treat -0 as 0", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key(-0), "zero")
        const entry = some(yield* kv.get(key(0)))
        assert.strictEqual(entry.value, "zero")
        assert.isTrue(Object.is(entry.key[1], 0))
      }))

    test("may hold bigints of 255 bytes and any text", ({ key, kv }) =>
      Effect.gen(function* () {
        const long = 2n ** 2040n - 1n
        const keys = [key(long), key(-long), key("\0\u{1f600}\uffff\n")]
        yield* setAll(
          kv,
          keys.map((one) => [one, 1])
        )
        for (const one of keys) assert.deepStrictEqual(some(yield* kv.get(one)).key, one)
      }))

    test("are kept as they were at the call, whatever becomes of their bytes", ({ key, kv }) =>
      Effect.gen(function* () {
        const part = bytes(1, 2, 3)
        yield* kv.set(key(part), "kept")
        part[0] = 9
        assert.strictEqual(valueOf(yield* kv.get(key(part))), "(none)")
        const entry = some(yield* kv.get(key(bytes(1, 2, 3))))
        assert.deepStrictEqual(entry.key[1], bytes(1, 2, 3))
      }))

    test("take up to 2,048 packed bytes", (c) =>
      Effect.gen(function* () {
        const longest = keyOfSize(c, 2_048)
        yield* c.kv.set(longest, "fits")
        assert.strictEqual(valueOf(yield* c.kv.get(longest)), "fits")
        assert.strictEqual((yield* Stream.runCollect(c.kv.list({ prefix: [c.root] }))).length, 1)
        const reason = yield* reasonOf(c.kv.set(keyOfSize(c, 2_049), "too long"))
        assert.include(["InvalidKey", "TooLarge"], reason)
      }))

    for (const [name, bad] of badKeys) {
      test(`refuse ${name} with InvalidKey in every operation`, ({ kv }) =>
        Effect.gen(function* () {
          const key = bad as Kv.Key
          yield* failure("InvalidKey", kv.get(key))
          yield* failure("InvalidKey", kv.getMany([key]))
          yield* failure("InvalidKey", kv.has(key))
          yield* failure("InvalidKey", kv.set(key, 1))
          yield* failure("InvalidKey", kv.delete(key))
          yield* failure("InvalidKey", Kv.sum(key, 1n))
          yield* failure("InvalidKey", Kv.atomic([Kv.check(key, null)]))
          yield* failure("InvalidKey", Stream.runDrain(kv.watch([key])))
          if (!Array.isArray(bad) || bad.length > 0) {
            yield* failure("InvalidKey", Stream.runDrain(kv.list({ prefix: key })))
            yield* failure("InvalidKey", kv.page({ prefix: key }))
            yield* failure("InvalidKey", Stream.runDrain(kv.watchPrefix(key)))
          }
          yield* failure("InvalidKey", kv.page({ start: key, end: ["z"] }))
        }))
    }

    test("of a typed collection are what its key schema decodes to", ({ kv, root }) =>
      Effect.gen(function* () {
        const ById = Kv.collection([root, "by-id"], { key: Schema.Finite, value: Schema.String })
        const Pairs = Kv.collection([root, "pairs"], {
          key: Schema.Tuple([Schema.String, Schema.Finite]),
          value: Schema.String
        })
        const Days = Kv.collection([root, "days"], { key: Schema.DateFromString, value: Schema.String })
        const day = new Date("2026-01-02T03:04:05.000Z")
        yield* Kv.atomic([ById.set(7, "seven"), Pairs.set(["a", 1], "pair"), Days.set(day, "day")])
        assert.strictEqual(some(yield* ById.get(7)).value, "seven")
        assert.strictEqual(some(yield* Pairs.get(["a", 1])).value, "pair")
        assert.strictEqual(some(yield* Days.get(day)).value, "day")
        assert.deepStrictEqual(some(yield* Days.get(day)).key, [root, "days", day.toISOString()])
        assert.deepStrictEqual(ById.at(7), [root, "by-id", 7])
        assert.deepStrictEqual(ById.keyOf([root, "by-id", 7]), Option.some(7))
        assert.deepStrictEqual(Pairs.keyOf([root, "pairs", "a", 1]), Option.some(["a", 1] as const))
        assert.deepStrictEqual(Days.keyOf(Days.at(day)), Option.some(day))
        assert.isTrue(Option.isNone(ById.keyOf([root, "pairs", "a", 1])))
        assert.isTrue(Option.isNone(ById.keyOf([root, "by-id"])))
        assert.strictEqual(valueOf(yield* kv.get([root, "by-id", "7"])), "(none)")
      }))
  })
}
