import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { runInNewContext } from "node:vm"
import * as KeyCodec from "../../src/internal/keyCodec.ts"

const bytes = (...values: Array<number>): Uint8Array => new Uint8Array(values)

const hexOf = (packed: string): string => Buffer.from(packed, "latin1").toString("hex")
const binary = (hex: string): KeyCodec.Packed => Buffer.from(hex, "hex").toString("latin1") as KeyCodec.Packed

const packed = (parts: ReadonlyArray<KeyCodec.KeyPart>): KeyCodec.Packed => {
  const result = KeyCodec.pack(parts)
  if (KeyCodec.isKeyProblem(result)) throw new Error(result.detail)
  return result
}

const unpacked = (key: KeyCodec.Packed): KeyCodec.Key => {
  const result = KeyCodec.unpack(key)
  if (KeyCodec.isKeyProblem(result)) throw new Error(result.detail)
  return result
}

// In key order, as Deno 2.9.6 lists them and with the bytes it wrote: each key was set through `Deno.openKv(file)` and
// the `kv` table's key column read back with node:sqlite.
const denoVectors: ReadonlyArray<readonly [key: KeyCodec.Key, hex: string]> = [
  [[bytes()], "0100"],
  [[bytes(0)], "0100ff00"],
  [[bytes(0, 255)], "0100ffff00"],
  [[bytes(1, 2, 0, 7, 8)], "01010200ff070800"],
  [[bytes(255)], "01ff00"],
  [[""], "0200"],
  [["a", "b", ""], "0261000262000200"],
  [["a", 1, 1n, true, bytes(9)], "02610021bff0000000000000150127010900"],
  [["a\0b"], "026100ff6200"],
  [["a:b"], "02613a6200"],
  [["hello"], "0268656c6c6f00"],
  [["users", "alice"], "0275736572730002616c69636500"],
  [["é"], "02c3a900"],
  [["€"], "02e282ac00"],
  [["\uffff"], "02efbfbf00"],
  [["😀"], "02f09f988000"],
  [[-(2n ** 2040n - 1n)], "0b00" + "00".repeat(255)],
  [[-(2n ** 128n)], "0beefeffffffffffffffffffffffffffffffff"],
  [[-(2n ** 64n) - 1n], "0bf6fefffffffffffffffe"],
  [[-(2n ** 64n)], "0bf6feffffffffffffffff"],
  [[-(2n ** 64n - 1n)], "0c0000000000000000"],
  [[-65536n], "11feffff"],
  [[-256n], "12feff"],
  [[-255n], "1300"],
  [[-1n], "13fe"],
  [[0n], "14"],
  [[1n], "1501"],
  [[255n], "15ff"],
  [[256n], "160100"],
  [[65535n], "16ffff"],
  [[65536n], "17010000"],
  [[2n ** 32n], "190100000000"],
  [[2n ** 64n - 1n], "1cffffffffffffffff"],
  [[2n ** 64n], "1d09010000000000000000"],
  [[2n ** 128n], "1d110100000000000000000000000000000000"],
  [[2n ** 2040n - 1n], "1dff" + "ff".repeat(255)],
  [[-Infinity], "21000fffffffffffff"],
  [[-Number.MAX_VALUE], "210010000000000000"],
  [[-42.1], "213fbaf33333333332"],
  [[-1], "21400fffffffffffff"],
  [[-5e-324], "217ffffffffffffffe"],
  [[0], "218000000000000000"],
  [[5e-324], "218000000000000001"],
  [[1], "21bff0000000000000"],
  [[1.5], "21bff8000000000000"],
  [[42], "21c045000000000000"],
  [[2 ** 53], "21c340000000000000"],
  [[Number.MAX_VALUE], "21ffefffffffffffff"],
  [[Infinity], "21fff0000000000000"],
  [[false], "26"],
  [[true], "27"]
]

// From FoundationDB's tuple layer specification and its bindings' tests, for the types we share.
const fdbVectors: ReadonlyArray<readonly [key: KeyCodec.Key, hex: string]> = [
  [["FÔO\0bar"], "0246c3944f00ff62617200"],
  [[bytes(0x66, 0x6f, 0x6f, 0x00, 0x62, 0x61, 0x72)], "01666f6f00ff62617200"],
  [[-5551212n], "11ab4b93"],
  [[-42], "213fbaffffffffffff"]
]

