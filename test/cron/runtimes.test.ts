import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { runtimes, startProcess } from "../support/processes.ts"

describe("Node, Deno and Bun", () => {
  it.live("agree about every instant around clock changes", () =>
    Effect.gen(function* () {
      const printed: Array<ReadonlyArray<string>> = []
      for (const runtime of runtimes) {
        const child = yield* startProcess(runtime, "test/cron/children/instants.ts", [])
        assert.strictEqual(yield* child.exit, 0, child.errors())
        printed.push(child.lines)
      }
      assert.strictEqual(printed[0]!.length, 9)
      for (const lines of printed.slice(1)) assert.deepStrictEqual(lines, printed[0])
    })
  )
})
