/**
 * Keys as bytes that sort like the keys themselves.
 *
 * The encoding is FoundationDB's tuple layer, byte for byte as Deno KV packs its keys, so that memcmp on the packed
 * form is the key order in SQLite, PostgreSQL, Redis and memory alike. The packed form is a *binary string* (one char
 * code per byte): `<`, `Map` lookup and memcmp of the bytes then agree, and the common key, made of ASCII strings,
 * packs without any encoding.
 *
 * **Gotchas**
 *
 * - `packed.startsWith(prefix)` does not mean "is below the prefix": `["a\0b"]` starts with the bytes of `["a"]`. Use
 *   {@link isUnder} or {@link prefixRange}.
 * - Packed keys concatenate: the key `[...a, ...b]` packs to `pack(a) + pack(b)`, and what follows a prefix unpacks alone.
 *
 * @since 0.1.0
 */

/**
 * One part of a key. The order of types is bytes, string, bigint, number, boolean; `"1"`, `1`, `1n` and `true` are four
 * different parts.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyPart = Uint8Array | string | number | bigint | boolean

/**
 * A key: a non-empty tuple of parts, at most {@link maxPackedSize} bytes when packed.
 *
 * @since 0.1.0
 * @category models
 */
export type Key = readonly [KeyPart, ...Array<KeyPart>]

/**
 * A packed key, or the packed prefix of keys: a string in which every char code is one byte (0 to 255).
 *
 * @since 0.1.0
 * @category models
 */
export type Packed = string & { readonly "~effect-seams/Packed": true }

/**
 * Why something is not a key. A value and not an exception: the seam turns it into its own typed error. `detail` is a
 * sentence that says what to do, and never shows the part's content, since keys may hold secrets.
 *
 * @since 0.1.0
 * @category models
 */
export class KeyProblem {
  readonly _tag = "KeyProblem"
  /** Index of the part at fault, counted from 0; `undefined` when it is the key as a whole. */
  readonly part: number | undefined
  readonly detail: string
  /** The parts are fine, only the packed key is over {@link maxPackedSize}. */
  readonly tooLong: boolean
  constructor(part: number | undefined, detail: string, tooLong = false) {
    this.part = part
    this.detail = detail
    this.tooLong = tooLong
  }
}

/**
 * Whether a result of this module is a problem. For `pack` a `typeof result === "string"` says the opposite, cheaper.
 *
 * @since 0.1.0
 * @category guards
 */
export const isKeyProblem = (u: unknown): u is KeyProblem => u instanceof KeyProblem

/**
 * The longest packed key, in bytes: the limit of Deno KV, which every backend can hold.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxPackedSize = 2048

const tagBytes = 0x01
const tagString = 0x02
const tagNegativeBigInt = 0x0b
const tagZeroBigInt = 0x14
const tagPositiveBigInt = 0x1d
const tagDouble = 0x21
const tagFalse = 0x26
const tagTrue = 0x27

// Written and read within one synchronous step, so no value survives a call.
const scratch = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(8))

// Node, Deno and Bun have it; elsewhere plain loops do the same, slower.
const NodeBuffer = (globalThis as { readonly Buffer?: BufferConstructor | undefined }).Buffer

// Below this many bytes a loop in JavaScript beats the call into the platform (measured on Node 24).
const shortEnough = 48

const utf8Decoder = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const kinds = "A key part is a Uint8Array, string, number, bigint or boolean"

/**
 * Packs a key. Fails with a {@link KeyProblem} for an empty key, NaN, lone surrogates, other types, bigints of more
 * than 255 bytes and more than {@link maxPackedSize} bytes. `-0` becomes `0`; the infinities are allowed.
 *
 * @since 0.1.0
 * @category encoding
 */
export const pack = (parts: ReadonlyArray<KeyPart>): Packed | KeyProblem => {
  const packed = packPrefix(parts)
  return packed === ""
    ? new KeyProblem(undefined, 'The key is empty. A key has at least one part, for example ["users", "alice"].')
    : packed
}

/**
 * Packs the common start of keys. As {@link pack}, but no parts at all are allowed and give `""`, the prefix of every key.
 *
 * @since 0.1.0
 * @category encoding
 */