const rank = (part: KeyCodec.KeyPart): number =>
  typeof part === "string"
    ? 1
    : typeof part === "bigint"
      ? 2
      : typeof part === "number"
        ? 3
        : typeof part === "boolean"
          ? 4
          : 0

const compareLists = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!
  }
  return a.length - b.length
}

const codePoints = (text: string): Array<number> => Array.from(text, (char) => char.codePointAt(0)!)

// The order by what the parts mean, knowing nothing of their encoding.
const compareParts = (a: KeyCodec.KeyPart, b: KeyCodec.KeyPart): number => {
  if (rank(a) !== rank(b)) return rank(a) - rank(b)
  if (typeof a === "string") return compareLists(codePoints(a), codePoints(b as string))
  if (a instanceof Uint8Array) return compareLists(a, b as Uint8Array)
  return a < b ? -1 : a > b ? 1 : 0
}

const compareKeys = (a: KeyCodec.Key, b: KeyCodec.Key): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compareParts(a[i]!, b[i]!)
    if (order !== 0) return Math.sign(order)
  }
  return Math.sign(a.length - b.length)
}

const sign = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

// Small alphabets, so that equal beginnings, NULs and the neighbours of the escape byte meet often.
const somePart: fc.Arbitrary<KeyCodec.KeyPart> = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b", "\0", "\u0001", "ÿ", "\uffff", "😀", "é"), maxLength: 5 }),
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.array(fc.constantFrom(0, 1, 0xfe, 0xff), { maxLength: 5 }).map((values) => new Uint8Array(values)),
  fc.uint8Array({ maxLength: 20 }),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
  fc.bigInt({ min: -300n, max: 300n }),
  fc
    .tuple(fc.constantFrom(7, 8, 31, 32, 63, 64, 72, 2032), fc.constantFrom(-1n, 0n, 1n), fc.boolean())
    .map(([bits, off, negative]) => (negative ? -(2n ** BigInt(bits)) : 2n ** BigInt(bits)) + off),
  fc.double({ noNaN: true }).map((n) => (Object.is(n, -0) ? 0 : n)),
  fc.integer({ min: -3, max: 3 }),
  fc.boolean()
)

const someKey: fc.Arbitrary<KeyCodec.Key> = fc
  .array(somePart, { minLength: 1, maxLength: 4 })
  .map((parts) => parts as unknown as KeyCodec.Key)

describe("a key has the bytes that Deno KV and FoundationDB give it", () => {
  it.each(denoVectors.map(([key, hex]) => ({ key, hex })))("packs and reads $hex", ({ key, hex }) => {
    assert.strictEqual(hexOf(packed(key)), hex)
    assert.deepStrictEqual(unpacked(binary(hex)), key)
  })

  it.each(fdbVectors.map(([key, hex]) => ({ key, hex })))(
    "packs and reads the FoundationDB vector $hex",
    ({ key, hex }) => {
      assert.strictEqual(hexOf(packed(key)), hex)
      assert.deepStrictEqual(unpacked(binary(hex)), key)
    }
  )

  it("sorts as Deno lists", () => {
    const keys = denoVectors.map(([key]) => packed(key))
    assert.deepStrictEqual(keys.toReversed().toSorted(), keys)
  })
})

describe("the order of packed keys is the order of the keys", () => {
  it("holds for random pairs, in strings and in bytes", () => {
    fc.assert(
      fc.property(someKey, someKey, (a, b) => {
        const left = packed(a)
        const right = packed(b)
        const expected = compareKeys(a, b)
        assert.strictEqual(sign(left, right), expected)
        assert.strictEqual(Buffer.compare(KeyCodec.toBytes(left), KeyCodec.toBytes(right)), expected)
      }),
      { numRuns: 5000 }
    )
  })

  it("holds for keys that share their beginning", () => {
    fc.assert(
      fc.property(
        someKey,
        fc.array(somePart, { maxLength: 2 }),
        fc.array(somePart, { maxLength: 2 }),
        (start, a, b) => {
          const left: KeyCodec.Key = [...start, ...a]
          const right: KeyCodec.Key = [...start, ...b]
          assert.strictEqual(sign(packed(left), packed(right)), compareKeys(left, right))
        }
      ),
      { numRuns: 2000 }
    )
  })
})

