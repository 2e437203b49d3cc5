/**
 * The SQLite room against `@deno/kv`, side by side in one process and in turn, so that the machine's moods hit both: what is
 * printed is the median of the rounds' ratios. Ours runs through the whole service (`Kv.Kv`, `Queue.define`, a worker) with default options:
 * spans on, `synchronous: "full"`. Both keep files in one fresh folder.
 *
 *   cd bench && npm install && node sqlite.ts          SEAMS_BENCH=short for a quick run
 *
 * Exits with 1 when a goal is missed.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { openKv } from "@deno/kv"
import { Deferred, Effect, Layer, Option, Schema, Stream } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Kv from "../src/Kv.ts"
import * as Sqlite from "../src/layers/sqlite/index.ts"
import * as Queue from "../src/Queue.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const scale = short ? 0.3 : 1
const only = process.argv[2]

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-bench-"))
const rival = await openKv(path.join(folder, "deno.sqlite"))

const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })
const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"

type Run = (n: number) => Effect.Effect<void, unknown, Kv.Kv | Queue.Queue | Kv.SharedQueue>

interface Case {
  readonly name: string
  readonly goal?: number
  /** Operations per round for each side: the slower one gets fewer. */
  readonly n: number
  readonly rivalN: number
  readonly ours: Run
  /** May answer how many milliseconds count. */
  readonly theirs: (n: number) => Promise<number | void>
  /** What must be there before the clock starts. */
  readonly prepareOurs?: Run
}

/** A value that is never the same twice: SQLite does not write an identical page. */
let turn = 0
const fresh = () => ({ n: ++turn, text })
const keys = 1_000

const inTurn = async (n: number, f: (i: number) => Promise<unknown>): Promise<void> => {
  for (let i = 0; i < n; i++) await f(i)
}
const at64 = async (n: number, f: (i: number) => Promise<unknown>): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      while (next < n) await f(next++)
    })
  )
}
const kvInTurn =
  (f: (kv: Kv.Service, i: number) => Effect.Effect<unknown, unknown>): Run =>
  (n) =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      for (let i = 0; i < n; i++) yield* f(kv, i)
    })
const kvAt64 =
  (f: (kv: Kv.Service, i: number) => Effect.Effect<unknown, unknown>): Run =>
  (n) =>
    Kv.Kv.use((kv) =>
      Effect.forEach(
        Array.from({ length: n }, (_, i) => i),
        (i) => f(kv, i),
        { concurrency: 64, discard: true }
      )
    )

/** Their handlers run one after the other; more concurrency does not exist there. */
let onRival: (() => void) | undefined
void rival.listenQueue(() => onRival?.())

