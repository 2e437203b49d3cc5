import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { failure, some, valueOf, watching } from "./kvSupport.ts"

class Money {
  readonly amount = 1
}

const cyclic = (): unknown => {
  const a: Record<string, unknown> = {}
  a["self"] = a
  return a
}

const kept: ReadonlyArray<readonly [string, unknown]> = [
  ["null", null],
  ["booleans", [true, false]],
  ["an empty text", ""],
  ["any text", 'quotes " backslash \\ NUL \0 line \u2028 emoji \u{1f600} lone \ud800'],
  ["numbers", [0, 1.5, -1e-7, Number.MAX_SAFE_INTEGER, 1e308, 5e-324]],
  ["nested arrays and objects", { a: [1, { b: [] }], c: {} }],
  ["odd property names", JSON.parse('{"":1,"a.b":2,"__proto__":{"x":1},"constructor":3,"0":4}') as unknown],
  ["an object without prototype", Object.assign(Object.create(null) as object, { a: 1 })],
  ["a long text", "x\u00e9".repeat(20_000)],
  ["no bytes", new Uint8Array(0)],
  ["bytes", Uint8Array.from({ length: 256 }, (_, i) => i)]
]

const holey: Array<unknown> = [1]
holey[2] = 3

const refused: ReadonlyArray<readonly [string, unknown, string]> = [
  ["undefined", undefined, "$"],
  ["a bigint", 1n, "$"],
  ["a function", () => 1, "$"],
  ["a symbol", Symbol("s"), "$"],
  ["NaN", Number.NaN, "$"],
  ["infinity deep inside", { a: [1, { b: Number.POSITIVE_INFINITY }] }, "$.a[1].b"],
  ["an undefined property", { a: { b: undefined } }, "$.a.b"],
  ["a hole in an array", { list: holey }, "$.list[1]"],
  ["a Date", { at: new Date(0) }, "$.at"],
  ["a Map", { m: new Map() }, "$.m"],
  ["a Set", [new Set()], "$[0]"],
  ["a class instance", { a: [new Money()] }, "$.a[0]"],
  ["a regular expression", { r: /x/ }, "$.r"],
  ["bytes inside JSON", { b: new Uint8Array(1) }, "$.b"],
  ["another typed array", new Int16Array(1), "$"],
  ["an ArrayBuffer", new ArrayBuffer(1), "$"],
  ["a method", { a: { toJSON: () => 1 } }, "$.a.toJSON"]
]

class Point extends Schema.Class<Point>("effect-seams/testing/Point")({ x: Schema.Finite, y: Schema.Finite }) {
  get sum(): number {
    return this.x + this.y
  }
}

const Id = Schema.String.pipe(Schema.brand("Id"))

const Rich = Schema.Struct({
  at: Schema.Date,
  big: Schema.BigInt,
  names: Schema.ReadonlyMap(Schema.String, Schema.BigInt),
  point: Point,
  id: Id,
  bytes: Schema.Uint8Array,
  maybe: Schema.Option(Schema.String)
})

