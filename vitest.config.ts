import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/servers/global.ts"],
    // Set by scripts/runtimes.ts.
    setupFiles: process.env["SEAMS_RUNTIME"] === undefined ? [] : ["test/runtimes/setup.ts"],
    // Bun's channel to a forked process lacks what vitest asks of it.
    pool: process.versions["bun"] === undefined ? "forks" : "threads",
    // More than the two cores that are meant: most tests wait, for servers and for leases.
    maxWorkers: 3,
    // Of the suites over servers, whose cases wait for the server's clock and have queues of their own.
    maxConcurrency: 3,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    reporters: ["default"]
  }
})