describe("a packed key reads back as it was", () => {
  it("holds for random keys, through strings and through bytes", () => {
    fc.assert(
      fc.property(someKey, (key) => {
        const text = packed(key)
        assert.deepStrictEqual(unpacked(text), key)
        assert.deepStrictEqual(unpacked(KeyCodec.fromBytes(KeyCodec.toBytes(text))), key)
      }),
      { numRuns: 3000 }
    )
  })

  it("keeps a byte order mark at the start of a text", () => {
    assert.deepStrictEqual(unpacked(packed(["\ufeffa"])), ["\ufeffa"])
  })

  it("writes -0 as 0", () => {
    assert.strictEqual(packed([-0]), packed([0]))
    assert.isTrue(Object.is(unpacked(packed([-0]))[0], 0))
  })

  it("gives bytes that are nobody else's", () => {
    const part = bytes(1, 2, 3)
    const text = packed([part])
    part[0] = 9
    const read = unpacked(text)[0] as Uint8Array
    assert.deepStrictEqual(read, bytes(1, 2, 3))
    read[0] = 7
    assert.deepStrictEqual(unpacked(text), [bytes(1, 2, 3)])
  })

  it("takes views and Node buffers as the bytes they show", () => {
    const whole = bytes(9, 9, 1, 2, 9)
    assert.strictEqual(packed([whole.subarray(2, 4)]), packed([bytes(1, 2)]))
    assert.strictEqual(packed([Buffer.from([1, 2])]), packed([bytes(1, 2)]))
    const foreign = runInNewContext("new Uint8Array([1, 2])") as Uint8Array
    assert.isFalse(foreign instanceof Uint8Array)
    assert.strictEqual(packed([foreign]), packed([bytes(1, 2)]))
  })

  it("converts long keys and views of larger buffers byte for byte", () => {
    const every = new Uint8Array(1500).map((_, i) => i % 256)
    const text = KeyCodec.fromBytes(every)
    assert.deepStrictEqual(KeyCodec.toBytes(text), every)
    assert.strictEqual(text.length, 1500)
    assert.strictEqual(KeyCodec.fromBytes(every.subarray(300, 1400)), text.slice(300, 1400))
    assert.strictEqual(KeyCodec.fromBytes(new Uint8Array(100_000).fill(200)), "\xc8".repeat(100_000))
  })

  it("gives plain bytes with a buffer of their own", () => {
    for (const length of [3, 1000]) {
      const out = KeyCodec.toBytes(packed(["x".repeat(length)]))
      assert.strictEqual(Object.getPrototypeOf(out), Uint8Array.prototype)
      assert.strictEqual(out.buffer.byteLength, out.length)
    }
  })
})

describe("different keys stay different", () => {
  it("keeps the types of one value apart", () => {
    const all: ReadonlyArray<KeyCodec.Key> = [
      ["1"],
      [1],
      [1n],
      [true],
      [bytes(0x31)],
      ["true"],
      [""],
      [0],
      [0n],
      [false],
      [bytes()]
    ]
    assert.strictEqual(new Set(all.map(packed)).size, all.length)
  })

  it("keeps parts apart whatever they contain", () => {
    const all: ReadonlyArray<KeyCodec.Key> = [
      ["a", "b"],
      ["a:b"],
      ["a", "b", ""],
      ["a", "", "b"],
      ["a\0b"],
      ["a\0", "b"],
      ["a", "\0b"],
      ["a\u0000\u00ffb"],
      ["ab"],
      [bytes(0x61), bytes(0x62)],
      [bytes(0x61, 0, 0xff, 0x62)]
    ]
    assert.strictEqual(new Set(all.map(packed)).size, all.length)
  })

  it("keeps composed and decomposed text apart", () => {
    assert.notStrictEqual(packed(["é"]), packed(["e\u0301"]))
  })
})

