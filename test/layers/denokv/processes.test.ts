import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { runtimes } from "../../support/processes.ts"
import { counterNames, final } from "./children/shared.ts"
import { serviceAt, startServer, startWork, temporaryFile } from "./support.ts"

const rounds = 100

const valueOf = (entry: Option.Option<Kv.Entry> | undefined): unknown =>
  entry !== undefined && Option.isSome(entry) ? entry.value.value : undefined

describe("Node, Deno and Bun on one file", () => {
  it.live("count exactly by compare and set, and by sum", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const kv = yield* serviceAt({ path })
      const children = yield* Effect.forEach(runtimes, (runtime) => startWork(runtime, "increment", path, rounds))
      for (const child of children) yield* child.exit
      for (const child of children) assert.deepStrictEqual(child.lines, ["ready", "done"], child.errors())
      const found = yield* kv.getMany([["n"], ["count"]])
      assert.deepStrictEqual(found.map(valueOf), [runtimes.length * rounds, BigInt(runtimes.length * rounds)])
    })
  )

  it.live("are told by their watches of the final state that another process wrote", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const kv = yield* serviceAt({ path })
      yield* kv.set(["w", "gone"], 1)
      const children = yield* Effect.forEach(runtimes, (runtime) => startWork(runtime, "watch", path))
      for (const child of children) yield* child.line("synced")
      const state = new Map<string, unknown>([["end", true]])
      for (let i = 0; i < 200; i++) {
        const name = `key ${i % 7}`
        yield* i % 5 === 0 ? kv.delete(["w", name]) : kv.set(["w", name], i)
        if (i % 5 === 0) state.delete(name)
        else state.set(name, i)
      }
      yield* kv.delete(["w", "gone"])
      yield* kv.set(["w", "end"], true)
      for (const child of children) assert.strictEqual(yield* child.line("state "), final(state))
    })
  )

  it.live("read each other's values, counters and expiries", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      const kv = yield* serviceAt({ path })
      for (const [i, runtime] of runtimes.entries()) {
        const child = yield* startWork(runtime, "write", path, i)
        yield* child.exit
        assert.deepStrictEqual(child.lines, ["done"], child.errors())
        const names = ["json", "bytes", "large", "counter", "timed"]
        const found = yield* kv.getMany(names.map((name) => ["from", String(i), name] as const))
        const [json, bytes, large, counter, timed] = found
        assert.deepStrictEqual(valueOf(json), { text: "\u00e4\u{1f600}", list: [1, null, true] })
        assert.deepStrictEqual(Array.from(valueOf(bytes) as Uint8Array), [0, 255, 7])
        const content = valueOf(large) as Uint8Array
        assert.isTrue(content.length === 65_536 && content.every((byte) => byte === 3), runtime)
        assert.strictEqual(valueOf(counter), 2n ** 62n)
        assert.isTrue(Option.isSome(timed!) && Option.isSome(timed.value.expiresAt))
      }
    })
  )

  it.live("leave no half of a large commit when they are killed in the middle of it", () =>
    Effect.gen(function* () {
      const path = yield* temporaryFile
      let acknowledged = 0
      for (let round = 0; round < 8; round++) {
        const runtime = runtimes[round % 2]!
        const child = yield* startWork(runtime, "grow", path)
        yield* child.count("did ", 1 + (round % 3))
        // Somewhere between two commits, or in one of them.
        yield* Effect.sleep(7 * round)
        yield* child.kill("SIGKILL")
        yield* child.exit
        acknowledged += child.lines.filter((line) => line.startsWith("did ")).length
      }
      const kv = yield* serviceAt({ path })
      const counters = yield* kv.getMany(counterNames.map((name) => ["grown", name] as const))
      const values = new Set(counters.map(valueOf))
      assert.strictEqual(values.size, 1, `the counters differ: ${Array.from(values).join(", ")}`)
      const [value] = Array.from(values) as [bigint]
      assert.isAtLeast(Number(value), acknowledged)
      // At most the one commit of each process that nobody heard of.
      assert.isAtMost(Number(value), acknowledged + 8)
      const large = yield* kv.getMany(Array.from({ length: 12 }, (_, n) => ["grown", "large", n] as const))
      const fills = new Set(large.map((entry) => (valueOf(entry) as Uint8Array)[65_535]))
      assert.strictEqual(fills.size, 1)
      yield* Effect.provideService(Kv.sum(["grown", counterNames[0]!], 1n), Kv.Kv, kv)
    })
  )
})

describe("a process", () => {
  for (const runtime of runtimes) {
    it.live(
      `of ${runtime} ends by itself after its layer: on a file, in memory, at a server, and after an open that failed`,
      () =>
        Effect.gen(function* () {
          const path = yield* temporaryFile
          const server = yield* startServer
          for (const at of [path, ":memory:", server.url]) {
            const child = yield* startWork(runtime, "leave", at)
            const status = yield* Effect.timeout(child.exit, "30 seconds")
            assert.deepStrictEqual([status, child.lines], [0, ["leaving"]], child.errors())
          }
          for (const [at, reason] of [
            [`${path}/nowhere/x.db`, "OpenFailed"],
            ["http://127.0.0.1:9/", "Unreachable"],
            [`${server.url}/elsewhere`, "WrongServer"]
          ] as const) {
            const child = yield* startWork(runtime, "leave", at)
            const status = yield* Effect.timeout(child.exit, "30 seconds")
            assert.strictEqual(status, 0)
            assert.match(child.lines.join("\n"), new RegExp(`^failed ${reason} `), child.errors())
          }
        })
    )
  }
})
