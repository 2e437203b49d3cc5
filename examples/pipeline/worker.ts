/**
 * The worker: one message, one version of one file, counted exactly once.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
// Installed, a program writes: import { Kv, Queue } from "effect-seams"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { commitCounted } from "./commit.ts"
import { count, Files, type FoundFile, Results } from "./model.ts"
import { Progress } from "./progress.ts"
import { statisticsOf } from "./statistics.ts"

/**
 * A Layer: files are counted while it is provided. Closing it lets the files at work finish, and hands the others back.
 */
export const fileWorker = (options: { readonly concurrency: number }) =>
  Layer.unwrap(
    // Where a lost claim counts though nothing was done with the message, none is claimed ahead.
    Effect.map(Queue.Queue, ({ capabilities }) =>
      workerOf(options.concurrency, capabilities.startMarks ? options.concurrency : 0)
    )
  )

const workerOf = (concurrency: number, prefetch: number) =>
  Files.worker(
    Effect.fn("count file")(
      function* (file, delivery) {
        yield* Effect.annotateCurrentSpan({ path: file.path })
        const outcome = yield* countFile(file, delivery)
        yield* Effect.annotateCurrentSpan({ outcome })
        const progress = yield* Progress
        if (outcome !== "superseded") progress.counted++
      },
      // A store that is busy is not the file's fault: the message comes again, and that does not count as an attempt.
      Effect.catchIf(
        (error) => error._tag === "Conflict" || (error._tag === "KvError" && error.isRetryable),
        (error) => Effect.andThen(Effect.logWarning(error.message), Queue.snooze("1 second"))
      )
    ),
    {
      concurrency,
      prefetch,
      timeout: "10 minutes",
      drain: "10 seconds",
      // What a killed process had claimed is handed out again after this long, so a restart has not long to wait for it.
      lease: "5 seconds"
    }
  )

/**
 * Result, totals and, with one store for all, ack are one commit. A process killed before it has counted nothing, and the message comes again; killed
 * after it, the message is gone. If the claim was lost meanwhile, the commit fails as a whole.
 */
const countFile = Effect.fnUntraced(function* (file: FoundFile, delivery: Queue.Delivery<FoundFile>) {
  const { path, root, scan, version } = file
  // Read once, however often the commit is tried.
  const read = yield* Effect.cached(statisticsOf(`${root}/${path}`))
  return yield* Kv.transact(
    Effect.gen(function* () {
      const old = yield* Results.get([root, path])
      // A later scan found a later version, and that is counted: this one cannot be read any more. Its success acks it.
      if (Option.isSome(old) && old.value.value.scan >= scan) return "superseded" as const
      const statistics = yield* read
      yield* commitCounted(
        [
          Kv.check(Results.at([root, path]), old),
          Results.set([root, path], { scan, version, statistics }),
          ...count(root, "in", statistics),
          ...(Option.isSome(old) ? count(root, "out", old.value.value.statistics) : [])
        ],
        delivery
      )
      return Option.isSome(old) ? ("changed" as const) : ("new" as const)
    })
  )
})
