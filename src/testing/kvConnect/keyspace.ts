/**
 * Which keys of the Kv clients see, and under which names: those below a prefix, without it; of a whole Kv all but the library's own, where
 * queues, cron jobs and outboxes keep their state.
 */
import type { Key, KeyPart } from "../../internal/keyCodec.ts"
import type { KeyProblem, Packed } from "../../internal/keyCodec.ts"
import {
  fromBytes,
  isKeyProblem,
  maxPackedSize,
  pack,
  packPrefix,
  prefixRange,
  toBytes,
  unpack
} from "../../internal/keyCodec.ts"
import { maxKey } from "./limits.ts"
import { type Refusal, badRequest } from "./refusal.ts"

/** What the library's own keys begin with. */
export const internalName = "~effect-seams"

export interface Range {
  readonly start: string
  readonly end: string
}

export interface Keyspace {
  /** A key that a client names, for a Kv. */
  readonly keyOf: (bytes: Uint8Array) => Key | Refusal
  /** The same for a key that is only read: one that cannot be there is `undefined`. */
  readonly readable: (bytes: Uint8Array) => Key | undefined
  /** Ranges of whole packed keys that a client's range means, in order. */
  readonly rangesOf: (start: Uint8Array, end: Uint8Array) => ReadonlyArray<Range>
  /** A key of the Kv as the client names it. */
  readonly bytesOf: (key: Key) => Uint8Array
  /** A whole packed key. */
  readonly packedOf: (key: Key) => Packed
}

const hidden: Range = {
  start: `\u0002${internalName}`,
  // The name with its last character one further: behind all names that begin with it.
  end: `\u0002${internalName.slice(0, -1)}t`
}

export const makeKeyspace = (prefix: ReadonlyArray<KeyPart>, internalKeys: boolean): Keyspace | KeyProblem => {
  const packed = packPrefix(prefix)
  if (isKeyProblem(packed)) return packed
  const hides = packed === "" && !internalKeys
  const isHidden = (key: string) => hides && key >= hidden.start && key < hidden.end
  const below = prefixRange(packed)
  // Keys of a Kv have been packed before.
  const packedOf = (key: Key) => pack(key) as Packed
  /** By itself: behind a prefix that ends with a text the bytes could be read as more of that text. */
  const unpackBelow = (bytes: Uint8Array): Key | KeyProblem => {
    const key = unpack(fromBytes(bytes))
    return isKeyProblem(key) ? key : ([...prefix, ...key] as unknown as Key)
  }
  return {
    keyOf: (bytes) => {
      if (bytes.length === 0)
        return badRequest('The key is empty. A key has at least one part, as in ["users", "alice"].')
      if (bytes.length > maxKey)
        return badRequest(
          `A key has ${bytes.length} bytes when packed; at most ${maxKey} are allowed. Use shorter parts, for example a hash.`
        )
      const size = packed.length + bytes.length
      if (size > maxPackedSize)
        return badRequest(
          `A key has ${bytes.length} bytes when packed, and ${size} with the prefix of this gateway; at most ${maxPackedSize} are allowed. Use shorter parts, for example a hash.`
        )
      if (isHidden(fromBytes(bytes)))
        return badRequest(
          `Keys that begin with "${internalName}" hold the state of queues, jobs and outboxes over this store, and this gateway does not give them out. Use another name, or give the gateway a prefix: below one, every name is free.`
        )
      const key = unpackBelow(bytes)
      return isKeyProblem(key)
        ? badRequest(`A key cannot be stored here: ${key.detail} NaN and -0 are no key parts of this store.`)
        : key
    },
    readable: (bytes) => {
      if (packed.length + bytes.length > maxPackedSize || isHidden(fromBytes(bytes))) return undefined
      const key = unpackBelow(bytes)
      return isKeyProblem(key) ? undefined : key
    },
    rangesOf: (from, to) => {
      // Never beside the prefix, whatever the bytes say.
      const start = later(packed + fromBytes(from), below.start)
      const end = earlier(packed + fromBytes(to), below.end)
      if (!hides || end <= hidden.start || start >= hidden.end) return [{ start, end }]
      return [
        { start, end: hidden.start },
        { start: hidden.end, end }
      ].filter((range) => range.start < range.end)
    },
    bytesOf: (key) => toBytes(packedOf(key).slice(packed.length) as Packed),
    packedOf
  }
}

const later = (one: string, other: string): string => (one > other ? one : other)
const earlier = (one: string, other: string): string => (one < other ? one : other)
