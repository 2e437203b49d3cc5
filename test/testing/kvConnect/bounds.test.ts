import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Key, KeyPart } from "../../../src/internal/keyCodec.ts"
import { isKeyProblem, pack, unpack } from "../../../src/internal/keyCodec.ts"
import { KvError } from "../../../src/kv/KvError.ts"
import { rangeOf } from "../../../src/kv/list.ts"
import { selectorOf } from "../../../src/testing/kvConnect/bounds.ts"

const packed = (key: ReadonlyArray<KeyPart>): string => {
  const result = pack(key)
  if (isKeyProblem(result)) throw new Error(result.detail)
  return result
}

/** The range of a Kv that stands for a range of bytes. */
const selected = (start: string, end: string): { readonly start: string; readonly end: string } | undefined => {
  const selector = selectorOf(start, end)
  if (selector === undefined) return undefined
  const range = rangeOf(selector)
  if (range instanceof KvError) throw range
  return range
}

const part: fc.Arbitrary<KeyPart> = fc.oneof(
  fc.uint8Array({ maxLength: 3 }),
  fc.constantFrom(new Uint8Array([0]), new Uint8Array([255]), new Uint8Array([0, 255])),
  fc.constantFrom("", "a", "a\0", "b", "ÿ", "€", "\ud7ff", "\ue000", "😀", "\u{10ffff}"),
  fc.string({ maxLength: 3, unit: "grapheme" }),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
  fc.constantFrom(
    0n,
    1n,
    -1n,
    255n,
    256n,
    -255n,
    -256n,
    2n ** 64n,
    -(2n ** 64n),
    2n ** 64n - 1n,
    1n - 2n ** 64n,
    2n ** 2040n - 1n
  ),
  fc.double({ noNaN: true }),
  fc.constantFrom(0, Number.MIN_VALUE, -Number.MIN_VALUE, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc.boolean()
)
const key = fc.array(part, { minLength: 1, maxLength: 3 })

const byte = fc.oneof(
  fc.constantFrom(
    0,
    1,
    2,
    0x0b,
    0x0c,
    0x13,
    0x14,
    0x15,
    0x1c,
    0x1d,
    0x21,
    0x26,
    0x27,
    0x28,
    0x61,
    0x80,
    0xc3,
    0xe2,
    0xed,
    0xf0,
    0xf4,
    0xff
  ),
  fc.integer({ min: 0, max: 255 })
)
const bytes = (maxLength: number) => fc.array(byte, { maxLength }).map((codes) => String.fromCharCode(...codes))

/** Any bytes, most often such that begin as keys do. */
const place = fc.oneof(
  fc.tuple(key, fc.constantFrom("", "\0", "\xff")).map(([parts, more]) => packed(parts) + more),
  fc.tuple(key, fc.nat(12), bytes(4)).map(([parts, cut, more]) => {
    const whole = packed(parts)
    return whole.slice(0, Math.max(0, whole.length - cut)) + more
  }),
  bytes(12)
)

/** Keys near a place: what it is the beginning of, and what it would be with another ending. */
const near = fc
  .tuple(place, bytes(10))
  .map(([start, more]) => start + more)
  .filter((text) => !isKeyProblem(unpack(text)))

describe("a range of bytes", () => {
  it("selects the keys that lie in it, and no others", () => {
    let inside = 0
    fc.assert(
      fc.property(
        place,
        place,
        fc.array(fc.oneof(key.map(packed), near), { minLength: 1, maxLength: 8 }),
        (one, two, keys) => {
          const [start, end] = one < two ? [one, two] : [two, one]
          const range = selected(start, end)
          for (const text of [...keys, ...[start, end].filter((bound) => !isKeyProblem(unpack(bound)))]) {
            const expected = text >= start && text < end
            if (expected) inside++
            assert.strictEqual(
              range !== undefined && text >= range.start && text < range.end,
              expected,
              JSON.stringify([start, end, text])
            )
          }
        }
      ),
      { numRuns: 1_500 }
    )
    assert.isAbove(inside, 1_500)
  })

  it("begins at a key that is the first one there", () => {
    fc.assert(
      fc.property(place, bytes(3), (start, more) => {
        const range = selected(start, "\xff")
        if (range === undefined) return
        assert.isTrue(range.start >= start)
        // What stands between a place and its first key is no key.
        const between = start + more
        if (between < range.start) assert.isTrue(isKeyProblem(unpack(between)), JSON.stringify([start, between]))
      }),
      { numRuns: 20_000 }
    )
  })

  const cases: ReadonlyArray<readonly [string, string, Key]> = [
    ["nothing at all", "", [new Uint8Array()]],
    ["the end of all below a number", `${packed(["a", 1])}\xff`, ["a", 1 + Number.EPSILON]],
    ["the end of all below the greatest number", `${packed(["a", Number.POSITIVE_INFINITY])}\xff`, ["a", false]],
    ["the end of all below a bigint", `${packed(["a", 255n])}\xff`, ["a", 256n]],
    ["the end of all below true", `${packed(["a", true])}\xff`, ["a\0"]],
    ["the end of all below a text", `${packed(["a"])}\xff`, ["a\0"]],
    ["the place behind a key", `${packed(["a", 1n])}\0`, ["a", 1n, new Uint8Array()]],
    ["half a character", "\x02\xe2\x82", ["\u2080"]],
    ["bytes that are no text", "\x02\xff\0", [-(2n ** 2040n - 1n)]],
    ["a surrogate", "\x02\xed\xa0\x80\0", ["\ue000"]],
    ["minus zero", `\x21\x7f${"\xff".repeat(7)}`, [0]],
    ["a NaN above all numbers", `\x21\xff\xf8${"\0".repeat(6)}`, [false]],
    ["a NaN below all numbers", `\x21\x00\x07${"\xff".repeat(6)}`, [Number.NEGATIVE_INFINITY]]
  ]
  it.each(cases)("that begins with %s begins at the key behind it", (_, start, first) => {
    assert.deepStrictEqual(unpack(selected(start, "\xff")!.start), first)
  })

  it("holds nothing behind the greatest key", () => {
    assert.isUndefined(selected("\x28", "\xff"))
    assert.isUndefined(selected(`${packed([true, true])}\xff`, "\xff"))
    assert.isUndefined(selected("b", "a"))
  })

  it("selects all its keys also where the exact bound is too long for a key", () => {
    const longest = packed(["x".repeat(2_046)])
    const behind = selected(`${longest}\0`, "\xff")!
    // The key itself is left to the reader.
    assert.isTrue(behind.start <= longest && behind.start > packed(["x".repeat(2_045)]))
    const until = selected(packed(["a"]), `${longest}\0`)!
    assert.isTrue(until.end > longest)
    const cut = selected(`\x02${"x".repeat(2_049)}`, "\xff")!
    assert.isTrue(cut.start <= packed(["y"]))
  })
})
