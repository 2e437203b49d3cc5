import * as path from "node:path"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"
import { measuredPace } from "./scripts/measuredPace.ts"

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
    // One bound for all: it ends what hangs, and is no measure of speed.
    testTimeout: 180_000 * pace,
    hookTimeout: 120_000 * pace,
    reporters: ["default"]
  }
})
