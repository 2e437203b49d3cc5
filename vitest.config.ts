import * as path from "node:path"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

// Workers and the many processes that tests start load the same modules: compiled once, they start in half the CPU time.
process.env["NODE_COMPILE_CACHE"] ??= path.resolve(import.meta.dirname, ".seams/compile-cache")

/** Suites over the clock of a server, which mostly wait. */
const waits =
  /contract\/(cron(\.|Postgres|Processes|Redis)|kvPatterns|queue(Attempts|Limits|OverKv|Poison|Postgres|Rabbitmq|Redis))/

/** Each that waits beside one that works, from the beginning to the end: all of one kind at once leave the machine idle, or take it whole. */
class Mixed extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const inOrder = files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1))
    const waiting = inOrder.filter(({ moduleId }) => waits.test(moduleId))
    const working = inOrder.filter(({ moduleId }) => !waits.test(moduleId))
    const every = Math.max(1, Math.floor(working.length / Math.max(1, waiting.length)))
    return [
      ...waiting.flatMap((file, i) => [file, ...working.slice(i * every, (i + 1) * every)]),
      ...working.slice(waiting.length * every)
    ]
  }
}

/** Milliseconds that the loop below takes on the machine for which times are written. */
const usual = 50

/** How many times slower this machine is: tests of a live clock wait longer by that, and fewer run at once. In halves, from 1 to 4. */
const measuredPace = (): number => {
  let fastest = Number.POSITIVE_INFINITY
  let sum = 0
  for (let round = 0; round < 3; round++) {
    const begun = performance.now()
    for (let i = 0; i < 2e7; i++) sum = (sum + i * 7) | 0
    fastest = Math.min(fastest, performance.now() - begun)
  }
  // The sum is used, or there would be no loop.
  return Math.min(4, Math.max(1, Math.round((2 * fastest) / usual) / 2), Number.isInteger(sum) ? 4 : 1)
}
const pace = Number((process.env["SEAMS_PACE"] ??= String(measuredPace())))

const soak = process.env["SEAMS_SOAK"] === "1"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // What takes long, and differs from what runs anyway in one layer only.
    exclude: soak ? [] : ["test/soak/**"],
    globalSetup: ["test/servers/global.ts"],
    // Set by scripts/runtimes.ts.
    setupFiles: process.env["SEAMS_RUNTIME"] === undefined ? [] : ["test/runtimes/setup.ts"],
    // Bun's channel to a forked process lacks what vitest asks of it.
    pool: process.versions["bun"] === undefined ? "forks" : "threads",
    sequence: { sequencer: Mixed },
    // More than the two cores that are meant: most tests wait, for servers and for leases.
    maxWorkers: pace > 1 ? 3 : 4,
    // Of the suites over servers, whose cases wait for the server's clock and have queues of their own.
    maxConcurrency: pace > 1 ? 3 : 5,
    testTimeout: 30_000 * pace,
    hookTimeout: 120_000,
    reporters: ["default"]
  }
})
