/**
 * The Deno KV room against the bare handle of `@deno/kv`, side by side in one process and in turn, so that the machine's moods hit both:
 * what is printed is the median of the rounds' ratios. Ours does more with each write (a line of the change log, a check of the generation,
 * the bump key) and with each read (the generation); what that costs is what is measured. Both keep files in one fresh folder.
 *
 *   cd bench && npm install && node denokv.ts          SEAMS_BENCH=short for a quick run
 *
 * Exits with 1 when a goal is missed.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { openKv } from "@deno/kv"
import { Effect, Option, Stream } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Kv from "../src/Kv.ts"
import * as DenoKv from "../src/layers/denokv/index.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const scale = short ? 0.3 : 1
const only = process.argv[2]

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-bench-"))
const rival = await openKv(path.join(folder, "rival.sqlite"))
const keys = 1_000
const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"
let turn = 0
/** Never the same twice: SQLite does not write an identical page. */
const fresh = () => ({ n: ++turn, text })

interface Case {
  readonly name: string
  /** What the ratio must not fall below. */
  readonly goal: number
  readonly n: number
  readonly ours: (kv: Kv.Service, i: number) => Effect.Effect<unknown, unknown>
  readonly theirs: (i: number) => Promise<unknown>
  readonly concurrency?: number
}

const cases: ReadonlyArray<Case> = [
  {
    name: "set",
    goal: 0.5,
    n: 500,
    ours: (kv, i) => kv.set(["bench", i % keys], fresh()),
    theirs: (i) => rival.set(["bench", i % keys], fresh())
  },
  {
    name: "set, 64 at a time",
    goal: 0.4,
    n: 500,
    concurrency: 64,
    ours: (kv, i) => kv.set(["bench", i % keys], fresh()),
    theirs: (i) => rival.set(["bench", i % keys], fresh())
  },
  {
    name: "get",
    goal: 0.4,
    n: 1_000,
    ours: (kv, i) => kv.get(["bench", i % keys]),
    theirs: (i) => rival.get(["bench", i % keys])
  },
  {
    name: "get, then write if nobody else did",
    goal: 0.25,
    n: 300,
    ours: (kv) =>
      Effect.flatMap(kv.get(["cas"]), (old) =>
        Effect.provideService(Kv.atomic([Kv.check(["cas"], old), Kv.set(["cas"], fresh())]), Kv.Kv, kv)
      ),
    theirs: async () => {
      const old = await rival.get(["cas"])
      return rival.atomic().check(old).set(["cas"], fresh()).commit()
    }
  },
  {
    name: "sum",
    goal: 0.25,
    n: 300,
    ours: (kv) => Effect.provideService(Kv.sum(["sum"], 1n), Kv.Kv, kv),
    theirs: () => rival.atomic().sum(["sum"], 1n).commit()
  },
  {
    name: "list of 200 entries",
    goal: 0.4,
    n: 50,
    ours: (kv) => Stream.runDrain(kv.list({ prefix: ["bench"] }, { limit: 200 })),
    theirs: async () => {
      for await (const _ of rival.list({ prefix: ["bench"] }, { limit: 200, batchSize: 200 })) continue
    }
  }
]

const spread = async (n: number, concurrency: number, f: (i: number) => Promise<unknown>): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < n) await f(next++)
    })
  )
}

const timed = async (run: () => Promise<void>): Promise<number> => {
  const start = performance.now()
  await run()
  return performance.now() - start
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const program = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  for (let i = 0; i < keys; i++) {
    yield* kv.set(["bench", i], fresh())
    yield* Effect.promise(() => rival.set(["bench", i], fresh()))
  }
  let missed = false
  for (const { concurrency = 1, goal, n, name, ours, theirs } of cases) {
    if (only !== undefined && !name.includes(only)) continue
    const count = Math.ceil(n * scale)
    const runOurs = Effect.runPromiseWith(yield* Effect.context<never>())
    const all = Array.from({ length: count }, (_, i) => i)
    const mine = () =>
      timed(() => runOurs(Effect.forEach(all, (i) => Effect.orDie(ours(kv, i)), { concurrency, discard: true })))
    const other = () => timed(() => spread(count, concurrency, theirs))
    const ratios: Array<number> = []
    const rates: Array<readonly [number, number]> = []
    for (let round = 0; round <= rounds; round++) {
      const first = round % 2 === 0 ? yield* Effect.promise(mine) : yield* Effect.promise(other)
      const second = round % 2 === 0 ? yield* Effect.promise(other) : yield* Effect.promise(mine)
      const [a, b] = round % 2 === 0 ? [first, second] : [second, first]
      // The first round warms up.
      if (round === 0) continue
      ratios.push(b / a)
      rates.push([(count / a) * 1_000, (count / b) * 1_000])
    }
    const ratio = median(ratios)
    if (ratio < goal) missed = true
    const [our, their] = [median(rates.map(([a]) => a)), median(rates.map(([, b]) => b))]
    console.log(
      `${name.padEnd(36)} ${our.toFixed(0).padStart(6)}/s  bare ${their.toFixed(0).padStart(6)}/s  ratio ${ratio.toFixed(2)}${ratio < goal ? `  MISSED ${goal}` : ""}`
    )
  }
  const left = yield* kv.get(["sum"])
  if (only === undefined && Option.isNone(left)) throw new Error("the sums are gone")
  return missed
})

const missed = await Effect.runPromise(
  Effect.provide(program, DenoKv.layerKv({ path: path.join(folder, "ours.sqlite") }))
)
rival.close()
fs.rmSync(folder, { recursive: true, force: true })
if (missed) process.exitCode = 1
