/**
 * Which keys of the Kv clients see, and under which names: those below a prefix, without it; of a whole Kv all but the library's own, where
 * queues, cron jobs and outboxes keep their state.
 */
import type { Key, KeyPart } from "../../internal/keyCodec.ts"
import { fromBytes, isKeyProblem, maxPackedSize, pack, packPrefix, toBytes, unpack } from "../../internal/keyCodec.ts"
import type { Packed } from "../../internal/keyCodec.ts"
import type { KeyProblem } from "../../internal/keyCodec.ts"
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
  // Keys of a Kv have been packed before.
  const packedOf = (key: Key) => pack(key) as Packed
  return {
    keyOf: (bytes) => {
      if (bytes.length === 0)
        return badRequest('The key is empty. A key has at least one part, as in ["users", "alice"].')
      if (bytes.length > maxKey)
        return badRequest(
          `A key has ${bytes.length} bytes when packed; at most ${maxKey} are allowed. Use shorter parts, for example a hash.`
        )
      const whole = packed + fromBytes(bytes)
      if (whole.length > maxPackedSize)
        return badRequest(
          `A key has ${bytes.length} bytes when packed, and ${whole.length} with the prefix of this gateway; at most ${maxPackedSize} are allowed. Use shorter parts, for example a hash.`
        )
      if (isHidden(whole))
        return badRequest(
          `Keys that begin with "${internalName}" hold the state of queues, jobs and outboxes over this store, and this gateway does not give them out. Use another name.`
        )
      const key = unpack(whole)
      return isKeyProblem(key)
        ? badRequest(`A key cannot be stored here: ${key.detail} NaN and -0 are no key parts of this store.`)
        : key
    },
    readable: (bytes) => {
      const whole = packed + fromBytes(bytes)
      if (bytes.length === 0 || isHidden(whole)) return undefined
      const key = unpack(whole)
      return isKeyProblem(key) ? undefined : key
    },
    rangesOf: (start, end) => {
      const range = { start: packed + fromBytes(start), end: packed + fromBytes(end) }
      if (!hides || range.end <= hidden.start || range.start >= hidden.end) return [range]
      return [
        { start: range.start, end: hidden.start },
        { start: hidden.end, end: range.end }
      ].filter((one) => one.start < one.end)
    },
    bytesOf: (key) => toBytes(packedOf(key).slice(packed.length) as Packed),
    packedOf
  }
}
