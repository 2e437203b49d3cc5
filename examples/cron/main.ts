/**
 * Jobs shared by any number of processes. Start it in three terminals and watch which process gets which slot; then kill one with
 * `kill -9` in the middle of its work, or stop it with Ctrl-Z, and see another take over.
 *
 *   npm run cron                    in each terminal
 *   npm run cron -- --name bob      with a name of your own
 *
 * All of them share the file `.seams/cron.db` in the working directory (`--data` names another).
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import * as path from "node:path"
import { parseArgs } from "node:util"
// Installed, a program writes: import * as Backend from "effect-seams/layers/sqlite"
import * as Backend from "../../src/layers/sqlite/index.ts"
import * as Cron from "../../src/Cron.ts"
import { cleanUp, hello, report, ReportWorker } from "./jobs.ts"
import { lineOf } from "./lines.ts"

const usage = "node examples/cron/main.ts [--name <who>] [--data <file>]"

/** Shows what this process does, and what it sees of the others. */
const watch = (name: string) =>
  Effect.gen(function* () {
    const scheduler = yield* Cron.Scheduler
    yield* Effect.forkScoped(
      Stream.runForEach(scheduler.events, (event) =>
        Effect.sync(() => {
          const line = lineOf(event)
          if (line !== undefined) console.log(`${name}  ${line}`)
        })
      ),
      { startImmediately: true }
    )
    const now = yield* Clock.currentTimeMillis
    console.log(`${name}  up at ${new Date(now).toISOString()}; Ctrl-C ends it, kill -9 ${process.pid} kills it`)
    console.log(`${name}  start more of it in other terminals: npm run cron`)
  })

const program = (name: string, data: string) => {
  const jobs = Layer.mergeAll(hello.layer, cleanUp.layer, report.layer, ReportWorker(name))
  return Layer.launch(
    jobs.pipe(
      Layer.provideMerge(Layer.effectDiscard(watch(name))),
      // Kv and queue are one file, so the report's message is committed together with its slot.
      Layer.provide(Cron.layerKvWith({ lease: "5 seconds", runner: `${name}-${process.pid}` })),
      Layer.provide(Backend.layer({ filename: data }))
    )
  )
}

const main = (): void => {
  const { values } = parseArgs({ options: { name: { type: "string" }, data: { type: "string" } } })
  const data = path.resolve(values.data ?? path.join(".seams", "cron.db"))
  if (values.data === undefined) fs.mkdirSync(path.dirname(data), { recursive: true })
  NodeRuntime.runMain(program(values.name ?? `process-${process.pid}`, data), {
    // Being stopped is how it ends well.
    teardown: (exit, onExit) =>
      Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)
  })
}

try {
  main()
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
  process.exitCode = 2
}
