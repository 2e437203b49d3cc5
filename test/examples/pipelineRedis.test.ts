/** The pipeline with `REDIS_URI` set: the same program, three processes at once on one server, one of them killed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readTotals } from "../../examples/pipeline/model.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { startRedis } from "../servers/index.ts"
import { startProcess } from "../support/processes.ts"
import { bytes as allBytes, files, makeTree } from "./pipelineTree.ts"

describe("the pipeline over Redis", () => {
  it.live("counts every file once, though three processes do it and one of them is killed", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--appendfsync", "always"] })
      const root = yield* makeTree
      const start = startProcess("node", "examples/pipeline/main.ts", [root, "--once"], {
        env: { REDIS_URI: server.url }
      })
      const [victim, ...others] = yield* Effect.all([start, start, start])
      const totals = readTotals(root).pipe(Effect.provide(Redis.layer({ url: server.url, namespace: "pipeline" })))
      yield* Effect.sleep("20 millis").pipe(
        Effect.andThen(totals),
        Effect.repeat({ until: ({ files: counted }) => counted.in > 20n }),
        Effect.timeout("20 seconds")
      )
      yield* victim!.kill("SIGKILL")
      // What it had claimed comes back when its leases end, and one that waits for it is not done before.
      for (const other of others) assert.strictEqual(yield* other.exit, 0, other.errors())
      const { bytes, files: counted } = yield* totals
      assert.deepStrictEqual([counted.in, counted.out], [BigInt(files), 0n])
      assert.strictEqual(bytes.in, BigInt(allBytes))
    })
  )
})
