/** `Queue.limits` with real processes over real stores: what they say of their handlers is held against the limits, two of them killed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, type Scope } from "effect"
import type * as Kv from "../../src/Kv.ts"
import * as Postgres from "../../src/layers/postgres/index.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import type * as Queue from "../../src/Queue.ts"
import { overfullWindow } from "../../src/testing/kvLimiterOracle.ts"
import { type Child, startProcess, temporaryFile } from "../support/processes.ts"
import { server } from "./postgresBackends.ts"
import { groupRateLimit, lease, maxConcurrency, microseconds, Narrow, rateLimit, Slow } from "./queueLimitsChild.ts"
import { standalone } from "./redisBackends.ts"

interface Store {
  readonly options: object
  readonly layer: Layer.Layer<Kv.Kv | Queue.Queue, unknown>
}

const name = `limits-${process.pid}`
const stores: ReadonlyArray<
  readonly [name: string, script: string, store: Effect.Effect<Store, unknown, Scope.Scope>]
> = [
  [
    "a SQLite file",
    "queueLimitsSqlite.ts",
    Effect.map(temporaryFile, (filename) => ({
      options: { filename },
      layer: Sqlite.layer({ filename })
    }))
  ],
  [
    "a Redis server",
    "queueLimitsRedis.ts",
    Effect.map(standalone, (one) => {
      const options = { ...one, namespace: name }
      return { options, layer: Redis.layer(options) }
    })
  ],
  [
    "a PostgreSQL server",
    "queueLimitsPostgres.ts",
    Effect.map(server, (one) => {
      const options = { ...one, schema: name }
      return { options, layer: Postgres.layer(options) }
    })
  ]
]

interface Process {
  readonly child: Child
  /** Microseconds. */
  killed: number | undefined
}

interface Run {
  readonly n: number
  readonly attempt: number
  readonly start: number
  readonly end: number
  readonly whole: boolean
}

/** What a process ran; what was cut off by its kill ended there at the latest. */
const runsOf = ({ child, killed }: Process, queue: string): ReadonlyArray<Run> => {
  const said = child.lines.map((line) => line.split(" ")).filter(([, of]) => of === queue)
  const ends = said.filter(([word]) => word === "end")
  return said
    .filter(([word]) => word === "start")
    .map(([, , n, attempt, at]) => {
      const end = ends.find(([, , ended, when]) => ended === n && Number(when) >= Number(at))
      return {
        n: Number(n),
        attempt: Number(attempt),
        start: Number(at),
        end: Number(end?.[3] ?? killed ?? Number.POSITIVE_INFINITY),
        whole: end !== undefined
      }
    })
}

/** How many ran at the same time at most, of those that began at this time or later. */
const mostAtOnce = (runs: ReadonlyArray<Run>, from: number): number =>
  Math.max(
    0,
    ...runs
      .filter(({ start }) => start >= from)
      .map(({ start }) => runs.filter((run) => run.start <= start && run.end > start).length)
  )

const narrows = 120
const slows = 50
const groups = 2
/** A start is dated when it is granted; what follows until the handler says so takes less than this. */
const late = 800

describe("limits of workers in four processes", () => {
  for (const [over, script, making] of stores)
    it.live(`hold over ${over}, lose no message, and pass on what killed processes held`, () =>
      Effect.gen(function* () {
        const { layer, options } = yield* making
        const all: Array<Process> = []
        const launch = Effect.map(
          startProcess("node", `test/contract/children/${script}`, [JSON.stringify(options)]),
          (child): Process => {
            const one: Process = { child, killed: undefined }
            all.push(one)
            return one
          }
        )
        const kill = Effect.fnUntraced(function* (victim: Process) {
          // In the middle of a handler: it has a permit.
          const begun = victim.child.lines.filter((line) => line.startsWith("start narrow ")).length
          yield* victim.child.count("start narrow ", begun + 1)
          yield* victim.child.kill("SIGKILL")
          victim.killed = microseconds()
          yield* victim.child.exit
        })
        yield* Effect.gen(function* () {
          const running = yield* Effect.all([launch, launch, launch, launch])
          yield* Effect.forEach(running, ({ child }) => child.line("ready"), { discard: true })
          yield* Narrow.enqueueAll(Array.from({ length: narrows }, (_, n) => n))
          yield* Slow.enqueueAll(
            Array.from({ length: slows }, (_, n) => (n % 5 === 0 ? { n, group: `g${(n / 5) % groups}` } : { n }))
          )
          yield* kill(running[0]!)
          yield* kill(running[1]!)
          yield* launch
          yield* Effect.timeout(Effect.all([Narrow.awaitIdle, Slow.awaitIdle], { concurrency: 2 }), "90 seconds")
          assert.strictEqual((yield* Narrow.deadLetters.count) + (yield* Slow.deadLetters.count), 0)
        }).pipe(Effect.provide(layer))

        const narrow = all.flatMap((one) => runsOf(one, "narrow"))
        const slow = all.flatMap((one) => runsOf(one, "slow"))
        const cut = narrow.filter(({ whole }) => !whole).length
        assert.isAtLeast(cut, 1, "a process was killed while it held a permit")
        for (const [runs, n] of [[narrow, narrows] as const, [slow, slows] as const]) {
          const whole = runs.filter((run) => run.whole)
          assert.strictEqual(new Set(whole.map((run) => run.n)).size, n, "every message was handled")
          // Ended, and its process was killed before the settle went through.
          assert.isAtMost(whole.length - n, 2 * 4, "no message was handled twice without a kill")
          assert.isAtMost(Math.max(...runs.map(({ attempt }) => attempt)), 3, "what is handed back spends no attempt")
        }

        assert.strictEqual(mostAtOnce(narrow, 0), maxConcurrency, "all that may run, and no more")
        const freed = Math.max(...all.map(({ killed = 0 }) => killed)) + lease * 1_000
        assert.strictEqual(mostAtOnce(narrow, freed), maxConcurrency, "the permits of the killed are used again")

        const dated = (runs: ReadonlyArray<Run>) => runs.map(({ start }) => ({ at: start / 1_000, cost: 1 }))
        const shorter = ({ limit, window }: typeof rateLimit) => ({ limit, window: window - late })
        assert.isUndefined(overfullWindow(dated(slow), shorter(rateLimit)))
        for (let g = 0; g < groups; g++) {
          const line = slow.filter(({ n }) => n % 5 === 0 && (n / 5) % groups === g)
          assert.isUndefined(overfullWindow(dated(line), shorter(groupRateLimit)), `group ${g}`)
        }
        const took = Math.max(...slow.map(({ start }) => start)) - Math.min(...slow.map(({ start }) => start))
        assert.isAtLeast(took / 1_000, (slows / rateLimit.limit - 1) * rateLimit.window - late)
        console.log(
          `${over}: ${narrow.length} handlers of ${narrows} messages, ${maxConcurrency} at once, ${cut} cut off; ` +
            `${slow.length} of ${slows} in ${(took / 1e6).toFixed(1)} s at ${rateLimit.limit} per ${rateLimit.window} ms`
        )
      })
    )
})