describe("what is no key is refused with a sentence", () => {
  const refused: ReadonlyArray<
    readonly [name: string, key: ReadonlyArray<unknown>, part: number | undefined, says: RegExp]
  > = [
    ["an empty key", [], undefined, /empty/],
    ["NaN", ["a", Number.NaN], 1, /part 1 is NaN/],
    ["a high surrogate alone", ["\ud800"], 0, /part 0 holds a lone surrogate/],
    ["a high surrogate before other text", ["\ud800a"], 0, /lone surrogate/],
    ["a low surrogate alone", ["a", "x\udc00"], 1, /part 1 holds a lone surrogate/],
    ["surrogates in the wrong order", ["\udc00\ud800"], 0, /lone surrogate/],
    ["undefined", ["a", undefined], 1, /part 1 is undefined/],
    ["null", [null], 0, /part 0 is null/],
    ["a hole", Object.assign([], { 1: "a" }), 0, /part 0 is undefined/],
    ["a Date", ["a", "b", new Date(0)], 2, /part 2 is an object of type Date.*milliseconds/],
    ["an object", [{ id: 1 }], 0, /part 0 is an object of type Object/],
    ["a nested array", [["a"]], 0, /type Array.*spread/],
    ["a String object", [Object("a")], 0, /type String/],
    ["a symbol", [Symbol("a")], 0, /a symbol/],
    ["a function", [() => "a"], 0, /a function/],
    ["another typed array", [new Uint16Array(1)], 0, /type Uint16Array/],
    ["something that poses as bytes", [{ [Symbol.toStringTag]: "Uint8Array", length: 1, 0: 1 }], 0, /type Uint8Array/],
    ["an ArrayBuffer", [new ArrayBuffer(1)], 0, /type ArrayBuffer/],
    ["a bigint of 256 bytes", ["a", 2n ** 2040n], 1, /part 1 is a bigint of 256 bytes/],
    ["a negative bigint of 256 bytes", [-(2n ** 2040n)], 0, /bigint of 256 bytes/],
    ["one text too long", ["a".repeat(2047)], 0, /part 0 takes the key over 2048/],
    ["bytes too long", [new Uint8Array(3000)], 0, /part 0 takes the key over 2048/],
    ["bytes that grow by escaping", [new Uint8Array(1024)], 0, /over 2048/],
    ["text that grows in UTF-8", ["€".repeat(700)], 0, /over 2048/],
    ["text that grows by escaping", ["\0".repeat(1024)], 0, /over 2048/],
    [
      "parts too long together",
      ["a".repeat(1000), "b".repeat(1000), "c".repeat(60)],
      2,
      /part 2 takes the key over 2048/
    ]
  ]

  it.each(refused.map(([name, key, part, says]) => ({ name, key, part, says })))("$name", ({ key, part, says }) => {
    const result = KeyCodec.pack(key as never)
    if (!KeyCodec.isKeyProblem(result)) throw new Error(`accepted as ${hexOf(result)}`)
    assert.strictEqual(result._tag, "KeyProblem")
    assert.strictEqual(result.part, part)
    assert.match(result.detail, says)
    assert.match(result.detail, /\.$/)
  })

  it("something that is not an array", () => {
    for (const key of ["abc", undefined, null, { 0: "a", length: 1 }, bytes(1)]) {
      assert.isTrue(KeyCodec.isKeyProblem(KeyCodec.pack(key as never)))
    }
  })

  it("does not show the content of a part", () => {
    const secret = "token-4711"
    for (const key of [[secret + "\ud800"], [secret.repeat(300)], [{ secret }]]) {
      const result = KeyCodec.pack(key as never)
      assert.isTrue(KeyCodec.isKeyProblem(result) && !result.detail.includes("4711"))
    }
  })

  it("accepts exactly 2048 bytes, and bigints of exactly 255", () => {
    assert.strictEqual(packed(["a".repeat(2046)]).length, 2048)
    assert.strictEqual(KeyCodec.packedSize(packed([bytes(1), "é".repeat(1021), true])), 2048)
    assert.strictEqual(packed([2n ** 2040n - 1n]).length, 257)
  })
})

