/** Ranges of packed keys as Deno KV selects them: by tuples, while the policy also names bytes between two tuples. */
import type { Packed } from "../../../internal/keyCodec.ts"
import { isKeyProblem, unpack } from "../../../internal/keyCodec.ts"
import type { Range } from "../../../kv/driver.ts"
import type { NativeKey, NativeSelector } from "../native.ts"
import { firstBelow, firstOfProgram } from "./keys.ts"

/** A key of a read may have one byte more than a key of a write, and the smallest key below another has two. */
const longestParent = 2_047
const longestRead = 2_049

/** `undefined`: no key can lie in it. The selection may hold one key before the range: look at what comes. */
export const selectorOf = (range: Range): NativeSelector | undefined => {
  const from = range.start < firstOfProgram ? firstOfProgram : range.start
  if (from >= range.end) return undefined
  const start = startOf(from)
  const end = unpack(range.end)
  if (!isKeyProblem(end)) return { start, end }
  if (range.end.endsWith("\x00")) return { start, end: behind(range.end.slice(0, -1)) }
  // Behind all keys below a prefix.
  const packed = range.end.slice(0, -1)
  const prefix = tupleOf(packed)
  if (from.length > packed.length && from.startsWith(packed)) return { prefix, start }
  // The range begins before the prefix: no key below it comes after the longest one with nothing but the greatest part.
  return { start, end: [...prefix, ...Array.from({ length: longestRead - packed.length }, () => true)] }
}

/** Between a key and the smallest key below it lies nothing; below a key that is too long for that lies nothing at all. */
const behind = (packed: string): NativeKey => {
  const key = tupleOf(packed)
  return packed.length <= longestParent ? firstBelow(key) : [...key, false]
}

const startOf = (from: Packed): NativeKey => {
  if (from === firstOfProgram) return [new Uint8Array(1)]
  const exact = unpack(from)
  if (!isKeyProblem(exact)) return exact
  // Behind a key: nothing lies between it and the smallest key below it.
  const parent = tupleOf(from.slice(0, -1))
  return from.length - 1 <= longestParent ? firstBelow(parent) : parent
}

const tupleOf = (packed: string): NativeKey => {
  if (packed === "") return []
  const parts = unpack(packed)
  if (isKeyProblem(parts)) throw new TypeError(parts.detail)
  return parts
}
