/**
 * Places among packed keys as keys. Clients ask for ranges of bytes: a key, the place behind it (a NUL byte more), the place behind all
 * below it (0xFF more), or nothing at all. A Kv takes keys as bounds. Every place stands directly before some key, and a range means
 * the same with that key for its bound.
 */
import type { Key, KeyPart } from "../../internal/keyCodec.ts"
import { isKeyProblem, pack, unpack } from "../../internal/keyCodec.ts"
import type { Selector } from "../../kv/model.ts"

/**
 * The keys of a range, maybe with some outside of it at its edges where the exact bound is no key of a Kv (too long, or no UTF-8).
 * `undefined`: none.
 */
export const selectorOf = (start: string, end: string): Selector | undefined => {
  if (start >= end) return undefined
  const from = placeOf(start)
  const to = placeOf(end)
  const first = from.key ?? (from.tooLong ? from.below : undefined)
  if (first === undefined && !from.tooLong) return undefined
  const last = to.key ?? (to.tooLong ? behind(to.below ?? []) : undefined)
  if (first === undefined) return last === undefined ? { prefix: [] } : { prefix: [], end: last }
  return last === undefined ? { prefix: [], start: first } : { start: first, end: last }
}

interface Place {
  /** The smallest key that is not before the place. */
  readonly key: Key | undefined
  /** There is one, but it does not fit. */
  readonly tooLong: boolean
  /** A key that is not behind the place, when `tooLong`. */
  readonly below: Key | undefined
}

const placeOf = (place: string): Place => {
  const parts: Array<KeyPart> = []
  const rest = readParts(place, parts)
  if (rest === undefined) return whole(parts.length === 0 ? [new Uint8Array()] : parts, parts)
  const part = rest === "" ? undefined : partFrom(rest)
  if (part !== undefined) return whole([...parts, part], parts)
  return { key: behind(parts), tooLong: false, below: undefined }
}

const whole = (key: ReadonlyArray<KeyPart>, below: ReadonlyArray<KeyPart>): Place =>
  fits(key)
    ? { key: key as Key, tooLong: false, below: undefined }
    : { key: undefined, tooLong: true, below: below.length === 0 ? undefined : (below as Key) }

const fits = (key: ReadonlyArray<KeyPart>): boolean => !isKeyProblem(pack(key))

/** Takes the parts from the front that are whole, and answers what is left, `undefined` for nothing. */
const readParts = (place: string, parts: Array<KeyPart>): string | undefined => {
  let at = 0
  while (at < place.length) {
    const end = endOfPart(place, at)
    const part = end === undefined ? undefined : unpack(place.slice(at, end))
    if (part === undefined || isKeyProblem(part)) return place.slice(at)
    parts.push(part[0])
    at = end!
  }
  return undefined
}

/** Where a part ends that begins here, if it does. */
const endOfPart = (place: string, at: number): number | undefined => {
  const tag = place.charCodeAt(at)
  if (tag === tagBytes || tag === tagString) {
    let end = place.indexOf("\x00", at + 1)
    while (end !== -1 && place.charCodeAt(end + 1) === 0xff) end = place.indexOf("\x00", end + 2)
    return end === -1 ? undefined : end + 1
  }
  const end = at + 1 + sizeOf(tag, place.charCodeAt(at + 1))
  return end <= place.length ? end : undefined
}

const tagBytes = 0x01
const tagString = 0x02
const tagFirstBigInt = 0x0b
const tagZero = 0x14
const tagLastBigInt = 0x1d
const tagDouble = 0x21
const tagFalse = 0x26
const tagTrue = 0x27

/** Bytes behind the tag of a part of a fixed size; `next` is the byte that follows it. */
const sizeOf = (tag: number, next: number): number => {
  if (tag === tagDouble) return 8
  if (tag === tagFirstBigInt) return 1 + (next ^ 0xff)
  if (tag === tagLastBigInt) return 1 + next
  return tag > tagFirstBigInt && tag < tagLastBigInt ? Math.abs(tag - tagZero) : 0
}

/** The smallest part that is not before what is left of a place, which is no whole part itself. */
const partFrom = (rest: string): KeyPart | undefined => {
  const tag = rest.charCodeAt(0)
  const body = rest.slice(1)
  if (tag === tagBytes) return latin1(contentOf(body))
  if (tag === tagString) return textFrom(contentOf(body)) ?? firstWithTag(tagString + 1)
  if (tag === tagDouble) return doubleFrom(body)
  if (tag > tagFirstBigInt && tag < tagLastBigInt) return bigIntFrom(tag, Math.abs(tag - tagZero), body)
  if (tag === tagFirstBigInt) {
    const size = body === "" ? 0xff : body.charCodeAt(0) ^ 0xff
    return size > 8 ? bigIntFrom(tag, size, body.slice(1)) : firstWithTag(tag + 1)
  }
  if (tag === tagLastBigInt) {
    const size = body === "" ? 0 : body.charCodeAt(0)
    return size > 8 ? bigIntFrom(tag, size, body.slice(1)) : 1n << 64n
  }
  return firstWithTag(tag)
}

/** What a text or bytes without its end holds so far. */
const contentOf = (body: string): string => {
  // With an end it would be a whole part, unless it is no UTF-8: then what follows the end tells nothing.
  let end = body.indexOf("\x00")
  while (end !== -1 && body.charCodeAt(end + 1) === 0xff) end = body.indexOf("\x00", end + 2)
  return (end === -1 ? body : body.slice(0, end)).replaceAll("\x00\xff", "\x00")
}

