/** Rows of `seams_kv` and texts of the log, to and from what the policy speaks. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Stored, StoredValue } from "../../../kv/driver.ts"
import type { Cursor, Versionstamp } from "../../../kv/model.ts"
import type { Parameter } from "../sqlite.ts"

export interface KvRow {
  readonly kind: number
  readonly v: string | Uint8Array
  readonly vs: string
  readonly exp: number | null
}

export const storedOf = (key: Packed, row: KvRow): Stored => ({
  key,
  value: valueOf(row),
  versionstamp: row.vs as Versionstamp,
  expiresAt: row.exp ?? undefined
})

const valueOf = (row: KvRow): StoredValue => {
  if (row.kind === 0) return { _tag: "Json", text: row.v as string }
  if (row.kind === 1) return { _tag: "Bytes", bytes: row.v as Uint8Array }
  return { _tag: "Counter", value: BigInt(row.v as string) }
}

export const kindOf = (value: StoredValue): number => (value._tag === "Json" ? 0 : value._tag === "Bytes" ? 1 : 2)

export const parameterOf = (value: StoredValue): Parameter =>
  value._tag === "Json" ? value.text : value._tag === "Bytes" ? value.bytes : value.value.toString()

export const isLive = (exp: number | null, now: number): boolean => exp === null || exp > now

/** Whole milliseconds, never early, and within what a number holds exactly. */
export const deadline = (now: number, millis: number): number =>
  Math.min(Math.ceil(now + millis), Number.MAX_SAFE_INTEGER)

export const counterText = (counter: number): string => counter.toString(16).padStart(16, "0")

export const stampOf = (counter: number, commitId: string): Versionstamp =>
  (counterText(counter) + commitId) as Versionstamp

export const stampCounter = (versionstamp: string): number => Number.parseInt(versionstamp.slice(0, 16), 16)

export const cursorOf = (storeId: string, counter: number): Cursor => `${storeId}.${counterText(counter)}` as Cursor

/** `undefined`: of another store, or not one of our cursors. */
export const cursorCounter = (storeId: string, cursor: string): number | undefined => {
  if (cursor.length !== 33 || !cursor.startsWith(`${storeId}.`)) return undefined
  const counter = Number.parseInt(cursor.slice(17), 16)
  return Number.isSafeInteger(counter) ? counter : undefined
}