const cases: ReadonlyArray<Case> = [
  {
    name: "set, one after the other",
    n: 2_000,
    rivalN: 1_000,
    ours: kvInTurn((kv, i) => kv.set(["bench", i % keys], fresh())),
    theirs: (n) => inTurn(n, (i) => rival.set(["bench", i % keys], fresh()))
  },
  {
    name: "set, 64 at a time",
    goal: 8,
    n: 20_000,
    rivalN: 2_000,
    ours: kvAt64((kv, i) => kv.set(["bench", i % keys], fresh())),
    theirs: (n) => at64(n, (i) => rival.set(["bench", i % keys], fresh()))
  },
  {
    name: "get, one after the other",
    goal: 10,
    n: 20_000,
    rivalN: 2_000,
    ours: kvInTurn((kv, i) => kv.get(["bench", i % keys])),
    theirs: (n) => inTurn(n, (i) => rival.get(["bench", i % keys]))
  },
  {
    name: "get, 64 at a time",
    n: 20_000,
    rivalN: 4_000,
    ours: kvAt64((kv, i) => kv.get(["bench", i % keys])),
    theirs: (n) => at64(n, (i) => rival.get(["bench", i % keys]))
  },
  {
    name: "get and compare-and-set",
    n: 1_500,
    rivalN: 700,
    ours: kvInTurn((kv) =>
      Effect.flatMap(kv.get(["cas"]), (old) =>
        kv.commit([
          {
            _tag: "Check",
            key: ["cas"],
            versionstamp: Option.match(old, { onNone: () => null, onSome: (e) => e.versionstamp })
          },
          { _tag: "Set", key: ["cas"], value: { _tag: "Json", text: JSON.stringify(fresh()) }, expireIn: undefined }
        ])
      )
    ),
    theirs: (n) =>
      inTurn(n, async () => {
        const old = await rival.get(["cas"])
        await rival.atomic().check(old).set(["cas"], fresh()).commit()
      })
  },
  {
    name: "list, entries of 1,000",
    n: 20_000,
    rivalN: 10_000,
    ours: (n) =>
      Kv.Kv.use((kv) =>
        Effect.repeat(Stream.runDrain(kv.list({ prefix: ["bench"] })), { times: Math.ceil(n / keys) - 1 })
      ),
    theirs: (n) =>
      inTurn(Math.ceil(n / keys), async () => {
        for await (const _ of rival.list({ prefix: ["bench"] }, { batchSize: 100 })) void _
      })
  },
  {
    name: "enqueue, one after the other",
    n: 2_000,
    rivalN: 700,
    ours: (n) =>
      Effect.forEach(
        Array.from({ length: n }, () => fresh()),
        (payload) => Jobs.enqueue(payload),
        { discard: true }
      ),
    theirs: (n) => inTurn(n, () => rival.enqueue(fresh(), { delay: 3_600_000 }))
  },
  {
    name: "enqueue, 64 at a time",
    n: 10_000,
    rivalN: 1_500,
    ours: (n) =>
      Effect.forEach(
        Array.from({ length: n }, () => fresh()),
        (payload) => Jobs.enqueue(payload),
        { concurrency: 64, discard: true }
      ),
    theirs: (n) => at64(n, () => rival.enqueue(fresh(), { delay: 3_600_000 }))
  },
  {
    name: "consume, 64 handlers",
    goal: 10,
    n: 10_000,
    rivalN: 700,
    prepareOurs: (n) =>
      Effect.andThen(
        Jobs.purge,
        Effect.forEach(
          Array.from({ length: Math.ceil(n / 1_000) }),
          () => Jobs.enqueueAll(Array.from({ length: 1_000 }, () => fresh())),
          { discard: true }
        )
      ),
    ours: (n) =>
      Effect.gen(function* () {
        const done = yield* Deferred.make<void>()
        let left = n
        yield* Layer.build(
          Jobs.worker(() => Effect.suspend(() => (--left === 0 ? Deferred.succeed(done, undefined) : Effect.void)), {
            concurrency: 64,
            prefetch: 64
          })
        )
        yield* Deferred.await(done)
        yield* Jobs.awaitIdle
      }).pipe(Effect.scoped),
    // All theirs become due at one moment, and the time runs from the first that is handled.
    theirs: async (n) => {
      const due = Date.now() + 1_500
      let left = n
      let first = 0
      const done = new Promise<number>((resolve) => {
        onRival = () => {
          if (left === n) first = performance.now()
          if (--left === 0) resolve(performance.now() - first)
        }
      })
      await at64(n, () => rival.enqueue(fresh(), { delay: due - Date.now() }))
      return await done
    }
  }
]

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0

const layer = Sqlite.layer({ filename: path.join(folder, "seams.sqlite") })

const program = Effect.gen(function* () {
  let missed = 0
  console.log(`${"".padEnd(30)}${"@deno/kv /s".padStart(14)}${"seams /s".padStart(14)}${"ratio".padStart(9)}   goal`)
  for (const one of cases) {
    if (only !== undefined && !one.name.includes(only) && !one.name.startsWith("set, one")) continue
    const n = Math.ceil(one.n * scale)
    const rivalN = Math.ceil(one.rivalN * scale)
    const oursPerSecond: Array<number> = []
    const theirsPerSecond: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      yield* one.prepareOurs?.(n) ?? Effect.void
      let start = performance.now()
      yield* one.ours(n)
      oursPerSecond.push((n * 1_000) / (performance.now() - start))
      start = performance.now()
      const counted = yield* Effect.promise(() => one.theirs(rivalN))
      theirsPerSecond.push((rivalN * 1_000) / (typeof counted === "number" ? counted : performance.now() - start))
    }
    const ours = median(oursPerSecond)
    const theirs = median(theirsPerSecond)
    // Of each round and not of the medians: what slowed one side slowed the other in the same round.
    const ratio = median(oursPerSecond.map((mine, round) => mine / (theirsPerSecond[round] ?? Number.NaN)))
    const verdict = one.goal === undefined ? "" : `>= ${one.goal} ${ratio >= one.goal ? "held" : "MISSED"}`
    if (one.goal !== undefined && ratio < one.goal) missed++
    console.log(
      `${one.name.padEnd(30)}${theirs.toFixed(0).padStart(14)}${ours.toFixed(0).padStart(14)}${ratio.toFixed(1).padStart(9)}   ${verdict}`
    )
  }
  return missed
})

const missed = await Effect.runPromise(Effect.provide(program, layer))
rival.close()
fs.rmSync(folder, { recursive: true, force: true })
process.exit(missed === 0 ? 0 : 1)
