import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { deserialize } from "node:v8"
import type { StoredValue } from "../../../src/kv/driver.ts"
import type { Value, Versionstamp } from "../../../src/kv/model.ts"
import { ValueEncoding } from "../../../src/testing/kvConnect/datapath_pb.ts"
import { isRefusal } from "../../../src/testing/kvConnect/refusal.ts"
import { storedOf, storedU64, u64Of, wireOf } from "../../../src/testing/kvConnect/values.ts"
import { isShortOf, shortStamp } from "../../../src/testing/kvConnect/versionstamp.ts"

const read = (stored: StoredValue): Value => {
  if (stored._tag === "Bytes") return stored.bytes
  return stored._tag === "Counter" ? stored.value : JSON.parse(stored.text)
}

const stored = (data: Uint8Array, encoding: ValueEncoding): StoredValue => {
  const value = storedOf({ data, encoding })
  if (isRefusal(value)) throw new Error(value.detail)
  return value
}

const u64 = (n: bigint): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, n, true)
  return bytes
}

describe("a value of a client", () => {
  const mark = [0xf5, 0x4b, 0x56]
  const data = fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc
      .tuple(fc.nat(4), fc.uint8Array({ maxLength: 9 }))
      .map(([length, rest]) => Uint8Array.from([...mark.slice(0, length), ...rest])),
    fc
      .tuple(fc.constantFrom(0, 1, 2, 3, 4, 255), fc.uint8Array({ maxLength: 9 }))
      .map(([kind, rest]) => Uint8Array.from([...mark, kind, ...rest]))
  )

  it("comes back as it was, with its encoding, whatever its bytes", () => {
    fc.assert(
      fc.property(data, fc.constantFrom(ValueEncoding.VE_V8, ValueEncoding.VE_BYTES), (bytes, encoding) => {
        const wire = wireOf(read(stored(bytes, encoding)))
        assert.deepStrictEqual([wire.encoding, new Uint8Array(wire.data)], [encoding, bytes])
      }),
      { numRuns: 5_000 }
    )
  })

  it("that is an unsigned integer is a counter as far as counters go, and comes back beyond", () => {
    for (const n of [0n, 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      const value = stored(u64(n), ValueEncoding.VE_LE64)
      assert.strictEqual(value._tag, n < 2n ** 63n ? "Counter" : "Bytes")
      assert.deepStrictEqual(value, storedU64(n))
      const wire = wireOf(read(value))
      assert.strictEqual(wire.encoding, ValueEncoding.VE_LE64)
      assert.strictEqual(u64Of(wire.data), n)
    }
  })

  it("that is bytes is kept as these bytes, for programs that read the store themselves", () => {
    const bytes = new Uint8Array([1, 2, 3])
    assert.deepStrictEqual(stored(bytes, ValueEncoding.VE_BYTES), { _tag: "Bytes", bytes })
  })
})

describe("a value of an Effect program", () => {
  it("that is JSON is one that V8 reads", () => {
    for (const value of [null, true, 1.5, "grüße", [1, [2]], { a: { b: [] } }]) {
      const wire = wireOf(value)
      assert.strictEqual(wire.encoding, ValueEncoding.VE_V8)
      assert.deepStrictEqual(deserialize(wire.data), value)
    }
  })

  it("that is bytes which only look like those of a client stays bytes", () => {
    for (const bytes of [[0xf5], [0xf5, 0x4b, 0x56], [0xf5, 0x4b, 0x56, 0, 1], [0xf5, 0x4b, 0x56, 2, 1]])
      assert.deepStrictEqual(wireOf(Uint8Array.from(bytes)), {
        data: Uint8Array.from(bytes),
        encoding: ValueEncoding.VE_BYTES
      })
  })

  it("that is bytes or a counter is the same for clients", () => {
    assert.deepStrictEqual(wireOf(new Uint8Array([7])), { data: new Uint8Array([7]), encoding: ValueEncoding.VE_BYTES })
    assert.deepStrictEqual(wireOf(7n), { data: u64(7n), encoding: ValueEncoding.VE_LE64 })
  })
})

describe("a versionstamp of ten bytes", () => {
  const stamp = (position: number | bigint, instance: string, count: number) =>
    (BigInt(position).toString(16).padStart(16, "0") + instance + count.toString(16).padStart(8, "0")) as Versionstamp
  const text = (versionstamp: Versionstamp) => Buffer.from(shortStamp(versionstamp)).toString("hex")
  const one = "00a1b2c3d4e5"
  const other = "f1a1b2c3d4e5"

  it("grows with the position", () => {
    const positions = [1, 2, 255, 256, 65_536, 2 ** 32, 2 ** 40, 2 ** 48 - 1]
    const texts = positions.map((position, i) => text(stamp(position, i % 2 === 0 ? one : other, 2 ** 32 - 1 - i)))
    assert.deepStrictEqual(texts, texts.toSorted())
    assert.strictEqual(new Set(texts).size, texts.length)
    for (const each of texts) assert.match(each, /^[0-9a-f]{20}$/)
  })

  it("tells commits apart that have one position, as after a failover that lost some", () => {
    const same = [stamp(7, one, 1), stamp(7, one, 2), stamp(7, one, 2 ** 31), stamp(7, other, 1), stamp(7, other, 2)]
    assert.strictEqual(new Set(same.map(text)).size, same.length)
    for (const versionstamp of same)
      assert.deepStrictEqual(
        same.filter((each) => isShortOf(shortStamp(versionstamp), each)),
        [versionstamp]
      )
  })

  it("is made of stamps of any form", () => {
    const strange = ["", "abc", "x".repeat(36), "0".repeat(37)] as ReadonlyArray<string> as ReadonlyArray<Versionstamp>
    assert.strictEqual(new Set(strange.map(text)).size, strange.length)
    for (const each of strange) assert.strictEqual(shortStamp(each).length, 10)
    assert.isFalse(isShortOf(new Uint8Array(9), strange[0]!))
  })
})
