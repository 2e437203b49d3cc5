/**
 * The texts of the data model: the stamp beside every value, log entries, versionstamps, cursors.
 *
 * A stamp is the commit's number in 16 bytes, padded with NUL at its end, then the commit's id, one letter for the kind of value, and the
 * deadline in milliseconds or nothing. The padding lets `BITOP OR` write the number into a stamp inside a transaction that cannot know it.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { LogLine, Stored, StoredValue } from "../../../kv/driver.ts"
import type { Cursor, Versionstamp } from "../../../kv/model.ts"

const numberSize = 16
export const idSize = 20
/** What a check compares: number and id. */
export const checkedSize: number = numberSize + idSize

export const padding: string = "\0".repeat(numberSize)

const hex16 = (n: number): string => n.toString(16).padStart(16, "0")

export const kindOf = (value: StoredValue): "j" | "b" | "n" =>
  value._tag === "Json" ? "j" : value._tag === "Bytes" ? "b" : "n"

export const bytesOf = (value: StoredValue): string | Buffer =>
  value._tag === "Json"
    ? value.text
    : value._tag === "Bytes"
      ? Buffer.from(value.bytes.buffer, value.bytes.byteOffset, value.bytes.byteLength)
      : value.value.toString()

/** A stamp without its number, for `BITOP OR`. */
export const unnumbered = (commitId: string, kind: string, deadline: number | undefined): string =>
  padding + commitId + kind + (deadline ?? "")

export interface Stamp {
  readonly versionstamp: Versionstamp
  readonly kind: string
  readonly deadline: number | undefined
}

export const readStamp = (stamp: Buffer): Stamp => {
  const end = stamp.indexOf(0)
  const number = Number(stamp.toString("latin1", 0, end < 0 || end > numberSize ? numberSize : end))
  const deadline = stamp.toString("latin1", checkedSize + 1)
  return {
    versionstamp: (hex16(number) + stamp.toString("latin1", numberSize, checkedSize)) as Versionstamp,
    kind: stamp.toString("latin1", checkedSize, checkedSize + 1),
    deadline: deadline === "" ? undefined : Number(deadline)
  }
}

/** What the first bytes of a key's stamp must be for a check to hold; `""`: there must be none. */
export const expectedStamp = (versionstamp: Versionstamp | null): string => {
  if (versionstamp === null) return ""
  const number = Number.parseInt(versionstamp.slice(0, 16), 16)
  return String(number).padEnd(numberSize, "\0") + versionstamp.slice(16)
}

export const storedOf = (key: Packed, value: Buffer | null, stamp: Buffer | null): Stored | undefined => {
  if (value === null || stamp === null) return undefined
  const { deadline, kind, versionstamp } = readStamp(stamp)
  return { key, value: valueOf(kind, value), versionstamp, expiresAt: deadline }
}

export const valueOf = (kind: string, value: Buffer): StoredValue => {
  if (kind === "j") return { _tag: "Json", text: value.toString() }
  // A copy: the reply may share the memory of others.
  if (kind === "b") return { _tag: "Bytes", bytes: new Uint8Array(value) }
  return { _tag: "Counter", value: BigInt(value.toString("latin1")) }
}

export const stampOf = (number: number, commitId: string): Versionstamp => (hex16(number) + commitId) as Versionstamp

export const numberOf = (versionstamp: string): number => Number.parseInt(versionstamp.slice(0, 16), 16)

/** The place behind a commit. The id makes it fail on a log that was set back and grew again. */
export const cursorOf = (number: number, commitId: string): Cursor =>
  `${hex16(number)}.${number === 0 ? "" : commitId}` as Cursor

/** `undefined`: not one of our cursors. */
export const readCursor = (cursor: string): { readonly number: number; readonly id: string } | undefined =>
  /^[0-9a-f]{16}\.([0-9a-f]{20})?$/.test(cursor) ? { number: numberOf(cursor), id: cursor.slice(17) } : undefined

export type LogOp = "p" | "d" | "e"

/** One change in a log entry: what happened, the size of the key in four hex digits, the key. */
export const logPart = (op: LogOp, key: Packed): string => op + key.length.toString(16).padStart(4, "0") + key

/** An entry is the commit's id and its changes. */
export const entryId = (entry: Buffer): string => entry.toString("latin1", 0, idSize)

const opNames = { p: "put", d: "delete", e: "expire" } as const

export const readEntry = (entry: Buffer, number: number): ReadonlyArray<Omit<LogLine, "entry">> => {
  const text = entry.toString("latin1")
  const versionstamp = stampOf(number, text.slice(0, idSize))
  const lines: Array<Omit<LogLine, "entry">> = []
  for (let at = idSize; at < text.length;) {
    const end = at + 5 + Number.parseInt(text.slice(at + 1, at + 5), 16)
    lines.push({ op: opNames[text[at] as LogOp], key: text.slice(at + 5, end) as Packed, versionstamp })
    at = end
  }
  return lines
}

/** Whole milliseconds, never early, and within what a number holds exactly. */
export const whole = (millis: number): number => Math.min(Math.ceil(millis), Number.MAX_SAFE_INTEGER)
