/**
 * Values of the protocol as entries of a Kv, and back.
 *
 * Bytes are kept as bytes and unsigned integers as counters, so that Effect programs over the same store read them, and write them for
 * clients. What V8 serialized nobody but V8 can read: it is kept as bytes behind a mark. JSON of Effect programs is handed to clients as V8 would
 * have written it.
 */
import { serialize } from "node:v8"
import type { StoredValue } from "../../kv/driver.ts"
import type { Value } from "../../kv/model.ts"
import { ValueEncoding } from "./datapath_pb.ts"
import { type Refusal, badRequest } from "./refusal.ts"

/** No text begins with it, since 0xF5 is never part of UTF-8. Bytes of a client that do get a mark of their own. */
const mark = [0xf5, 0x4b, 0x56] as const
const markSize = mark.length + 1

const kinds: ReadonlyMap<number, ValueEncoding> = new Map(
  [ValueEncoding.VE_V8, ValueEncoding.VE_LE64, ValueEncoding.VE_BYTES].map((kind) => [kind, kind])
)

export const wrap = 1n << 64n
const largestCounter = (1n << 63n) - 1n

export interface WireValue {
  readonly data: Uint8Array
  readonly encoding: ValueEncoding
}

export const storedOf = ({ data, encoding }: WireValue): StoredValue | Refusal => {
  switch (encoding) {
    case ValueEncoding.VE_V8:
      return marked(ValueEncoding.VE_V8, data)
    case ValueEncoding.VE_BYTES:
      return isMarked(data) ? marked(ValueEncoding.VE_BYTES, data) : { _tag: "Bytes", bytes: data }
    case ValueEncoding.VE_LE64:
      return data.length === 8
        ? storedU64(u64Of(data))
        : badRequest(`A value of encoding VE_LE64 has 8 bytes, this one has ${data.length}.`)
    default:
      return badRequest(`The value encoding ${encoding} is unknown: V8, LE64 and BYTES (1, 2 and 3) are.`)
  }
}

/** Counters of a Kv end at 2^63-1; greater ones are kept as bytes. */
export const storedU64 = (value: bigint): StoredValue =>
  value <= largestCounter ? { _tag: "Counter", value } : marked(ValueEncoding.VE_LE64, bytesOf(value))

export const wireOf = (value: Value): WireValue => {
  if (typeof value === "bigint") return { data: bytesOf(value), encoding: ValueEncoding.VE_LE64 }
  if (!(value instanceof Uint8Array)) return { data: serialize(value), encoding: ValueEncoding.VE_V8 }
  const kind = isMarked(value) ? kinds.get(value[mark.length]!) : undefined
  const data = value.subarray(markSize)
  // Bytes of somebody else may begin with the mark too.
  return kind === undefined || (kind === ValueEncoding.VE_LE64 && data.length !== 8)
    ? { data: value, encoding: ValueEncoding.VE_BYTES }
    : { data, encoding: kind }
}

/** The integer of a stored value, `undefined` when it is none. */
export const storedCount = (value: Value): bigint | undefined => {
  const wire = wireOf(value)
  return wire.encoding === ValueEncoding.VE_LE64 ? u64Of(wire.data) : undefined
}

export const u64Of = (data: Uint8Array): bigint =>
  new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(0, true)

const bytesOf = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, value, true)
  return bytes
}

const isMarked = (data: Uint8Array): boolean => mark.every((byte, i) => data[i] === byte)

const marked = (encoding: ValueEncoding, data: Uint8Array): StoredValue => {
  const bytes = new Uint8Array(markSize + data.length)
  bytes.set(mark)
  bytes[mark.length] = encoding
  bytes.set(data, markSize)
  return { _tag: "Bytes", bytes }
}
