/**
 * What the pipeline keeps and sends: typed collections, one queue, and the totals. All of it is plain values; which store they
 * live in is decided in `backend.ts`.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
// Installed, a program writes: import { Kv, Queue } from "effect-seams"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

/** What tells one version of a file from the next, as for make and rsync: the time of its last change (ms) and its size. */
export const Version = Schema.Struct({ mtime: Schema.Int, size: Schema.Int })
export type Version = typeof Version.Type

export const sameVersion = (a: Version, b: Version): boolean => a.mtime === b.mtime && a.size === b.size

/** What a worker finds out about a file. */
export const Statistics = Schema.Struct({
  bytes: Schema.Int,
  /** Line ends, as `wc -l` counts them. */
  lines: Schema.Int,
  /** Runs of bytes between white space, as `wc -w` counts them. */
  words: Schema.Int,
  /** Addresses that begin with `http://` or `https://`. */
  links: Schema.Int,
  sha256: Schema.String
})
export type Statistics = typeof Statistics.Type

/** The message: one version of one file. `scan` numbers the scan that found it, so that the later of two versions is known. */
export const FoundFile = Schema.Struct({
  root: Schema.String,
  path: Schema.String,
  version: Version,
  scan: Schema.Int
})
export type FoundFile = typeof FoundFile.Type

export const Files = Queue.define("pipeline-files", {
  payload: FoundFile,
  // An unreadable file is tried four times in one and a half seconds, then it is a dead letter.
  retry: { times: 3, schedule: Schedule.exponential("200 millis") }
})

/** Root folder and path below it, so that several folders can share one store. */
const FileKey = Schema.Tuple([Schema.String, Schema.String])

/** The version of each file for which a message was published. Written in the same commit as the message. */
export const Seen = Kv.collection(["pipeline", "seen"], { key: FileKey, value: Version })

/** The statistics of each file. Written in the same commit as the totals and the ack of the message. */
export const Results = Kv.collection(["pipeline", "results"], {
  key: FileKey,
  value: Schema.Struct({ scan: Schema.Int, version: Version, statistics: Statistics })
})

/**
 * How far the scan of a root has come: every path up to `after` is compared and published, `""` when the scan is over. A
 * killed scan is resumed here.
 */
export const Cursors = Kv.collection(["pipeline", "cursors"], {
  key: Schema.String,
  value: Schema.Struct({ scan: Schema.Int, after: Schema.String })
})

/** A folder and the file in it; longer ones do not fit the key of every backend, nor two hundred of them one commit. */
export const longestPath = 1_500

export const measures = ["files", "bytes", "lines", "words", "links"] as const
export type Measure = (typeof measures)[number]

/**
 * A total is two counters, of what was counted in and of what was counted out again because its file changed or went away; the
 * difference is what the folder holds now. Counters only grow, so workers add to them without reading them first, and never
 * stand in one another's way.
 */
export interface Total {
  readonly in: bigint
  readonly out: bigint
}
export type Totals = Readonly<Record<Measure, Total>>

const directions = ["in", "out"] as const
const counterKey = (root: string, measure: Measure, direction: (typeof directions)[number]): Kv.Key => [
  "pipeline",
  "totals",
  root,
  measure,
  direction
]

/** The steps of a commit that count a file in, or out. */
export const count = (root: string, direction: (typeof directions)[number], statistics: Statistics) =>
  measures.flatMap((measure) => {
    const amount = measure === "files" ? 1 : statistics[measure]
    return amount === 0 ? [] : [Kv.sum(counterKey(root, measure, direction), BigInt(amount))]
  })

/** All totals of a root, from one state of the store. */
export const readTotals = Effect.fn("readTotals")(function* (root: string) {
  const kv = yield* Kv.Kv
  const keys = measures.flatMap((measure) => directions.map((direction) => counterKey(root, measure, direction)))
  const entries = yield* kv.getMany(keys)
  const value = (i: number) =>
    Option.match(entries[i] ?? Option.none(), { onNone: () => 0n, onSome: (entry) => entry.value as bigint })
  return Object.fromEntries(
    measures.map((measure, i) => [measure, { in: value(2 * i), out: value(2 * i + 1) }])
  ) as unknown as Totals
})