export const packPrefix = (parts: ReadonlyArray<KeyPart>): Packed | KeyProblem => {
  if (!Array.isArray(parts)) {
    return new KeyProblem(
      undefined,
      `The key is ${describe(parts)}. A key is an array of parts, for example ["users", "alice"].`
    )
  }
  // Joined at the end and not concatenated: V8 keeps a concatenated string as a tree, which every later comparison and
  // hash pays for. A joined one is flat: half the time of a look-up, and cheaper to make.
  const pieces: Array<string> = []
  let size = 0
  for (let i = 0; i < parts.length; i++) {
    const part: unknown = parts[i]
    if (typeof part === "string") {
      const body = stringBody(part, i)
      if (typeof body !== "string") return body
      pieces.push("\x02", body, "\x00")
      size += body.length + 2
    } else if (typeof part === "number" || typeof part === "bigint") {
      const bytes = typeof part === "number" ? packNumber(part, i) : packBigInt(part, i)
      if (typeof bytes !== "string") return bytes
      pieces.push(bytes)
      size += bytes.length
    } else if (typeof part === "boolean") {
      pieces.push(part ? "\x27" : "\x26")
      size++
    } else if (isBytes(part)) {
      if (part.length > maxPackedSize) return tooLong(i)
      const body = escapeNul(bytesToBinary(part))
      pieces.push("\x01", body, "\x00")
      size += body.length + 2
    } else {
      return new KeyProblem(i, `Key part ${i} is ${describe(part)}. ${kinds}: ${remedy(part)}.`)
    }
    if (size > maxPackedSize) return tooLong(i)
  }
  return pieces.join("") as Packed
}

/**
 * Reads a packed key back. The exact inverse of {@link pack}: what it accepts packs to the same bytes again, everything
 * else (truncated, unknown tags, bytes another encoder would have written differently) is a {@link KeyProblem}.
 * `Uint8Array` parts are fresh copies.
 *
 * @since 0.1.0
 * @category decoding
 */
export const unpack = (packed: string): Key | KeyProblem => {
  if (packed.length > maxPackedSize) return corrupt(0, `it has ${packed.length} bytes, more than ${maxPackedSize}`)
  const parts: Array<KeyPart> = []
  let at = 0
  while (at < packed.length) {
    const index = parts.length
    const tag = packed.charCodeAt(at++)
    if (tag === tagString || tag === tagBytes) {
      let end = packed.indexOf("\x00", at)
      let escaped = false
      while (end !== -1 && packed.charCodeAt(end + 1) === 0xff) {
        escaped = true
        end = packed.indexOf("\x00", end + 2)
      }
      if (end === -1) return corrupt(index, "its end is missing")
      const raw = packed.slice(at, end)
      const body = escaped ? raw.replaceAll("\x00\xff", "\x00") : raw
      if (tag === tagBytes) {
        const bytes = binaryToBytes(body)
        if (bytes === undefined) return corrupt(index, "it holds characters above 255")
        parts.push(bytes)
      } else {
        const text = decodeUtf8(body)
        if (text === undefined) return corrupt(index, "it is not valid UTF-8")
        parts.push(text)
      }
      at = end + 1
    } else if (tag === tagDouble) {
      if (at + 8 > packed.length) return corrupt(index, "its end is missing")
      const value = unpackNumber(packed, at)
      if (value === undefined) return corrupt(index, "it is not a number our encoder writes")
      parts.push(value)
      at += 8
    } else if (tag >= tagNegativeBigInt && tag <= tagPositiveBigInt) {
      const negative = tag < tagZeroBigInt
      const wide = tag === tagNegativeBigInt || tag === tagPositiveBigInt
      let size = negative ? tagZeroBigInt - tag : tag - tagZeroBigInt
      if (wide) {
        if (at >= packed.length) return corrupt(index, "its end is missing")
        size = negative ? packed.charCodeAt(at++) ^ 0xff : packed.charCodeAt(at++)
        if (size <= 8 || size > 0xff) return corrupt(index, "it is not a bigint our encoder writes")
      }
      if (at + size > packed.length) return corrupt(index, "its end is missing")
      const value = unpackBigInt(packed, at, size, negative)
      if (value === undefined) return corrupt(index, "it is not a bigint our encoder writes")
      parts.push(value)
      at += size
    } else if (tag === tagFalse || tag === tagTrue) {
      parts.push(tag === tagTrue)
    } else {
      return corrupt(index, `its type tag ${tag} is unknown`)
    }
  }
  return parts.length === 0 ? corrupt(0, "it is empty") : (parts as unknown as Key)
}

