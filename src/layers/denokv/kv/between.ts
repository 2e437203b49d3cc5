/** Lines of the change log between two places: what a reader goes on with, and what tells whether several reads show one state. */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import { readCount } from "../initial.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeEntry } from "../native.ts"
import { nativeLimits } from "../native.ts"
import { floorKey, generationOfLine, linesOf } from "./keys.ts"
import type { Line } from "./lines.ts"
import { positionOfLine, readLine } from "./lines.ts"
import type { Place } from "./stamps.ts"
import type { Store } from "./store.ts"

/** A read that takes longer than so many generations is better begun anew. */
const mostGenerations = 4

/** All records of a generation, in the order of their keys. */
export const recordsOf = (store: Store, generation: number): Effect.Effect<ReadonlyArray<NativeEntry>, NativeFault> =>
  Effect.gen(function* () {
    const records: Array<NativeEntry> = []
    const end = linesOf(generation + 1)
    let start: NativeEntry["key"] = linesOf(generation)
    while (true) {
      const found = yield* store.list({ start, end }, { limit: nativeLimits.list })
      for (const entry of found) if (generationOfLine(entry.key) === generation) records.push(entry)
      const last = found.at(-1)
      if (found.length < nativeLimits.list || last === undefined) return records
      start = [...last.key, 0]
    }
  })

/** Lines behind a place and up to a position, oldest first. */
export const linesBetween = (after: Place, upTo: string, records: ReadonlyArray<NativeEntry>): ReadonlyArray<Line> => {
  const wanted: Array<readonly [string, NativeEntry]> = []
  for (const entry of records) {
    const position = positionOfLine(entry)
    if (position !== undefined && position > after.position && position <= upTo) wanted.push([position, entry])
  }
  wanted.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const lines: Array<Line> = []
  for (const [, entry] of wanted) {
    const line = readLine(entry)
    if (line === undefined) continue
    const last = lines.at(-1)
    // A commit with very many keys has several records.
    if (last !== undefined && last.position === line.position)
      lines[lines.length - 1] = { ...last, ops: [...last.ops, ...line.ops] }
    else lines.push(line)
  }
  return lines
}

/** Whether no commit behind one place and up to another touched such a key. False, too, if the log does not tell any more. */
export const untouched = (
  store: Store,
  { from, upTo }: { readonly from: Place; readonly upTo: Place },
  concerned: (key: Packed) => boolean
): Effect.Effect<boolean, NativeFault> =>
  Effect.gen(function* () {
    if (from.position === upTo.position) return true
    if (upTo.generation - from.generation > mostGenerations) return false
    for (let generation = from.generation; generation <= upTo.generation; generation++) {
      const lines = linesBetween(from, upTo.position, yield* recordsOf(store, generation))
      if (lines.some(({ ops }) => ops.some(({ key }) => concerned(key)))) return false
    }
    // What was read is whole only if none of it was trimmed meanwhile.
    const { entries } = yield* store.read([floorKey])
    return readCount(entries[0]) <= from.generation
  })