describe("stored bytes that are no key of ours are told, never guessed", () => {
  const corrupt: ReadonlyArray<readonly [name: string, hex: string]> = [
    ["nothing", ""],
    ["an unknown tag", "00"],
    ["a nested tuple", "0502610000"],
    ["a float of 32 bits", "2080000000"],
    ["text without its end", "026162"],
    ["text that ends in an escape", "026100ff"],
    ["bytes without their end", "0101"],
    ["a number cut short", "21800000000000"],
    ["NaN", "21fff8000000000000"],
    ["-0", "217fffffffffffffff"],
    ["a bigint cut short", "1601"],
    ["a wide bigint without its length", "1d"],
    ["a wide bigint cut short", "1d09010000"],
    ["a bigint with a leading zero", "160001"],
    ["a negative bigint with a leading zero", "12fffe"],
    ["a wide bigint that is narrow", "1d080100000000000000"],
    ["a negative wide bigint that is narrow", "0bf7feffffffffffffff"],
    ["a stray continuation byte", "028000"],
    ["overlong UTF-8", "02c0af00"],
    ["a surrogate in UTF-8", "02eda08000"],
    ["UTF-8 above U+10FFFF", "02f490808000"],
    ["rubbish after a key", "02610003"],
    ["more than 2048 bytes", "02" + "61".repeat(2047) + "00"]
  ]

  it.each(corrupt.map(([name, hex]) => ({ name, hex })))("$name", ({ hex }) => {
    const result = KeyCodec.unpack(binary(hex))
    assert.isTrue(KeyCodec.isKeyProblem(result), JSON.stringify(result))
  })

  it("characters that are not bytes", () => {
    const wide = [
      "\x02a\u0100\x00",
      "\x01\u0100\x00",
      "\x15\u0100",
      "\x21\x80\u0100\0\0\0\0\0\0",
      "\u0127",
      "\x1d\u0109" + "\x01".repeat(300)
    ]
    for (const text of wide) assert.isTrue(KeyCodec.isKeyProblem(KeyCodec.unpack(text)), JSON.stringify(text))
  })

  it("either refuses or reads what packs to the same bytes again", () => {
    const tag = fc.constantFrom(0x01, 0x02, 0x0b, 0x0c, 0x13, 0x14, 0x15, 0x1c, 0x1d, 0x21, 0x26, 0x27)
    const rubbish = fc.array(fc.oneof(tag, fc.constantFrom(0, 0xff), fc.nat(255)), { maxLength: 24 })
    let accepted = 0
    fc.assert(
      fc.property(rubbish, (values) => {
        const text = KeyCodec.fromBytes(new Uint8Array(values))
        const result = KeyCodec.unpack(text)
        if (KeyCodec.isKeyProblem(result)) return
        accepted++
        assert.strictEqual(packed(result), text)
      }),
      { numRuns: 20_000 }
    )
    assert.isAbove(accepted, 0)
  })
})

describe("a prefix covers the keys below it and no others", () => {
  it("holds for random prefixes and keys", () => {
    fc.assert(
      fc.property(fc.array(somePart, { maxLength: 3 }), someKey, fc.boolean(), (prefix, other, below) => {
        const key = below ? ([...prefix, ...other] as unknown as KeyCodec.Key) : other
        const start = KeyCodec.packPrefix(prefix) as KeyCodec.Packed
        const range = KeyCodec.prefixRange(start)
        const text = packed(key)
        const expected = key.length > prefix.length && prefix.every((part, i) => compareParts(part, key[i]!) === 0)
        assert.strictEqual(range.start <= text && text < range.end, expected)
        assert.strictEqual(KeyCodec.isUnder(text, start), expected)
      }),
      { numRuns: 3000 }
    )
  })

  it("leaves out the prefix key itself and the keys whose text only begins alike", () => {
    const prefix = packed(["a"])
    for (const key of [["a"], ["a\0"], ["a\0b"], ["ab"], ["a\0b", "c"]] as const) {
      assert.isFalse(KeyCodec.isUnder(packed(key), prefix), JSON.stringify(key))
    }
    for (const key of [
      ["a", ""],
      ["a", bytes()],
      ["a", true],
      ["a", "b", "c"]
    ] as const) {
      assert.isTrue(KeyCodec.isUnder(packed(key), prefix), JSON.stringify(key))
    }
  })

  it("takes no parts as the prefix of every key", () => {
    assert.strictEqual(KeyCodec.packPrefix([]) as string, "")
    assert.isTrue(KeyCodec.isUnder(packed([bytes()]), "" as KeyCodec.Packed))
    assert.isTrue(KeyCodec.isUnder(packed([true]), "" as KeyCodec.Packed))
  })

  it("packs what follows a prefix on its own", () => {
    const whole = packed(["users", 7, "x"])
    const prefix = packed(["users"])
    assert.strictEqual(whole, prefix + packed([7, "x"]))
    assert.deepStrictEqual(unpacked(whole.slice(prefix.length) as KeyCodec.Packed), [7, "x"])
  })
})
