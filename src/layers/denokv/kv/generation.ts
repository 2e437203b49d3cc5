/**
 * The generation: a record that every commit checks and that changes rarely. Changing it makes every commit that is under way fail its
 * check, so it fences them, and so it lets one large commit have the store for itself.
 */
import { textOf, utf8 } from "../bytes.ts"
import type { NativeEntry, NativeMutation } from "../native.ts"
import { put } from "../native.ts"
import { generationKey } from "./keys.ts"

/**
 * `open`: commits go on. `held`: a large commit keeps others out while it writes itself down; whoever finds it held for too long opens
 * the next generation. `applying`: it is decided, and whoever comes writes what it wrote down to its places.
 */
export interface Generation {
  readonly number: number
  /** The count of commits when its first predecessor of the same base began, about. */
  readonly base: number
  readonly state: "open" | "held" | "applying"
  /** The id of the large commit; empty when open. */
  readonly by: string
  /** How many records it wrote down; while it is held, how often it was driven out before. */
  readonly parts: number
  /** Deno KV's versionstamp of this record. */
  readonly versionstamp: string
}

export type GenerationDraft = Omit<Generation, "versionstamp">

export const openGeneration = (number: number, base: number): GenerationDraft => ({
  number,
  base,
  state: "open",
  by: "",
  parts: 0
})

export const encodeGeneration = (draft: GenerationDraft): Uint8Array =>
  utf8(JSON.stringify({ n: draft.number, base: draft.base, state: draft.state, by: draft.by, parts: draft.parts }))

export const setGeneration = (draft: GenerationDraft): NativeMutation => put(generationKey, encodeGeneration(draft))

/** `undefined`: the record is missing or damaged. */
export const readGeneration = (entry: NativeEntry): Generation | undefined => {
  const { value, versionstamp } = entry
  if (versionstamp === null || !(value instanceof Uint8Array)) return undefined
  try {
    const record = JSON.parse(textOf(value)) as {
      readonly n: number
      readonly base: number
      readonly state: Generation["state"]
      readonly by: string
      readonly parts: number
    }
    return {
      number: record.n,
      base: record.base,
      state: record.state,
      by: record.by,
      parts: record.parts,
      versionstamp
    }
  } catch {
    return undefined
  }
}
