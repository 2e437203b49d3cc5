/** The distributed cron program as its user meets it: started three times, one of them killed in the middle of a run. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Child, startProcess, temporaryFile } from "../support/processes.ts"

const names = ["alice", "bob", "carol"] as const

const says = (children: ReadonlyArray<Child>, text: RegExp): number =>
  children.findIndex((child) => child.lines.some((line) => text.test(line)))

/** Waits until one of them says it; answers which. */
const until = (children: ReadonlyArray<Child>, text: RegExp) =>
  Effect.gen(function* () {
    while (says(children, text) < 0) {
      for (const child of children) if (child.over()) return assert.fail(`ended too early: ${child.errors()}`)
      yield* Effect.sleep("20 millis")
    }
    return says(children, text)
  })

describe("the cron example, started three times", () => {
  it.live("shares the slots, and takes over the run of a process that is killed", () =>
    Effect.gen(function* () {
      const data = yield* temporaryFile
      const children = yield* Effect.forEach(names, (name) =>
        startProcess("node", "examples/cron/main.ts", ["--name", name, "--data", data])
      )
      const victim = yield* until(children, /clean-up .* started/)
      const slot = /clean-up (\S+) started/.exec(
        children[victim]!.lines.find((line) => line.includes("clean-up"))!
      )![1]!
      yield* children[victim]!.kill("SIGKILL")
      const others = children.filter((_, i) => i !== victim)
      yield* until(others, new RegExp(`clean-up taken over from ${names[victim]}-`))
      yield* until(others, new RegExp(`clean-up ${slot} started, attempt 2`))
      yield* until(others, new RegExp(`clean-up ${slot} (?:succeeded|failed)`))
      for (const child of others) yield* child.kill("SIGINT")
      for (const child of others) assert.strictEqual(yield* child.exit, 0, child.errors())
      const slots = children.flatMap((child) => child.lines.filter((line) => /hello \S+ started$/.test(line)))
      assert.strictEqual(new Set(slots.map((line) => line.slice(line.indexOf("hello")))).size, slots.length)
    })
  )

  it.live("says how it is used when it does not understand", () =>
    Effect.gen(function* () {
      const child = yield* startProcess("node", "examples/cron/main.ts", ["--nonsense"])
      assert.strictEqual(yield* child.exit, 2)
      assert.match(child.errors(), /--nonsense[^]*--name <who>/)
    })
  )
})
