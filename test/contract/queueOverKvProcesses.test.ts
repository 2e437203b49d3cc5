/** The guarantees about messages with real processes: four workers over one SQLite file, killed with SIGKILL and replaced. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import * as Queue from "../../src/Queue.ts"
import { type Child, startProcess, temporaryFile } from "../support/processes.ts"
import { Proof, proofConcurrency } from "./queueOverKvChild.ts"

interface Worker {
  readonly child: Child
  killed: boolean
}

interface Run {
  readonly n: number
  readonly delivery: number
  readonly start: number
  /** `undefined`: it was killed. */
  readonly end: number | undefined
  readonly worker: Worker
}

const runsOf = (worker: Worker): ReadonlyArray<Run> => {
  const said = worker.child.lines.map((line) => line.split(" "))
  const ends = new Map(
    said.flatMap(([word, n, delivery, at]) => (word === "end" ? [[`${n} ${delivery}`, Number(at)]] : []))
  )
  return said.flatMap(([word, n, delivery, at]) =>
    word === "start"
      ? [{ n: Number(n), delivery: Number(delivery), start: Number(at), end: ends.get(`${n} ${delivery}`), worker }]
      : []
  )
}

const groups = 12
const kills = 8
/** Messages without a group have numbers from here on. */
const ungrouped = 1_000_000

describe("four processes with workers over one SQLite file, killed at random", () => {
  it.live("lose no message, repeat only what a killed one had begun, and keep every group in order", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const all: Array<Worker> = []
      const accepted = { grouped: 0, free: 0 }
      const killing = { done: false }
      const launch = Effect.map(
        startProcess("node", "test/contract/queueOverKvSqliteChild.ts", [filename]),
        (child): Worker => {
          const worker: Worker = { child, killed: false }
          all.push(worker)
          return worker
        }
      )

      yield* Effect.gen(function* () {
        const running = yield* Effect.all([launch, launch, launch, launch])
        yield* Effect.forEach(running, ({ child }) => child.line("ready"), { discard: true })
        const producing = yield* Effect.forkChild(
          Effect.gen(function* () {
            while (!killing.done) {
              const [line, free] = [accepted.grouped, ungrouped + accepted.free]
              yield* Proof.enqueueAll(
                Array.from({ length: 10 }, (_, i) => ({ n: line + i, group: `g${(line + i) % groups}` }))
              )
              accepted.grouped += 10
              yield* Proof.enqueueAll(Array.from({ length: 40 }, (_, i) => ({ n: free + i })))
              yield* Proof.enqueueAll(
                Array.from({ length: 10 }, (_, i) => ({ n: free + 40 + i })),
                { delay: 200, priority: 1 }
              )
              accepted.free += 50
              yield* Effect.sleep(100)
            }
          })
        )
        for (let i = 0; i < kills; i++) {
          const victim = running[i % running.length]!
          // In the middle of its work.
          yield* victim.child.count("end ", 20)
          yield* Effect.sleep(30 * i)
          victim.killed = true
          yield* victim.child.kill("SIGKILL")
          yield* victim.child.exit
          running[i % running.length] = yield* launch
        }
        killing.done = true
        yield* Effect.timeout(Fiber.join(producing), "30 seconds")
        yield* Effect.timeout(Proof.awaitIdle, "60 seconds")

        const stats = yield* Proof.stats
        assert.deepStrictEqual(
          [stats.ready, stats.delayed, stats.claimed, stats.dead],
          [0, 0, 0, 0],
          "nothing is left, and no attempt ran out"
        )
      }).pipe(Effect.provide(Layer.provide(Queue.layerKv(), Sqlite.layerKv({ filename, tracing: false }))))

      const runs = all.flatMap(runsOf).toSorted((a, b) => a.start - b.start)
      const byMessage = new Map<number, Array<Run>>()
      for (const run of runs) byMessage.set(run.n, [...(byMessage.get(run.n) ?? []), run])
      const total = accepted.grouped + accepted.free
      assert.strictEqual(byMessage.size, total, "every message was handled")
      let repeated = 0
      for (const [n, own] of byMessage) {
        for (const [i, run] of own.entries()) {
          if (i === 0) continue
          repeated++
          assert.isTrue(own[i - 1]!.worker.killed, `message ${n} was begun again though nobody was killed`)
          assert.isAbove(run.delivery, own[i - 1]!.delivery, `deliveries of message ${n} are counted`)
        }
        assert.isDefined(own.at(-1)!.end, `message ${n} came to an end`)
      }
      // Under way when the kill came, or ended with the settle on its way and the next ones begun.
      assert.isAtMost(repeated, kills * 4 * proofConcurrency)
      for (let g = 0; g < groups; g++) {
        const line = runs.filter(({ n }) => n < ungrouped && n % groups === g)
        const order = line.map(({ n }) => n)
        assert.deepStrictEqual(
          order,
          order.toSorted((a, b) => a - b),
          `group ${g} is in order`
        )
        for (const [i, { start }] of line.entries())
          if (i > 0) assert.isAbove(start, line[i - 1]!.end ?? 0, `group ${g} is handled one at a time`)
      }
      console.log(
        `accepted ${total}, handled ${byMessage.size}, lost 0, begun again after ${kills} kills: ${repeated}; ` +
          `per process ${all.map((worker) => runsOf(worker).length).join(", ")}`
      )
    })
  )
})
