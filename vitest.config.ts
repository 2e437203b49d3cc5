import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/servers/global.ts"],
    pool: "forks",
    // More than the two cores that are meant: most tests wait, for servers and for leases.
    maxWorkers: 3,
    // Of the suites over servers, whose cases wait for the server's clock and have queues of their own.
    maxConcurrency: 3,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    reporters: ["default"]
  }
})
