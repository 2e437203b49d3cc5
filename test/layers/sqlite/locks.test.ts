/**
 * SQLite keeps processes apart by POSIX locks, and those of a process end when it closes any descriptor of the file, whoever opened that. A
 * process that lost its locks unnoticed may write beside another one: the file is damaged, or commits are lost.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { runtimes, startProcess, temporaryFile } from "../../support/processes.ts"

/** How many POSIX locks a process holds on a file, by the kernel's own list. */
const locksOf = (pid: number, file: string): number => {
  const { ino } = fs.statSync(file)
  return fs
    .readFileSync("/proc/locks", "utf8")
    .split("\n")
    .filter((line) => {
      const [, , , , owner, place] = line.split(/\s+/)
      return Number(owner) === pid && place?.split(":")[2] === String(ino)
    }).length
}

/** Those that last: a read has one more while it lasts. */
const lastingLocksOf = (pid: number, files: ReadonlyArray<string>) =>
  Effect.map(
    Effect.forEach(Array.from({ length: 10 }), () =>
      Effect.as(
        Effect.sleep("10 millis"),
        files.map((file) => locksOf(pid, file))
      )
    ),
    (looks) => files.map((_, i) => Math.min(...looks.map((look) => look[i]!)))
  )

describe.runIf(process.platform === "linux")(
  "a process that watches keeps its locks while others open, write and close",
  () => {
    for (const runtime of runtimes)
      it.live(runtime, () =>
        Effect.gen(function* () {
          const filename = yield* temporaryFile
          const child = yield* startProcess(runtime, "test/layers/sqlite/children/watching.ts", [filename])
          yield* child.line("watching")
          const files = [filename, `${filename}-shm`]
          const before = yield* lastingLocksOf(child.pid, files)
          for (const n of before) assert.isAtLeast(n, 1, "an open file is locked against the end of its log")
          for (let i = 0; i < 5; i++)
            yield* Kv.Kv.use((kv) => kv.set(["watched", i], i)).pipe(Effect.provide(Sqlite.layerKv({ filename })))
          yield* child.count("seen", 5)
          // What a watcher does about events it may do a little later.
          yield* Effect.sleep("300 millis")
          assert.deepStrictEqual(yield* lastingLocksOf(child.pid, files), before)
        })
      )
  }
)
