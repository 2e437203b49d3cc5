/** The pipeline with `REDIS_URI` set: the same program, three processes at once on one server, one of them killed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { readTotals } from "../../examples/pipeline/model.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { startRedis } from "../servers/index.ts"
import { startProcess, temporaryFolder } from "../support/processes.ts"

const files = 600

const makeTree = Effect.map(temporaryFolder, (folder) => {
  const root = path.join(fs.realpathSync(folder), "tree")
  for (let i = 0; i < files; i++) {
    const name = path.join(root, `d${i % 20}`, `f${i}.md`)
    fs.mkdirSync(path.dirname(name), { recursive: true })
    fs.writeFileSync(name, `file ${i}\n`.repeat(i % 7))
  }
  return root
})

describe("the pipeline over Redis", () => {
  it.live(
    "counts every file once, though three processes do it and one of them is killed",
    () =>
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
        const expected = Array.from({ length: files }, (_, i) => `file ${i}\n`.length * (i % 7)).reduce((a, b) => a + b)
        assert.strictEqual(bytes.in, BigInt(expected))
      }),
    90_000
  )
})
