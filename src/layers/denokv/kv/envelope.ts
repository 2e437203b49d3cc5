/**
 * Values as they are stored: bytes of a form of our own, the same from every runtime.
 *
 * | bytes | what |
 * | ----- | ---- |
 * | 1     | the format, 0xe5 |
 * | 1     | bits: 0-1 kind (0 JSON, 1 bytes, 2 counter), 2 deadline, 3 position, 4 tail |
 * | 4     | the generation of the commit |
 * | 10    | the id of the commit |
 * | 8     | the deadline, if any: milliseconds since the epoch |
 * | 10    | the position, if it is not the versionstamp of the entry |
 * | 4     | the number of the tail, if any |
 * | rest  | the value: JSON text, bytes, or an unsigned 64-bit integer |
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes } from "../../../internal/keyCodec.ts"
import type { Stored, StoredValue } from "../../../kv/driver.ts"
import { ByteReader, ByteWriter, textOf, utf8 } from "../bytes.ts"
import type { NativeEntry } from "../native.ts"
import { nativeLimits } from "../native.ts"
import { stampOf } from "./stamps.ts"

const format = 0xe5
const hasDeadline = 4
const hasPosition = 8
const hasTail = 16

/** What of an envelope is not the value. */
export interface Written {
  readonly generation: number
  readonly commitId: string
  readonly deadline: number | undefined
  /** Of a commit that was applied in several writes: the position it was decided at. */
  readonly position: string | undefined
}

export const payloadOf = (value: StoredValue): Uint8Array =>
  value._tag === "Json"
    ? utf8(value.text)
    : value._tag === "Bytes"
      ? value.bytes
      : new ByteWriter(8).u64(value.value).done()

export const kindOf = (value: StoredValue): number => (value._tag === "Json" ? 0 : value._tag === "Bytes" ? 1 : 2)

/** Bytes of an envelope around a value, at most. */
export const envelopeSize = 38

/** `tail` is what goes into an entry of its own, numbered `index` among those of the commit. */
export const encodeEnvelope = (
  kind: number,
  payload: Uint8Array,
  written: Written,
  index: number
): { readonly head: Uint8Array; readonly tail: Uint8Array | undefined } => {
  const { commitId, deadline, generation, position } = written
  const fixed = 16 + (deadline === undefined ? 0 : 8) + (position === undefined ? 0 : 10)
  const split = fixed + payload.length > nativeLimits.value
  const writer = new ByteWriter(fixed + 4 + payload.length)
    .u8(format)
    .u8(
      kind |
        (deadline === undefined ? 0 : hasDeadline) |
        (position === undefined ? 0 : hasPosition) |
        (split ? hasTail : 0)
    )
    .u32(generation)
    .hex(commitId)
  if (deadline !== undefined) writer.f64(deadline)
  if (position !== undefined) writer.hex(position)
  if (!split) return { head: writer.raw(payload).done(), tail: undefined }
  const cut = nativeLimits.value - fixed - 4
  return { head: writer.u32(index).raw(payload.subarray(0, cut)).done(), tail: payload.subarray(cut) }
}

/** An entry as it was found, before anybody asked whether its time is over. */
export interface Found {
  readonly _tag: "Found"
  readonly key: Packed
  readonly native: string
  readonly written: Written
  readonly kind: number
  readonly payload: Uint8Array
  /** The number of the tail that belongs behind the payload. */
  readonly tail: number | undefined
}

/** Somebody else's entry: not a value of this library. */
export class Foreign {
  readonly _tag = "Foreign"
  readonly key: Packed
  readonly native: string
  constructor(key: Packed, native: string) {
    this.key = key
    this.native = native
  }
}

export const decodeEnvelope = (key: Packed, entry: NativeEntry): Found | Foreign | undefined => {
  const { value, versionstamp } = entry
  if (versionstamp === null) return undefined
  if (!(value instanceof Uint8Array) || value[0] !== format) return new Foreign(key, versionstamp)
  try {
    const reader = new ByteReader(value)
    reader.u8()
    const flags = reader.u8()
    const generation = reader.u32()
    const commitId = reader.hex(10)
    const deadline = (flags & hasDeadline) === 0 ? undefined : reader.f64()
    const position = (flags & hasPosition) === 0 ? undefined : reader.hex(10)
    const tail = (flags & hasTail) === 0 ? undefined : reader.u32()
    const kind = flags & 3
    if (kind > 2 || flags > 31 || (kind === 2 && reader.left !== 8)) return new Foreign(key, versionstamp)
    const payload = reader.raw(reader.left)
    return {
      _tag: "Found",
      key,
      native: versionstamp,
      written: { generation, commitId, deadline, position },
      kind,
      payload,
      tail
    }
  } catch {
    return new Foreign(key, versionstamp)
  }
}

export const stampOfFound = ({ native, written }: Found): Stored["versionstamp"] =>
  stampOf(written.position ?? native, written.generation, written.commitId)

/** `tail`: the bytes behind the payload, for an entry that has some elsewhere. */
export const storedOf = (found: Found, tail?: Uint8Array): Stored => ({
  key: found.key,
  value: valueOf(found.kind, tail === undefined ? found.payload : joined(found.payload, tail)),
  versionstamp: stampOfFound(found),
  expiresAt: found.written.deadline
})

export const valueOf = (kind: number, payload: Uint8Array): StoredValue => {
  if (kind === 0) return { _tag: "Json", text: textOf(payload) }
  // A plain copy: the platform may have handed out a view on a larger buffer.
  if (kind === 1) return { _tag: "Bytes", bytes: new Uint8Array(payload) }
  return { _tag: "Counter", value: new ByteReader(payload).u64() }
}

const joined = (head: Uint8Array, tail: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(head.length + tail.length)
  whole.set(head)
  whole.set(tail, head.length)
  return whole
}

/** A tail says whose it is, so that one nobody needs any more can be told. */
export const encodeTail = (key: Packed, tail: Uint8Array): Uint8Array =>
  new ByteWriter(2 + key.length + tail.length).u16(key.length).binary(key).raw(tail).done()

export const decodeTail = (value: unknown): { readonly key: Packed; readonly bytes: Uint8Array } | undefined => {
  if (!(value instanceof Uint8Array)) return undefined
  const reader = new ByteReader(value)
  const key = fromBytes(reader.raw(reader.u16()))
  return { key, bytes: reader.raw(reader.left) }
}
