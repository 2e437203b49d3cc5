/**
 * The pipeline with `RABBITMQ_URI` set: its messages go through a broker, its data stay in a file or in Redis. So nothing commits both, and
 * each message may come twice; it is counted once all the same.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import * as path from "node:path"
import { readTotals } from "../../examples/pipeline/model.ts"
import type * as Kv from "../../src/Kv.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { serverUrl, startRedis } from "../servers/index.ts"
import { startProcess } from "../support/processes.ts"
import { bytes as allBytes, files, makeTree } from "./pipelineTree.ts"

/** Three processes at once, one of them killed when it has begun. Each test has a folder of its own, which the messages name. */
const countTogether = (
  root: string,
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>>,
  store: Layer.Layer<Kv.Kv, unknown>
) =>
  Effect.gen(function* () {
    const start = startProcess("node", "examples/pipeline/main.ts", [root, "--once", ...args], {
      env: { RABBITMQ_URI: yield* serverUrl("rabbitmq"), ...env }
    })
    const [victim, ...others] = yield* Effect.all([start, start, start])
    const totals = Effect.provide(readTotals(root), store)
    yield* Effect.sleep("20 millis").pipe(
      Effect.andThen(totals),
      Effect.repeat({ until: ({ files: counted }) => counted.in > 20n }),
      Effect.timeout("30 seconds")
    )
    yield* victim!.kill("SIGKILL")
    assert.strictEqual(yield* victim!.exit, "SIGKILL", "it was killed half-way")
    for (const other of others) assert.strictEqual(yield* other.exit, 0, other.errors())
    const { bytes, files: counted } = yield* totals
    assert.deepStrictEqual([counted.in, counted.out], [BigInt(files), 0n])
    assert.strictEqual(bytes.in, BigInt(allBytes))
  })

describe("the pipeline with its queue on RabbitMQ", () => {
  it.live(
    "and its data in a SQLite file counts every file once, though three processes do it and one of them is killed",
    () =>
      Effect.gen(function* () {
        const root = yield* makeTree
        const data = path.join(path.dirname(root), "pipeline.db")
        yield* countTogether(root, ["--data", data], {}, Sqlite.layerKv({ filename: data }))
      })
  )

  it.live("and its data in Redis counts every file once, though three processes do it and one of them is killed", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--appendfsync", "always"] })
      const root = yield* makeTree
      yield* countTogether(
        root,
        [],
        { REDIS_URI: server.url },
        Redis.layerKv({ url: server.url, namespace: "pipeline" })
      )
    })
  )
})
