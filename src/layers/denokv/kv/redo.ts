/**
 * What a large commit writes down before it is decided, and how whoever finds it decided carries it out. All of it is a function of the
 * records and of the generation, so any number may carry it out at the same time, and again.
 */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import { ByteReader, ByteWriter } from "../bytes.ts"
import type { ConnectionService } from "../connection.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeMutation } from "../native.ts"
import { nativeLimits, put, remove } from "../native.ts"
import { encodeEnvelope, encodeTail } from "./envelope.ts"
import type { Generation } from "./generation.ts"
import { openGeneration, setGeneration } from "./generation.ts"
import { generationKey, lineKey, nativeKey, ownKeySize, redoOf, tailKey } from "./keys.ts"
import { lineValue } from "./lines.ts"
import { again, readAgain } from "./again.ts"

export type RedoItem =
  | {
      readonly _tag: "Entry"
      readonly key: Packed
      readonly kind: number
      readonly payload: Uint8Array
      readonly deadline: number | undefined
      readonly index: number
    }
  | { readonly _tag: "Remove"; readonly key: Packed }
  /** A record of this room, as it is to be. */
  | { readonly _tag: "Record"; readonly key: Packed; readonly value: Uint8Array }
  | { readonly _tag: "Line"; readonly part: number; readonly body: Uint8Array }

const partSize = 60_000

/** The items as records of this size. */
export const encodeRedo = (items: ReadonlyArray<RedoItem>): ReadonlyArray<Uint8Array> => {
  const writer = new ByteWriter(65_536)
  for (const item of items) {
    switch (item._tag) {
      case "Entry":
        writer.u8(item.deadline === undefined ? 1 : 2)
        if (item.deadline !== undefined) writer.f64(item.deadline)
        writer
          .u8(item.kind)
          .u32(item.index)
          .u16(item.key.length)
          .binary(item.key)
          .u32(item.payload.length)
          .raw(item.payload)
        break
      case "Remove":
        writer.u8(3).u16(item.key.length).binary(item.key)
        break
      case "Record":
        writer.u8(4).u16(item.key.length).binary(item.key).u32(item.value.length).raw(item.value)
        break
      case "Line":
        writer.u8(5).u16(item.part).u32(item.body.length).raw(item.body)
    }
  }
  const whole = writer.done()
  const parts: Array<Uint8Array> = []
  for (let at = 0; at < whole.length; at += partSize) parts.push(whole.subarray(at, at + partSize))
  return parts
}

export const decodeRedo = (parts: ReadonlyArray<Uint8Array>): ReadonlyArray<RedoItem> => {
  const writer = new ByteWriter(partSize * Math.max(1, parts.length))
  for (const part of parts) writer.raw(part)
  const reader = new ByteReader(writer.done())
  const items: Array<RedoItem> = []
  while (reader.left > 0) {
    const tag = reader.u8()
    if (tag === 1 || tag === 2) {
      const deadline = tag === 2 ? reader.f64() : undefined
      const kind = reader.u8()
      const index = reader.u32()
      const key = reader.binary(reader.u16()) as Packed
      items.push({ _tag: "Entry", key, kind, payload: reader.raw(reader.u32()), deadline, index })
    } else if (tag === 3) {
      items.push({ _tag: "Remove", key: reader.binary(reader.u16()) as Packed })
    } else if (tag === 4) {
      const key = reader.binary(reader.u16()) as Packed
      items.push({ _tag: "Record", key, value: reader.raw(reader.u32()) })
    } else if (tag === 5) {
      const part = reader.u16()
      items.push({ _tag: "Line", part, body: reader.raw(reader.u32()) })
    } else {
      throw new TypeError(`a record of a large commit holds the unknown item ${tag}`)
    }
  }
  return items
}

export type Sized = NativeMutation & { readonly size: number; readonly keySize: number }

/** Mutations in parts of which each fits one write with a check or two. */
export const batches = (mutations: ReadonlyArray<Sized>): ReadonlyArray<ReadonlyArray<NativeMutation>> => {
  const parts: Array<Array<NativeMutation>> = []
  let part: Array<NativeMutation> = []
  let bytes = 0
  let keyBytes = 0
  for (const mutation of mutations) {
    const size = mutation.size + nativeLimits.overhead
    if (
      part.length > 0 &&
      (part.length >= nativeLimits.mutations - 8 ||
        bytes + size > nativeLimits.bytes ||
        keyBytes + mutation.keySize > nativeLimits.keyBytes)
    ) {
      parts.push(part)
      part = []
      bytes = 0
      keyBytes = 0
    }
    part.push(mutation)
    bytes += size
    keyBytes += mutation.keySize
  }
  if (part.length > 0) parts.push(part)
  return parts
}

/** The writes that a commit comes to. `position`: of one that is applied in several writes. */
export const mutationsOf = (
  items: ReadonlyArray<RedoItem>,
  {
    commitId,
    generation,
    position
  }: { readonly commitId: string; readonly generation: number; readonly position: string | undefined }
): ReadonlyArray<Sized> => {
  const sized: Array<Sized> = []
  const add = (mutation: NativeMutation, keySize: number) =>
    sized.push({
      ...mutation,
      keySize,
      size: keySize + (mutation._tag === "Set" ? mutation.value.length : 0)
    })
  for (const item of items) {
    switch (item._tag) {
      case "Entry": {
        const written = { generation, commitId, deadline: item.deadline, position }
        const { head, tail } = encodeEnvelope(item.kind, item.payload, written, item.index)
        add(put(nativeKey(item.key), head), item.key.length)
        if (tail !== undefined) add(put(tailKey(commitId, item.index), encodeTail(item.key, tail)), ownKeySize)
        break
      }
      case "Remove":
        add(remove(nativeKey(item.key)), item.key.length)
        break
      case "Record":
        add(put(nativeKey(item.key), item.value), item.key.length)
        break
      case "Line":
        add(put(lineKey(generation, commitId, item.part), lineValue(item.body, position)), ownKeySize)
    }
  }
  return sized
}

/** Carries out the large commit of a generation that applies it, and opens the next one. Whoever comes later finds nothing to do. */
export const apply = (connection: ConnectionService, generation: Generation): Effect.Effect<void, NativeFault> =>
  Effect.gen(function* () {
    const checks = [{ key: generationKey, versionstamp: generation.versionstamp }]
    const records = yield* readAgain(
      connection,
      connection.list({ prefix: redoOf(generation.by) }, { limit: nativeLimits.list })
    )
    // Behind them there may be records of an earlier attempt, which came to more and was driven out.
    const parts = records
      .slice(0, generation.parts)
      .flatMap(({ value }) => (value instanceof Uint8Array ? [value] : []))
    // Somebody else is done with it.
    if (parts.length < generation.parts) return
    const whole = { commitId: generation.by, generation: generation.number, position: generation.versionstamp }
    for (const mutations of batches(mutationsOf(decodeRedo(parts), whole))) {
      if ((yield* again(connection, { checks, mutations, bump: false })) === undefined) return
    }
    yield* again(connection, {
      checks,
      mutations: [
        setGeneration(openGeneration(generation.number + 1, generation.base)),
        ...records.map(({ key }) => remove(key))
      ],
      bump: true
    })
  })
