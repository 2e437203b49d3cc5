/**
 * Where everything lies. Entries lie under the keys of the program, as Deno KV packs them. What this room keeps for itself lies under
 * keys whose first part is an empty `Uint8Array`: they sort before all others, so a list of a program's keys never has to leap over them.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import { isKeyProblem, pack, unpack } from "../../../internal/keyCodec.ts"
import type { NativeKey } from "../native.ts"

const own: Uint8Array = new Uint8Array(0)
const ownPacked = "\x01\x00"

/** The smallest packed bytes that a key of a program may begin with. */
export const firstOfProgram: Packed = `${ownPacked}\xff` as Packed

/** Belongs to this room, so that no program may use it. */
export const isOwn = (key: Packed): boolean => key.startsWith(ownPacked) && key.charCodeAt(ownPacked.length) !== 0xff

/** What the store is: its format and its identity. */
export const storeKey: NativeKey = [own, "s"]
/** The generation: the one key that every commit checks. */
export const generationKey: NativeKey = [own, "g"]
/** Counted by every commit and checked by none. Its versionstamp is that of the last commit. */
export const bumpKey: NativeKey = [own, "b"]
/** The oldest generation whose lines are kept. */
export const floorKey: NativeKey = [own, "f"]

/** How many commits there were when a generation began, about. */
export const headerKey = (generation: number): NativeKey => [own, "h", generation]
export const headers: NativeKey = [own, "h"]

/** A line of the change log: one record for each commit, or several when it names very many keys. */
export const lineKey = (generation: number, commitId: string, part: number): NativeKey => [
  own,
  "l",
  generation,
  commitId,
  part
]
export const linesOf = (generation: number): NativeKey => [own, "l", generation]
export const allLines: NativeKey = [own, "l"]
export const generationOfLine = (key: NativeKey): number => key[2] as number
export const commitOfLine = (key: NativeKey): string => key[3] as string
export const partOfLine = (key: NativeKey): number => key[4] as number

/** What of a value did not fit beside its envelope. */
export const tailKey = (commitId: string, index: number): NativeKey => [own, "t", commitId, index]
export const allTails: NativeKey = [own, "t"]

/** A part of a large commit that was written down before it is decided. */
export const redoKey = (commitId: string, part: number): NativeKey => [own, "x", commitId, part]
export const redoOf = (commitId: string): NativeKey => [own, "x", commitId]
export const allRedo: NativeKey = [own, "x"]
export const commitOfRedo = (key: NativeKey): string => key[2] as string

/** Of a packed key what follows stands in the key of an index entry, if that stays within the limit of a key. */
const longestIndexed = 2_000

/** The expiry index. A key that is too long for a place in it has its bytes in the value. */
export const expiryKey = (deadline: number, key: Packed, commitId: string, index: number): NativeKey =>
  key.length <= longestIndexed ? [own, "e", deadline, ...nativeKey(key)] : [own, "e", deadline, own, commitId, index]
/** Only such an entry can be named by who did not write it. */
export const namedExpiryKey = (deadline: number, key: Packed): NativeKey | undefined =>
  key.length <= longestIndexed ? [own, "e", deadline, ...nativeKey(key)] : undefined
export const allExpiries: NativeKey = [own, "e"]
export const deadlineOfExpiry = (key: NativeKey): number => key[2] as number
/** `undefined`: it stands in the value. */
export const keyOfExpiry = (key: NativeKey): Packed | undefined => {
  const part = key[3]
  return part instanceof Uint8Array && part.length === 0 ? undefined : packedKey(key.slice(3))
}

/** A key that the policy packed, or that Deno KV took, always converts: anything else is a defect. */
export const nativeKey = (key: Packed): NativeKey => {
  const parts = unpack(key)
  if (isKeyProblem(parts)) throw new TypeError(parts.detail)
  return parts
}

export const packedKey = (key: NativeKey): Packed => {
  const packed = pack(key)
  if (isKeyProblem(packed)) throw new TypeError(packed.detail)
  return packed
}

/** Bytes of a key of this room, for sums; a little more than it has. */
export const ownKeySize = 64

/** The smallest key below another. */
export const firstBelow = (key: NativeKey): NativeKey => [...key, own]
