/**
 * Lines of the change log as they are stored: what a commit did to which keys. Format 1, a bit that says whether a position follows
 * (10 bytes), then for each key what happened (1 byte), its size (2 bytes) and its bytes.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { LogLine } from "../../../kv/driver.ts"
import { ByteReader, ByteWriter } from "../bytes.ts"
import type { NativeEntry } from "../native.ts"
import { commitOfLine, generationOfLine } from "./keys.ts"
import { stampOf } from "./stamps.ts"

export interface LineOp {
  readonly op: LogLine["op"]
  readonly key: Packed
}

const format = 1
const opCodes = { put: 1, delete: 2, expire: 3 } as const
const opNames = ["put", "put", "delete", "expire"] as const

/** Well below the limit of a value. */
const partSize = 60_000

/** One body for each record: one, unless very many keys are named. */
export const encodeLines = (ops: ReadonlyArray<LineOp>): ReadonlyArray<Uint8Array> => {
  const bodies: Array<Uint8Array> = []
  let writer = new ByteWriter()
  for (const { key, op } of ops) {
    if (writer.size + key.length + 3 > partSize) {
      bodies.push(writer.done())
      writer = new ByteWriter()
    }
    writer.u8(opCodes[op]).u16(key.length).binary(key)
  }
  bodies.push(writer.done())
  return bodies
}

export const lineSize = (key: Packed): number => key.length + 3

/** `position`: of a commit that was applied in several writes. */
export const lineValue = (body: Uint8Array, position: string | undefined): Uint8Array => {
  const writer = new ByteWriter(12 + body.length).u8(format).u8(position === undefined ? 0 : 1)
  if (position !== undefined) writer.hex(position)
  return writer.raw(body).done()
}

export interface Line {
  readonly position: string
  readonly generation: number
  readonly commitId: string
  readonly ops: ReadonlyArray<LineOp>
}

export const positionOfLine = (entry: NativeEntry): string | undefined => {
  const { value, versionstamp } = entry
  if (versionstamp === null || !(value instanceof Uint8Array)) return undefined
  const reader = new ByteReader(value)
  reader.u8()
  return reader.u8() === 1 ? reader.hex(10) : versionstamp
}

export const readLine = (entry: NativeEntry): Line | undefined => {
  const position = positionOfLine(entry)
  if (position === undefined) return undefined
  const reader = new ByteReader(entry.value as Uint8Array)
  reader.u8()
  if (reader.u8() === 1) reader.raw(10)
  const ops: Array<LineOp> = []
  while (reader.left > 0) {
    const op = opNames[reader.u8()] ?? "put"
    ops.push({ op, key: reader.binary(reader.u16()) as Packed })
  }
  return { position, generation: generationOfLine(entry.key), commitId: commitOfLine(entry.key), ops }
}

export const stampOfLine = ({ commitId, generation, position }: Line): LogLine["versionstamp"] =>
  stampOf(position, generation, commitId)