export const valueCases = (test: Cases): void => {
  describe("values", () => {
    for (const [name, value] of kept) {
      test(`come back as they were set: ${name}`, ({ key, kv }) =>
        Effect.gen(function* () {
          yield* kv.set(key("v"), value as Kv.Storable)
          const entry = some(yield* kv.get(key("v")))
          assert.strictEqual(entry.value instanceof Uint8Array, value instanceof Uint8Array)
          assert.deepEqual(entry.value, value)
          if (!(value instanceof Uint8Array)) assert.strictEqual(JSON.stringify(entry.value), JSON.stringify(value))
        }))
    }

    for (const [name, value, path] of refused) {
      test(`that JSON would change are Unencodable and name the path: ${name}`, ({ key, kv }) =>
        Effect.gen(function* () {
          const byService = yield* failure("Unencodable", kv.set(key("v"), value as Kv.Storable))
          assert.strictEqual(byService.path, path)
          const byStep = yield* failure(
            "Unencodable",
            Kv.atomic([Kv.set(key("other"), 1), Kv.set(key("v"), value as Kv.Storable)])
          )
          assert.strictEqual(byStep.path, path)
          assert.isFalse(yield* kv.has(key("v")))
          assert.isFalse(yield* kv.has(key("other")))
        }))
    }

    test("that refer to themselves are Unencodable", ({ key, kv }) =>
      Effect.asVoid(failure("Unencodable", kv.set(key("v"), cyclic() as Kv.Storable))))

    test("tell bytes from text", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("text"), "hi")
        yield* kv.set(key("bytes"), new TextEncoder().encode("hi"))
        assert.strictEqual(valueOf(yield* kv.get(key("text"))), "hi")
        assert.deepEqual(valueOf(yield* kv.get(key("bytes"))), Uint8Array.of(104, 105))
      }))

    test("are out of reach for whoever kept a reference to JSON that was set or read", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const mine = { list: [1], deep: { a: 1 } }
        yield* kv.set(key("v"), mine)
        mine.list.push(2)
        mine.deep.a = 2
        const read = some(yield* kv.get(key("v"))).value as typeof mine
        assert.deepEqual(read, { list: [1], deep: { a: 1 } })
        read.list.push(3)
        const listed = (yield* Stream.runCollect(kv.list({ prefix: [root] })))[0]!.value as typeof mine
        assert.deepEqual(listed, { list: [1], deep: { a: 1 } })
        listed.deep.a = 4
        const many = yield* kv.getMany([key("v"), key("v")])
        assert.deepEqual(many.map(valueOf), [
          { list: [1], deep: { a: 1 } },
          { list: [1], deep: { a: 1 } }
        ])
      }))

    test("are out of reach for whoever kept a reference to bytes that were set, read, listed or watched", (c) =>
      Effect.gen(function* () {
        const { key, kv, root } = c
        const mine = Uint8Array.of(1, 2, 3)
        const steps = [Kv.set(key("b"), mine)]
        yield* Kv.atomic(steps)
        mine[0] = 9
        const spoil = (value: unknown) => {
          assert.deepEqual(value, Uint8Array.of(1, 2, 3))
          ;(value as Uint8Array)[1] = 9
        }
        spoil(valueOf(yield* kv.get(key("b"))))
        spoil((yield* Stream.runCollect(kv.list({ prefix: [root] })))[0]!.value)
        const watcher = yield* watching(c, kv.watch([key("b")]))
        yield* watcher.synced
        spoil(watcher.state().values().next().value?.value)
        for (const found of yield* kv.getMany([key("b"), key("b")])) spoil(valueOf(found))
        assert.deepEqual(valueOf(yield* kv.get(key("b"))), Uint8Array.of(1, 2, 3))
      }))

    test("given as a view into a larger buffer are copied", ({ key, kv }) =>
      Effect.gen(function* () {
        const buffer = new Uint8Array(8)
        buffer[2] = 7
        yield* kv.set(key("view"), buffer.subarray(2, 4))
        buffer[2] = 9
        assert.deepEqual(valueOf(yield* kv.get(key("view"))), Uint8Array.of(7, 0))
        const nodeBuffer = Buffer.from([1, 2])
        yield* kv.set(key("buffer"), nodeBuffer)
        nodeBuffer[0] = 9
        assert.deepEqual(Array.from(valueOf(yield* kv.get(key("buffer"))) as Uint8Array), [1, 2])
      }))

    test("of a typed collection keep what their schema says: dates, bigints, maps, classes, brands, bytes", ({
      root
    }) =>
      Effect.gen(function* () {
        const Riches = Kv.collection([root], { key: Schema.String, value: Rich })
        yield* Riches.set("one", {
          at: new Date(12_345),
          big: 2n ** 100n,
          names: new Map([["a", 1n]]),
          point: new Point({ x: 1, y: 2 }),
          id: Id.make("id-1"),
          bytes: Uint8Array.of(1, 2),
          maybe: Option.some("yes")
        })
        const { value } = some(yield* Riches.get("one"))
        assert.strictEqual(value.at.getTime(), 12_345)
        assert.strictEqual(value.big, 2n ** 100n)
        assert.deepStrictEqual(Array.from(value.names), [["a", 1n]])
        assert.instanceOf(value.point, Point)
        assert.strictEqual(value.point.sum, 3)
        assert.strictEqual(value.id as string, "id-1")
        assert.deepEqual(Array.from(value.bytes), [1, 2])
        assert.deepStrictEqual(value.maybe, Option.some("yes"))
      }))

    test("of a typed collection that the schema refuses are Unencodable, and what does not fit it is Undecodable", ({
      key,
      kv,
      root
    }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root], { key: Schema.String, value: Schema.NonEmptyString })
        yield* failure("Unencodable", Names.set("a", ""))
        yield* failure("Unencodable", Kv.atomic([Kv.set(key("b"), 1), Names.set("a", "")]))
        assert.isFalse(yield* kv.has(key("b")))
        yield* kv.set(key("c"), { not: "a name" })
        yield* failure("Undecodable", Names.get("c"))
        yield* failure("Undecodable", Names.getMany(["c"]))
        assert.deepEqual(valueOf(yield* kv.get(key("c"))), { not: "a name" })
      }))
  })
}