/** The smallest part of this type or one behind it. */
const firstWithTag = (tag: number): KeyPart | undefined => {
  if (tag <= tagBytes) return new Uint8Array()
  if (tag <= tagString) return ""
  if (tag <= tagFirstBigInt) return -((1n << 2040n) - 1n)
  if (tag < tagZero) return -((1n << BigInt(8 * (tagZero - tag))) - 1n)
  if (tag === tagZero) return 0n
  if (tag <= tagLastBigInt) return 1n << BigInt(8 * (tag - tagZero - 1))
  if (tag <= tagDouble) return Number.NEGATIVE_INFINITY
  if (tag <= tagFalse) return false
  return tag <= tagTrue ? true : undefined
}

const bigIntFrom = (tag: number, size: number, body: string): KeyPart | undefined => {
  const negative = tag < tagZero
  let magnitude = 0n
  for (let i = 0; i < size; i++) {
    const byte = i < body.length ? body.charCodeAt(i) : 0
    magnitude = (magnitude << 8n) | BigInt(negative ? byte ^ 0xff : byte)
  }
  const smallest = 1n << BigInt(8 * (size - 1))
  // A number with fewer bytes than its size is written with another size: it is not the key that stands here.
  if (magnitude >= smallest) return negative ? -magnitude : magnitude
  return negative ? 1n - smallest : smallest
}

const doubleFrom = (body: string): KeyPart | undefined => {
  const bits = new DataView(new ArrayBuffer(8))
  for (let i = 0; i < 8; i++) bits.setUint8(i, i < body.length ? body.charCodeAt(i) : 0)
  const sorted = bits.getBigUint64(0)
  const value = doubleOf(sorted)
  if (value === value) return Object.is(value, -0) ? 0 : value
  return sorted < 1n << 63n ? Number.NEGATIVE_INFINITY : firstWithTag(tagDouble + 1)
}

const sign = 1n << 63n
const all = (1n << 64n) - 1n

/** A number from its bits in the order of keys. */
const doubleOf = (sorted: bigint): number => {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, sorted >= sign ? sorted ^ sign : sorted ^ all)
  return view.getFloat64(0)
}

const nextDouble = (value: number): KeyPart | undefined => {
  if (value === Number.POSITIVE_INFINITY) return firstWithTag(tagDouble + 1)
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  const bits = view.getBigUint64(0)
  const next = doubleOf((bits >= sign ? bits ^ all : bits ^ sign) + 1n)
  return Object.is(next, -0) ? 0 : next
}

/** The smallest key behind these parts and all keys below them. */
const behind = (parts: ReadonlyArray<KeyPart>): Key | undefined => {
  for (let length = parts.length; length > 0; length--) {
    const next = nextPart(parts[length - 1]!)
    if (next === undefined) continue
    const key = [...parts.slice(0, length - 1), next]
    // The exact one is longer than a key may be: one further behind is a bound all the same.
    if (fits(key)) return key as unknown as Key
  }
  return undefined
}

const nextPart = (part: KeyPart): KeyPart | undefined => {
  switch (typeof part) {
    case "string":
      return `${part}\u0000`
    case "bigint":
      return part < (1n << 2040n) - 1n ? part + 1n : firstWithTag(tagLastBigInt + 1)
    case "number":
      return nextDouble(part)
    case "boolean":
      return part ? undefined : true
    default: {
      const longer = new Uint8Array(part.length + 1)
      longer.set(part)
      return longer
    }
  }
}

const latin1 = (binary: string): Uint8Array => Uint8Array.from(binary, (char) => char.charCodeAt(0))

/** The smallest text whose UTF-8 is not before these bytes. */
const textFrom = (binary: string): string | undefined => {
  const bytes = Buffer.from(binary, "latin1")
  let text = ""
  let at = 0
  while (at < bytes.length) {
    const size = bytes[at]! < 0x80 ? 1 : bytes[at]! < 0xe0 ? 2 : bytes[at]! < 0xf0 ? 3 : 4
    const char = bytes.subarray(at, at + size).toString("utf8")
    if (!Buffer.from(char, "utf8").equals(bytes.subarray(at, at + size))) break
    text += char
    at += size
  }
  if (at === bytes.length) return text
  const next = charFrom(bytes.subarray(at))
  if (next !== undefined) return text + next
  // No character stands behind these bytes: the one before them must grow.
  const chars = Array.from(text)
  while (chars.length > 0) {
    const last = indexOf(chars.pop()!.codePointAt(0)!)
    if (last + 1 < characters) return chars.join("") + charAt(last + 1)
  }
  return undefined
}

/** Unicode without the surrogates. */
const characters = 0x110000 - 0x800
const charAt = (index: number): string => String.fromCodePoint(index < 0xd800 ? index : index + 0x800)
const indexOf = (code: number): number => (code < 0xd800 ? code : code - 0x800)

/** UTF-8 sorts as the characters do. */
const charFrom = (bytes: Uint8Array): string | undefined => {
  let low = 0
  let high = characters
  while (low < high) {
    const middle = (low + high) >>> 1
    if (Buffer.compare(Buffer.from(charAt(middle), "utf8"), bytes) < 0) low = middle + 1
    else high = middle
  }
  return low < characters ? charAt(low) : undefined
}
