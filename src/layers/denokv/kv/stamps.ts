/**
 * The texts of the policy. A versionstamp is the position of a commit (Deno KV's own versionstamp, 20 hex digits), its generation (8) and
 * its id (20): where its line in the log lies can be read off it. A cursor is the identity of the store, a dot, a position and a generation.
 */
import type { Cursor, Versionstamp } from "../../../kv/model.ts"

const positionSize = 20

export const hex8 = (n: number): string => n.toString(16).padStart(8, "0")

export const stampOf = (position: string, generation: number, commitId: string): Versionstamp =>
  (position + hex8(generation) + commitId) as Versionstamp

export interface Stamp {
  readonly position: string
  readonly generation: number
  readonly commitId: string
}

/** `undefined`: not one of ours. */
export const readStamp = (versionstamp: string): Stamp | undefined =>
  /^[0-9a-f]{48}$/.test(versionstamp)
    ? {
        position: versionstamp.slice(0, positionSize),
        generation: Number.parseInt(versionstamp.slice(positionSize, 28), 16),
        commitId: versionstamp.slice(28)
      }
    : undefined

export const positionOf = (versionstamp: Versionstamp): string => versionstamp.slice(0, positionSize)

/** A place in the log: behind everything up to a position, in a generation. */
export interface Place {
  readonly position: string
  readonly generation: number
}

export const cursorOf = (storeId: string, { generation, position }: Place): Cursor =>
  `${storeId}.${position}${hex8(generation)}` as Cursor

/** `undefined`: of another store, or not one of our cursors. */
export const readCursor = (storeId: string, cursor: string): Place | undefined => {
  if (!cursor.startsWith(`${storeId}.`)) return undefined
  const place = cursor.slice(storeId.length + 1)
  return /^[0-9a-f]{28}$/.test(place)
    ? { position: place.slice(0, positionSize), generation: Number.parseInt(place.slice(positionSize), 16) }
    : undefined
}

export const cursorPosition = (cursor: Cursor): string => {
  const dot = cursor.indexOf(".")
  return cursor.slice(dot + 1, dot + 1 + positionSize)
}

export const firstPosition: string = "0".repeat(positionSize)