/**
 * The range of all keys below a prefix, the key equal to the prefix not included: `start` inclusive, `end` exclusive.
 *
 * @since 0.1.0
 * @category ranges
 */
export const prefixRange = (prefix: Packed): { readonly start: Packed; readonly end: Packed } => ({
  start: (prefix + "\x00") as Packed,
  end: (prefix + "\xff") as Packed
})

/**
 * Whether a packed key lies below a prefix (the prefix key itself does not): the test that {@link prefixRange} makes.
 *
 * @since 0.1.0
 * @category ranges
 */
export const isUnder = (packed: Packed, prefix: Packed): boolean =>
  packed.length > prefix.length && packed.startsWith(prefix) && packed.charCodeAt(prefix.length) !== 0xff

/**
 * The size of a packed key in bytes.
 *
 * @since 0.1.0
 * @category getters
 */
export const packedSize = (packed: Packed): number => packed.length

/**
 * The bytes of a packed key, for drivers that store binary keys: always a plain `Uint8Array` with a buffer of its own.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toBytes = (packed: Packed): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(packed.length)
  if (NodeBuffer !== undefined && packed.length > shortEnough) {
    NodeBuffer.from(out.buffer).write(packed, "latin1")
  } else {
    for (let i = 0; i < packed.length; i++) out[i] = packed.charCodeAt(i)
  }
  return out
}

/**
 * The packed key of stored bytes. Does not look at them: {@link unpack} tells whether they are a key.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromBytes = (bytes: Uint8Array): Packed => bytesToBinary(bytes) as Packed

const stringBody = (part: string, index: number): string | KeyProblem => {
  // A UTF-16 unit takes at least one byte, so this saves encoding what cannot fit.
  if (part.length > maxPackedSize) return tooLong(index)
  for (let i = 0; i < part.length; i++) {
    const code = part.charCodeAt(i)
    if (code === 0 || code > 0x7f) {
      const encoded = encodeUtf8(part)
      return encoded === undefined
        ? new KeyProblem(
            index,
            `Key part ${index} holds a lone surrogate, which UTF-8 cannot carry. Use well-formed text, or a Uint8Array for raw data.`
          )
        : escapeNul(encoded)
    }
  }
  return part
}

const packNumber = (part: number, index: number): string | KeyProblem => {
  if (part !== part) {
    return new KeyProblem(
      index,
      `Key part ${index} is NaN, which has no place in the key order. Use a real number or a string.`
    )
  }
  scratch.setFloat64(0, part === 0 ? 0 : part)
  // Positive numbers get the sign bit set, negative ones all bits flipped: then bytes sort like numbers.
  const flip = part < 0 ? 0xff : 0
  return String.fromCharCode(
    tagDouble,
    scratch.getUint8(0) ^ (flip | 0x80),
    scratch.getUint8(1) ^ flip,
    scratch.getUint8(2) ^ flip,
    scratch.getUint8(3) ^ flip,
    scratch.getUint8(4) ^ flip,
    scratch.getUint8(5) ^ flip,
    scratch.getUint8(6) ^ flip,
    scratch.getUint8(7) ^ flip
  )
}

const unpackNumber = (packed: string, at: number): number | undefined => {
  const flip = packed.charCodeAt(at) < 0x80 ? 0xff : 0
  for (let i = 0; i < 8; i++) {
    const code = packed.charCodeAt(at + i)
    if (code > 0xff) return undefined
    scratch.setUint8(i, code ^ (i === 0 ? flip | 0x80 : flip))
  }
  const value = scratch.getFloat64(0)
  return value !== value || Object.is(value, -0) ? undefined : value
}

const packBigInt = (part: bigint, index: number): string | KeyProblem => {
  if (part === 0n) return "\x14"
  const negative = part < 0n
  let hex = (negative ? -part : part).toString(16)
  if (hex.length % 2 === 1) hex = "0" + hex
  const size = hex.length / 2
  if (size > 0xff) {
    return new KeyProblem(
      index,
      `Key part ${index} is a bigint of ${size} bytes; at most 255 fit into a key. Use a smaller number, a string or a Uint8Array.`
    )
  }
  // Negative numbers are written inverted, so that the larger magnitude sorts first.
  const flip = negative ? 0xff : 0
  let out =
    size <= 8
      ? String.fromCharCode(negative ? tagZeroBigInt - size : tagZeroBigInt + size)
      : String.fromCharCode(negative ? tagNegativeBigInt : tagPositiveBigInt, size ^ flip)
  for (let i = 0; i < hex.length; i += 2) {
    out += String.fromCharCode(Number.parseInt(hex.slice(i, i + 2), 16) ^ flip)
  }
  return out
}

const unpackBigInt = (packed: string, at: number, size: number, negative: boolean): bigint | undefined => {
  if (size === 0) return 0n
  const flip = negative ? 0xff : 0
  let hex = "0x"
  for (let i = at; i < at + size; i++) {
    const code = packed.charCodeAt(i)
    if (code > 0xff) return undefined
    const byte = code ^ flip
    if (i === at && byte === 0) return undefined
    hex += byte < 0x10 ? "0" + byte.toString(16) : byte.toString(16)
  }
  return negative ? -BigInt(hex) : BigInt(hex)
}

const escapeNul = (binary: string): string => (binary.includes("\x00") ? binary.replaceAll("\x00", "\x00\xff") : binary)

// By hand: for short text ten times faster than TextEncoder, which would also replace lone surrogates unseen.
const encodeUtf8 = (text: string): string | undefined => {
  let out = ""
  for (const char of text) {
    const code = char.codePointAt(0)!
    const last = 0x80 | (code & 0x3f)
    if (code < 0x80) {
      out += char
    } else if (code < 0x800) {
      out += String.fromCharCode(0xc0 | (code >> 6), last)
    } else if (code < 0x10000) {
      if (code >= 0xd800 && code <= 0xdfff) return undefined
      out += String.fromCharCode(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), last)
    } else {
      out += String.fromCharCode(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), last)
    }
  }
  return out
}

const decodeUtf8 = (binary: string): string | undefined => {
  for (let i = 0; i < binary.length; i++) {
    if (binary.charCodeAt(i) > 0x7f) {
      const bytes = binaryToBytes(binary)
      if (bytes === undefined) return undefined
      try {
        return utf8Decoder.decode(bytes)
      } catch {
        return undefined
      }
    }
  }
  return binary
}

const binaryToBytes = (binary: string): Uint8Array<ArrayBuffer> | undefined => {
  const out = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) {
    const code = binary.charCodeAt(i)
    if (code > 0xff) return undefined
    out[i] = code
  }
  return out
}

// Engines bound the number of arguments of one call, hence the pieces.
const piece = 4096

const bytesToBinary = (bytes: Uint8Array): string => {
  if (NodeBuffer !== undefined && bytes.length > shortEnough) {
    return NodeBuffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")
  }
  if (bytes.length <= piece) return String.fromCharCode.apply(null, bytes as never)
  let out = ""
  for (let i = 0; i < bytes.length; i += piece) {
    out += String.fromCharCode.apply(null, bytes.subarray(i, i + piece) as never)
  }
  return out
}

// Bytes from another realm (a vm context, a test runner's) are not `instanceof` this realm's class.
const isBytes = (u: unknown): u is Uint8Array =>
  u instanceof Uint8Array || (ArrayBuffer.isView(u) && Object.prototype.toString.call(u) === "[object Uint8Array]")

const tooLong = (index: number): KeyProblem =>
  new KeyProblem(
    index,
    `Key part ${index} takes the key over ${maxPackedSize} packed bytes. Shorten the parts, or use a hash of the long one.`,
    true
  )

const corrupt = (index: number, why: string): KeyProblem =>
  new KeyProblem(
    index,
    `The stored key cannot be read at part ${index}: ${why}. It was damaged, or not written by this library.`
  )

const describe = (u: unknown): string =>
  u === null || u === undefined
    ? String(u)
    : typeof u === "object"
      ? `an object of type ${Object.prototype.toString.call(u).slice(8, -1)}`
      : `a ${typeof u}`

const remedy = (u: unknown): string =>
  u instanceof Date
    ? "use its time in milliseconds, or its ISO text"
    : Array.isArray(u)
      ? "spread nested arrays into the key"
      : u === undefined || u === null
        ? "leave the part out or choose a value for it"
        : "convert it first"
