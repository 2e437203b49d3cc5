import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { failure, setAll, some, valueOf } from "./kvSupport.ts"

const collect = (kv: Kv.Service, selector: Kv.Selector, options?: Kv.ListOptions) =>
  Effect.map(Stream.runCollect(kv.list(selector, options)), (entries) => entries.map((entry) => entry.value))

/** All pages, and how they were cut. */
const pages = (kv: Kv.Service, selector: Kv.Selector, options: Kv.ListOptions) =>
  Effect.gen(function* () {
    const cut: Array<ReadonlyArray<unknown>> = []
    let cursor: Option.Option<Kv.PageCursor> = Option.none()
    do {
      const page: Kv.Page = yield* kv.page(selector, { ...options, cursor: Option.getOrUndefined(cursor) })
      cut.push(page.entries.map((entry) => entry.value))
      cursor = page.cursor
    } while (Option.isSome(cursor))
    return cut
  })

export const readCases = (test: Cases): void => {
  describe("reading", () => {
    test("get gives the entry with its absolute key, value, versionstamp and expiry, or None", ({ key, kv }) =>
      Effect.gen(function* () {
        assert.isTrue(Option.isNone(yield* kv.get(key("a"))))
        const versionstamp = yield* kv.set(key("a"), { b: 1 })
        assert.deepStrictEqual(
          yield* kv.get(key("a")),
          Option.some({ key: key("a"), value: { b: 1 }, versionstamp, expiresAt: Option.none() })
        )
      }))

    test("getMany keeps order and length, with None for missing and repeats for repeated keys", ({ key, kv }) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* kv.getMany([]), [])
        yield* setAll(
          kv,
          Array.from({ length: 60 }, (_, i) => [key(i), i] as const)
        )
        const asked = [5, 99, 3, 5, 0, ...Array.from({ length: 100 }, (_, i) => 70 - i)]
        const found = yield* kv.getMany(asked.map((i) => key(i)))
        assert.deepStrictEqual(
          found.map(valueOf),
          asked.map((i) => (i >= 0 && i < 60 ? i : "(none)"))
        )
      }))

    test("has tells whether there is an entry, also one whose value is null or a counter of zero", ({ key, kv }) =>
      Effect.gen(function* () {
        assert.isFalse(yield* kv.has(key("a")))
        yield* kv.set(key("a"), null)
        yield* Kv.sum(key("b"), 0n)
        assert.isTrue(yield* kv.has(key("a")))
        assert.isTrue(yield* kv.has(key("b")))
        assert.isFalse(yield* kv.has(key("a", "b")))
      }))
  })

  describe("listing", () => {
    const seeded = (kv: Kv.Service, key: (...parts: ReadonlyArray<Kv.KeyPart>) => Kv.Key) =>
      Effect.as(
        setAll(kv, [
          [key("p"), "the prefix itself"],
          ...["a", "b", "c", "d", "e"].map((name) => [key("p", name), name] as const),
          [key("p", "c", 1), "c1"],
          [key("p\0"), "beside"],
          [key("q"), "after"],
          [key("o", "z"), "before"]
        ]),
        [key("p")] as const
      )

    test("by prefix gives what lies below it, in key order, without the key equal to the prefix", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* seeded(kv, key)
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p") }), ["a", "b", "c", "c1", "d", "e"])
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p") }, { reverse: true }), [
          "e",
          "d",
          "c1",
          "c",
          "b",
          "a"
        ])
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p", "c") }), ["c1"])
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("nothing") }), [])
      }))

    test("by an empty prefix gives every key of the store", ({ key, kv, root }) =>
      Effect.gen(function* () {
        yield* seeded(kv, key)
        const all = yield* Stream.runCollect(kv.list({ prefix: [] }))
        assert.strictEqual(all.filter((entry) => entry.key[0] === root).length, 10)
      }))

    test("begins with start, which is included, and stops before end, which is not", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* seeded(kv, key)
        const prefix = key("p")
        assert.deepStrictEqual(yield* collect(kv, { prefix, start: key("p", "c") }), ["c", "c1", "d", "e"])
        assert.deepStrictEqual(yield* collect(kv, { prefix, start: key("p", "bb") }), ["c", "c1", "d", "e"])
        assert.deepStrictEqual(yield* collect(kv, { prefix, end: key("p", "c") }), ["a", "b"])
        assert.deepStrictEqual(yield* collect(kv, { prefix, end: key("p", "c", 1) }), ["a", "b", "c"])
        assert.deepStrictEqual(yield* collect(kv, { start: key("p", "b"), end: key("p", "d") }), ["b", "c", "c1"])
        assert.deepStrictEqual(yield* collect(kv, { prefix, start: key("p", "b"), end: key("p", "c") }), ["b"])
        assert.deepStrictEqual(yield* collect(kv, { start: key("o"), end: key("p", "b") }), [
          "before",
          "the prefix itself",
          "a"
        ])
        assert.deepStrictEqual(yield* collect(kv, { start: key("p", "b"), end: key("p", "b") }), [])
        assert.deepStrictEqual(yield* collect(kv, { start: key("p", "d"), end: key("p", "b") }), [])
      }))

    test("in reverse keeps the same bounds and begins at the greatest key", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* seeded(kv, key)
        const prefix = key("p")
        const reverse = { reverse: true }
        assert.deepStrictEqual(yield* collect(kv, { prefix, start: key("p", "c") }, reverse), ["e", "d", "c1", "c"])
        assert.deepStrictEqual(yield* collect(kv, { prefix, end: key("p", "c") }, reverse), ["b", "a"])
        assert.deepStrictEqual(yield* collect(kv, { start: key("p", "b"), end: key("p", "d") }, reverse), [
          "c1",
          "c",
          "b"
        ])
      }))

    test("gives at most limit entries, from the end it begins at", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* seeded(kv, key)
        const prefix = key("p")
        assert.deepStrictEqual(yield* collect(kv, { prefix }, { limit: 2 }), ["a", "b"])
        assert.deepStrictEqual(yield* collect(kv, { prefix }, { limit: 2, reverse: true }), ["e", "d"])
        assert.deepStrictEqual(yield* collect(kv, { prefix }, { limit: 0 }), [])
        assert.deepStrictEqual(yield* collect(kv, { prefix }, { limit: 6 }), ["a", "b", "c", "c1", "d", "e"])
        assert.deepStrictEqual(yield* collect(kv, { prefix }, { limit: 1_000 }), ["a", "b", "c", "c1", "d", "e"])
        assert.deepStrictEqual((yield* kv.page({ prefix }, { limit: 0 })).entries, [])
      }))

    test("refuses a limit that is no whole number from 0", ({ key, kv }) =>
      Effect.gen(function* () {
        for (const limit of [-1, 1.5, Number.NaN]) {
          yield* failure("InvalidKey", kv.page({ prefix: key("p") }, { limit }))
          yield* failure("InvalidKey", Stream.runDrain(kv.list({ prefix: key("p") }, { limit })))
        }
      }))

    test("refuses bounds outside the prefix", ({ key, kv }) =>
      Effect.gen(function* () {
        const prefix = key("p")
        yield* failure("InvalidKey", Stream.runDrain(kv.list({ prefix, start: key("q") })))
        yield* failure("InvalidKey", Stream.runDrain(kv.list({ prefix, end: key("o") })))
        yield* failure("InvalidKey", kv.page({ prefix, start: key("o", "p") }))
      }))

    for (const reverse of [false, true]) {
      test(`by pages gives every entry once, ${reverse ? "in reverse" : "in order"}, and no cursor after the last`, ({
        key,
        kv
      }) =>
        Effect.gen(function* () {
          const count = 28
          yield* setAll(
            kv,
            Array.from({ length: count }, (_, i) => [key("p", i), i] as const)
          )
          const expected = Array.from({ length: count }, (_, i) => (reverse ? count - 1 - i : i))
          for (const limit of [1, 5, 7, 27, 28, 29]) {
            const cut = yield* pages(kv, { prefix: key("p") }, { limit, reverse })
            assert.deepStrictEqual(cut.flat(), expected)
            assert.strictEqual(cut.length, Math.ceil(count / limit), `pages of ${limit}`)
          }
          const page = yield* kv.page({ prefix: key("p") }, { limit: 10, reverse })
          const rest = yield* collect(kv, { prefix: key("p") }, { reverse, cursor: Option.getOrUndefined(page.cursor) })
          assert.deepStrictEqual(rest, expected.slice(10))
          const few = yield* collect(
            kv,
            { prefix: key("p"), start: key("p", 5) },
            { reverse, limit: 3, cursor: Option.getOrUndefined(page.cursor) }
          )
          assert.deepStrictEqual(few, expected.slice(10, 13))
        }))
    }

    test("resumes behind the last entry although that one, or its neighbours, changed meanwhile", ({ key, kv }) =>
      Effect.gen(function* () {
        const names = ["a", "c", "e", "g"]
        yield* setAll(
          kv,
          names.map((name) => [key("p", name), name] as const)
        )
        const first = yield* kv.page({ prefix: key("p") }, { limit: 2 })
        const cursor = Option.getOrUndefined(first.cursor)
        assert.isString(cursor)
        yield* kv.delete(key("p", "c"))
        yield* setAll(kv, [
          [key("p", "b"), "b"],
          [key("p", "c", 1), "c1"],
          [key("p", "d"), "d"]
        ])
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p") }, { cursor }), ["c1", "d", "e", "g"])
      }))

    test("refuses a cursor that is none, or of the other direction", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* setAll(
          kv,
          [1, 2, 3].map((i) => [key("p", i), i] as const)
        )
        const { cursor } = yield* kv.page({ prefix: key("p") }, { limit: 1 })
        yield* failure("InvalidKey", kv.page({ prefix: key("p") }, { cursor: "nonsense" as Kv.PageCursor }))
        yield* failure("InvalidKey", kv.page({ prefix: key("p") }, { cursor: some(cursor), reverse: true }))
      }))

    test("gives a hundred entries a page unless told otherwise", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* setAll(
          kv,
          Array.from({ length: 130 }, (_, i) => [key("p", i), i] as const)
        )
        const page = yield* kv.page({ prefix: key("p") })
        assert.strictEqual(page.entries.length, 100)
        const rest = yield* kv.page({ prefix: key("p") }, { cursor: Option.getOrUndefined(page.cursor) })
        assert.strictEqual(rest.entries.length, 30)
        assert.isTrue(Option.isNone(rest.cursor))
      }))

    test("streams thousands of entries in order, and stops early without reading the rest", ({ key, kv }) =>
      Effect.gen(function* () {
        const count = 3_000
        yield* setAll(
          kv,
          Array.from({ length: count }, (_, i) => [key("p", i), i] as const)
        )
        const expected = Array.from({ length: count }, (_, i) => i)
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p") }), expected)
        assert.deepStrictEqual(yield* collect(kv, { prefix: key("p") }, { reverse: true }), expected.toReversed())
        const taken = yield* Stream.runCollect(Stream.take(kv.list({ prefix: key("p") }), 3))
        assert.deepStrictEqual(
          taken.map((entry) => entry.value),
          [0, 1, 2]
        )
      }))

    test("shows each lasting key exactly once, in order, while others come and go", ({ key, kv }) =>
      Effect.gen(function* () {
        const count = 1_200
        yield* setAll(
          kv,
          Array.from({ length: count }, (_, i) => [key("p", i), "stays"] as const)
        )
        const churn = yield* Effect.forkChild(
          Effect.forever(
            Effect.gen(function* () {
              for (let i = 0; i < count; i += 7) {
                yield* kv.set(key("p", i + 0.5), "comes")
                yield* kv.delete(key("p", i + 0.5))
                yield* Effect.yieldNow
              }
            })
          )
        )
        const seen: Array<number> = []
        yield* kv.list({ prefix: key("p") }).pipe(
          Stream.runForEach((entry) => {
            seen.push(entry.key[2] as number)
            return seen.length % 50 === 0 ? Effect.yieldNow : Effect.void
          })
        )
        yield* Fiber.interrupt(churn)
        assert.deepStrictEqual(
          seen.filter((n) => Number.isInteger(n)),
          Array.from({ length: count }, (_, i) => i)
        )
        assert.deepStrictEqual(
          seen,
          seen.toSorted((a, b) => a - b)
        )
      }))

    test("of a typed collection takes bounds and cursors in its own keys", ({ root }) =>
      Effect.gen(function* () {
        const Days = Kv.collection([root, "days"], {
          key: Schema.Tuple([Schema.String, Schema.Finite]),
          value: Schema.Date
        })
        for (const [month, day] of [
          ["jan", 1],
          ["jan", 2],
          ["jan", 3],
          ["feb", 1]
        ] as const) {
          yield* Days.set([month, day], new Date(day))
        }
        const days = (options?: Kv.CollectionListOptions<readonly [string, number]>) =>
          Effect.map(Stream.runCollect(Days.list(options)), (entries) =>
            entries.map((entry) => [entry.key[2], entry.value.getTime()])
          )
        assert.deepStrictEqual(yield* days(), [
          ["feb", 1],
          ["jan", 1],
          ["jan", 2],
          ["jan", 3]
        ])
        assert.deepStrictEqual(yield* days({ under: ["jan"], reverse: true, limit: 2 }), [
          ["jan", 3],
          ["jan", 2]
        ])
        assert.deepStrictEqual(yield* days({ start: ["jan", 2] }), [
          ["jan", 2],
          ["jan", 3]
        ])
        assert.deepStrictEqual(yield* days({ end: ["jan", 1] }), [["feb", 1]])
        assert.deepStrictEqual(yield* days({ start: ["feb", 1], end: ["jan", 2] }), [
          ["feb", 1],
          ["jan", 1]
        ])
        assert.deepStrictEqual(yield* days({ under: ["jan"], start: ["jan", 2], end: ["jan", 3] }), [["jan", 2]])
        const beyond = yield* Effect.flip(days({ under: ["feb"], start: ["feb", 1], end: ["jan", 2] }))
        assert.strictEqual(beyond.reason._tag, "InvalidKey")
        const page = yield* Days.page({ limit: 3 })
        assert.deepStrictEqual(
          page.entries.map((entry) => Option.getOrUndefined(Days.keyOf(entry.key))),
          [
            ["feb", 1],
            ["jan", 1],
            ["jan", 2]
          ]
        )
        assert.deepStrictEqual(yield* days({ cursor: Option.getOrUndefined(page.cursor) }), [["jan", 3]])
        const many = yield* Days.getMany([
          ["jan", 3],
          ["mar", 1]
        ])
        assert.deepStrictEqual(
          many.map((entry) => Option.isSome(entry) && entry.value.value.getTime()),
          [3, false]
        )
      }))
  })
}
