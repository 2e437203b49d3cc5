/**
 * What spans cost: the same work with `tracing: false`, with Effect's own tracer (the default, nothing is exported), and with a tracer
 * that keeps nothing, so that only what the seams do is left. Side by side in one process and in turn, on the memory layers and on SQLite (`synchronous: "normal"`).
 * Counted is the CPU time of the process, which other programs on the machine change less than they change the clock on the wall; printed
 * are the microseconds of CPU per operation (medians) and the median of the rounds' ratios to `tracing: false`.
 *
 *   cd bench && node --expose-gc tracing.ts            SEAMS_BENCH=short for a quick run
 *
 * Needs no package of this folder.
 */
import { type Context, Deferred, Effect, Layer, type Option, Schema, Tracer } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Kv from "../src/Kv.ts"
import * as Memory from "../src/layers/memory/index.ts"
import * as Sqlite from "../src/layers/sqlite/index.ts"
import * as Queue from "../src/Queue.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 5 : 11
const scale = short ? 0.3 : 1

const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })
const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"
const keys = 1_000
/** SQLite does not write an identical page. */
let turn = 0
const fresh = () => ({ n: ++turn, text })

type Services = Kv.Kv | Queue.Queue | Kv.SharedQueue
type Run = (n: number) => Effect.Effect<void, unknown, Services>

const inTurn =
  (f: (kv: Kv.Service, i: number) => Effect.Effect<unknown, unknown, Services>): Run =>
  (n) =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      for (let i = 0; i < n; i++) yield* f(kv, i)
    })

interface Case {
  readonly name: string
  /** Operations per round on the memory layers; SQLite does a fifth. */
  readonly n: number
  readonly run: Run
}

/** `process` handles what `enqueue` left. */
const cases: ReadonlyArray<Case> = [
  { name: "enqueue", n: 5_000, run: inTurn(() => Jobs.enqueue(fresh())) },
  {
    name: "process (claim, handle, settle)",
    n: 5_000,
    run: (n) =>
      Effect.gen(function* () {
        const done = yield* Deferred.make<void>()
        let left = n
        yield* Layer.build(
          Jobs.worker(() => Effect.suspend(() => (--left === 0 ? Deferred.succeed(done, undefined) : Effect.void)), {
            concurrency: 16,
            prefetch: 16
          })
        )
        yield* Deferred.await(done)
        yield* Jobs.awaitIdle
      }).pipe(Effect.scoped)
  },
  { name: "kv set", n: 10_000, run: inTurn((kv, i) => kv.set(["bench", i % keys], fresh())) },
  { name: "kv get", n: 10_000, run: inTurn((kv, i) => kv.get(["bench", i % keys])) }
]

class Forgetting implements Tracer.Span {
  readonly _tag = "Span"
  readonly name: string
  readonly spanId = "b7ad6b7169203331"
  readonly traceId = "0af7651916cd43dd8448eb211c80319c"
  readonly parent: Option.Option<Tracer.AnySpan>
  readonly annotations: Context.Context<never>
  readonly status = { _tag: "Started", startTime: 0n } as const
  readonly attributes: ReadonlyMap<string, unknown> = new Map()
  readonly links: ReadonlyArray<Tracer.SpanLink> = []
  readonly sampled = true
  readonly kind: Tracer.SpanKind
  constructor({ annotations, kind, name, parent }: Parameters<Tracer.Tracer["span"]>[0]) {
    this.name = name
    this.parent = parent
    this.annotations = annotations
    this.kind = kind
  }
  end(): void {}
  attribute(): void {}
  event(): void {}
  addLinks(): void {}
}

const forgetting = Tracer.make({ span: (options) => new Forgetting(options) })

const modes = [
  { name: "off", tracing: false, around: <A, E, R>(effect: Effect.Effect<A, E, R>) => effect },
  { name: "Effect's tracer", tracing: true, around: <A, E, R>(effect: Effect.Effect<A, E, R>) => effect },
  {
    name: "forgetting tracer",
    tracing: true,
    around: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Tracer.Tracer, forgetting)
  }
] as const

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-bench-"))
const backends: ReadonlyArray<{
  readonly name: string
  readonly share: number
  readonly layer: (tracing: boolean, mode: number) => Layer.Layer<Services, unknown>
}> = [
  { name: "memory", share: 1, layer: (tracing) => Memory.layerWith({ tracing }) },
  {
    name: "sqlite",
    share: 0.2,
    layer: (tracing, mode) =>
      Sqlite.layer({ filename: path.join(folder, `${mode}.sqlite`), synchronous: "normal", tracing })
  }
]

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0

const program = Effect.gen(function* () {
  for (const backend of backends) {
    const stores = yield* Effect.forEach(modes, ({ tracing }, i) => Layer.build(backend.layer(tracing, i)))
    const spent = cases.map(() => modes.map((): Array<number> => []))
    // The first round warms up.
    for (let round = -1; round < rounds; round++)
      for (const [c, one] of cases.entries()) {
        const n = Math.ceil(one.n * scale * backend.share)
        for (let i = 0; i < modes.length; i++) {
          const m = (i + round + modes.length) % modes.length
          globalThis.gc?.()
          const before = process.cpuUsage()
          yield* modes[m]!.around(Effect.provideContext(one.run(n), stores[m]!))
          const { system, user } = process.cpuUsage(before)
          if (round >= 0) spent[c]![m]!.push((user + system) / n)
        }
      }
    console.log(`\n${backend.name.padEnd(34)}${modes.map(({ name }) => name.padStart(26)).join("")}`)
    for (const [c, { name }] of cases.entries()) {
      const off = spent[c]![0]!
      const cells = spent[c]!.map((own, m) => {
        const ratio = m === 0 ? "" : `x${median(own.map((one, round) => one / off[round]!)).toFixed(2)}`
        return `${median(own).toFixed(1)} us ${ratio.padStart(6)}`.padStart(26)
      })
      console.log(`${name.padEnd(34)}${cells.join("")}`)
    }
  }
}).pipe(Effect.scoped)

console.log(`Node ${process.version}, ${os.cpus().length} cores, load ${os.loadavg()[0]!.toFixed(1)}, ${rounds} rounds`)
await Effect.runPromise(program)
fs.rmSync(folder, { recursive: true, force: true })
