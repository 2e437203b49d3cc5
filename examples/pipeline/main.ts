/**
 * A pipeline over the three seams: a cron job looks for new and changed files, a queue carries one message for each, workers
 * count them, and a key-value store keeps the results, the totals and the place of the scan.
 *
 *   npm start -- [folder] [--once] [--requeue] [--data file]
 *
 * Kill it whenever you like: every version of every file is counted exactly once (see `worker.ts`).
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { backend, place } from "./backend.ts"
import { awaitCounted } from "./commit.ts"
import { Files } from "./model.ts"
import { type Options, parseOptions, Unusable, usage } from "./options.ts"
import { Progress } from "./progress.ts"
import { scanJob } from "./scan.ts"
import { Screen } from "./screen.ts"
import { traceTo } from "./trace.ts"
import { liveView, report } from "./view.ts"
import type { Folder } from "./walk.ts"
import { fileWorker } from "./worker.ts"

const packageRoot = fileURLToPath(new URL("../..", import.meta.url))

const openFolder = Effect.fn("openFolder")(function* (given: string | undefined, data: string) {
  const fs = yield* FileSystem.FileSystem
  const folder = path.resolve(given ?? packageRoot)
  const info = yield* Effect.option(fs.stat(folder))
  if (Option.isNone(info)) return yield* new Unusable({ detail: `There is no folder ${folder}` })
  if (info.value.type !== "Directory")
    return yield* new Unusable({ detail: `${folder} is not a folder. Give the folder it is in.` })
  const own = given === undefined
  return {
    root: yield* fs.realPath(folder),
    skip: new Set([".git", ".seams", ...(own ? ["node_modules", "dist"] : [])]),
    only: own ? /\.(?:md|ts|json|sh|ya?ml)$/ : undefined,
    data
  } satisfies Folder
})

/** The folder of the default is ours to make; that of another path is not. */
const openData = Effect.fn("openData")(function* (given: string | undefined) {
  const fs = yield* FileSystem.FileSystem
  const data = path.resolve(given ?? path.join(".seams", "pipeline.db"))
  const folder = path.dirname(data)
  if (given === undefined) yield* fs.makeDirectory(folder, { recursive: true })
  return path.join(yield* Effect.orElseSucceed(fs.realPath(folder), () => folder), path.basename(data))
})

/** Puts the dead letters of this folder back into the queue. */
const requeue = Effect.fn("requeue")(function* (root: string) {
  const ids = yield* Files.deadLetters.list().pipe(
    Stream.filter(({ payload }) => Option.isSome(payload) && payload.value.root === root),
    Stream.map(({ id }) => id),
    Stream.runCollect
  )
  const moved = ids.length === 0 ? 0 : yield* Files.deadLetters.requeue(ids)
  const { print } = yield* Screen
  yield* print(`${moved} file(s) that could not be read are tried again`)
})

const run = Effect.fn("pipeline")(function* (options: Options, folder: Folder) {
  if (options.requeue) yield* requeue(folder.root)
  const scan = scanJob(folder, { enabled: !options.once })
  const work = options.once
    ? Effect.andThen(
        // The same job, by hand. A scan that only resumed an earlier one is followed by a whole one.
        scan.trigger.pipe(
          Effect.repeat({ schedule: Schedule.spaced("100 millis"), while: ({ complete }) => !complete })
        ),
        awaitCounted(folder.root)
      )
    : Effect.never
  const layers = Layer.mergeAll(
    scan.layer,
    fileWorker({ concurrency: options.concurrency }),
    liveView(`Counting ${folder.root}${options.once ? "" : " (Ctrl-C ends it)"}`)
  )
  yield* Effect.provide(work, layers)
})

const program = (options: Options) =>
  Effect.gen(function* () {
    const data = yield* openData(options.data)
    const folder = yield* openFolder(options.folder, data)
    yield* run(options, folder).pipe(
      // Also after Ctrl-C, when the workers have drained.
      Effect.ensuring(
        Effect.ignore(
          Effect.flatMap(place, (kept) => report(folder.root, kept)),
          { log: "Warn" }
        )
      ),
      Effect.provide(Layer.mergeAll(backend(data), Progress.layer))
    )
  }).pipe(
    Effect.provide(
      Layer.provideMerge(
        options.trace === undefined ? Layer.empty : traceTo(options.trace),
        Layer.merge(Screen.layer, NodeFileSystem.layer)
      )
    ),
    Effect.tapCause((cause) =>
      Effect.sync(() => {
        if (Cause.hasInterruptsOnly(cause)) return
        const error = Cause.findErrorOption(cause)
        // What was expected is told in its own words; a defect with all there is.
        console.error(Option.isSome(error) ? error.value.message : Cause.pretty(cause))
      })
    )
  )

const options = parseOptions(process.argv.slice(2))
if (Result.isFailure(options)) {
  console.error(`${options.failure}\n\n${usage}`)
  process.exitCode = 2
} else if (options.success.help) {
  console.log(usage)
} else {
  const { once } = options.success
  // A reader that has seen enough (`npm start | head`) ends the view, not the work.
  process.stdout.on("error", () => undefined)
  NodeRuntime.runMain(program(options.success), {
    disableErrorReporting: true,
    teardown: (exit, onExit) =>
      // Without --once, being stopped is how it ends well.
      !once && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
        ? onExit(0)
        : Runtime.defaultTeardown(exit, onExit)
  })
}
