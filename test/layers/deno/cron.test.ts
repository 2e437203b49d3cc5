import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { startProcess } from "../../support/processes.ts"

const deno = (script: string, flags: ReadonlyArray<string> = ["--unstable-cron"]) =>
  startProcess("deno", `test/layers/deno/children/${script}.ts`, [], { flags })

describe("a scheduler woken by Deno.cron, in Deno itself", () => {
  it.live(
    "runs a slot at its minute, on the weekday that the number means, retries by itself, and lets the process end",
    () =>
      Effect.gen(function* () {
        const child = yield* deno("minute")
        assert.strictEqual(yield* child.exit, 0, child.errors())
        assert.deepStrictEqual(child.lines, [
          "run my:job/today true schedule 1",
          "run my:job/today true schedule 2",
          "record Succeeded 2",
          "closed"
        ])
      })
  )

  it.live("tells what Deno refuses, and keeps nothing of it", () =>
    Effect.gen(function* () {
      const child = yield* deno("limits")
      assert.strictEqual(yield* child.exit, 0, child.errors())
      assert.match(yield* child.line("taken"), /^DuplicateJob/)
      assert.strictEqual(yield* child.line("stored"), "false")
      for (const line of ["freed", "replaced", "again"]) assert.strictEqual(yield* child.line(line), "ok")
      assert.match(yield* child.line("many"), /^Unsupported .*takes 101.*Cron\.layerKv/)
      assert.match(yield* child.line("berlin"), /^Unsupported .*Europe\/Berlin/)
      assert.match(yield* child.line("never"), /^InvalidExpression .*no date of any year/)
      assert.strictEqual(yield* child.line("jobs"), "101")
      assert.strictEqual(yield* child.line("trigger"), "Succeeded")
      assert.isTrue(child.lines.includes("closed"))
    })
  )

  it.live("is refused without --unstable-cron, naming the flag", () =>
    Effect.gen(function* () {
      const child = yield* deno("limits", [])
      assert.strictEqual(yield* child.exit, 0, child.errors())
      assert.match(yield* child.line("refused"), /--unstable-cron/)
    })
  )
})
