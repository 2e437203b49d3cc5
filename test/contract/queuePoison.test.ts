import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { Jobs, poison } from "./queuePoison.child.ts"

const script = fileURLToPath(new URL("./queuePoison.child.ts", import.meta.url))

interface Run {
  readonly n: number
  readonly attempt: number
  readonly deliveryCount: number
}

/** One worker process, to its end. */
const runProcess = (filename: string, concurrency: number) =>
  Effect.callback<{ readonly end: string; readonly runs: ReadonlyArray<Run> }>((resume) => {
    const child = spawn(process.execPath, [script, filename, String(concurrency)], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    let text = ""
    child.stdout.on("data", (data: Buffer) => (text += data.toString()))
    child.on("close", (code, signal) => {
      const runs = text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => line.split(" ").map(Number))
        .map(([n = -1, attempt = -1, deliveryCount = -1]) => ({ n, attempt, deliveryCount }))
      resume(Effect.succeed({ end: signal ?? String(code), runs }))
    })
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const play = Effect.fnUntraced(function* (concurrency: number) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-poison-"))),
    (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
  )
  const filename = path.join(folder, "data.sqlite")
  yield* Effect.provide(Jobs.enqueueAll(Array.from({ length: 201 }, (_, n) => n)), Sqlite.layerQueue({ filename }))
  const ends: Array<string> = []
  const runs: Array<Run> = []
  while (ends.at(-1) !== "0" && ends.length < 10) {
    const one = yield* runProcess(filename, concurrency)
    ends.push(one.end)
    runs.push(...one.runs)
  }
  const { letters, stats } = yield* Effect.all({
    letters: Stream.runCollect(Jobs.deadLetters.list()),
    stats: Jobs.stats
  }).pipe(Effect.provide(Sqlite.layerQueue({ filename })))
  return { ends, runs, letters, stats }
})

describe("a message that kills its process, among 200 prefetched, with real processes and SIGKILL", () => {
  it.live.each([1, 4])(
    "concurrency %i: it is the only dead letter, and the attempts of its neighbours are not spent",
    (concurrency) =>
      Effect.gen(function* () {
        const { ends, letters, runs, stats } = yield* play(concurrency)
        assert.deepStrictEqual(ends, ["SIGKILL", "SIGKILL", "SIGKILL", "SIGKILL", "0"])
        assert.deepStrictEqual(
          letters.map(({ text }) => text),
          [String(poison)]
        )
        assert.deepStrictEqual([stats.ready, stats.delayed, stats.claimed, stats.dead], [0, 0, 0, 1])
        assert.deepStrictEqual(
          runs.filter(({ n }) => n === poison).map(({ attempt }) => attempt),
          [1, 2, 3, 4]
        )
        const neighbours = runs.filter(({ n }) => n !== poison)
        assert.strictEqual(new Set(neighbours.map(({ n }) => n)).size, 200, "none is lost")
        // Those whose handlers had started and were not settled at one of the first two kills: under way beside it, or just
        // ended with the settle on its way. From the third attempt on it runs alone.
        const spent = new Set(neighbours.filter(({ attempt }) => attempt > 1).map(({ n }) => n))
        assert.isAtMost(spent.size, 2 * (2 * concurrency - 1))
        // A handler that had ended may run again when the kill came before its settle; more it must not be.
        assert.isAtMost(neighbours.length - 200, 4 * concurrency)
      })
  )
})
