/**
 * The cron job: walks the folder beside the list of what is known, both in one order, and publishes what is new or changed.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
// Installed, a program writes: import { Cron, Kv } from "effect-seams"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import { commitFound } from "./commit.ts"
import { count, Cursors, Results, sameVersion, Seen, type Version } from "./model.ts"
import { Progress } from "./progress.ts"
import { type Folder, walk, type WalkedFile } from "./walk.ts"

/** Files of one commit: with their messages they stay below the limits of every backend. */
const batchSize = 100

/**
 * Looks every second. After a scan it rests four times as long as that took: a folder of a million files is not worth
 * a processor of its own.
 *
 * `enabled: false` stops the clock, and leaves `trigger`, which `--once` uses.
 */
export const scanJob = (folder: Folder, options: { readonly enabled: boolean }) =>
  Cron.job(
    "scan",
    {
      schedule: Cron.every("1 second"),
      enabled: options.enabled,
      runOnInit: options.enabled,
      success: Schema.Struct({ complete: Schema.Boolean })
    },
    Effect.fnUntraced(function* (run) {
      const progress = yield* Progress
      const start = yield* Clock.currentTimeMillis
      if (run.kind === "schedule" && start < progress.restUntil) return { complete: true }
      const outcome = yield* scan(folder)
      const end = yield* Clock.currentTimeMillis
      progress.restUntil = end + 4 * (end - start)
      progress.scans++
      return outcome
    })
  )

/**
 * `complete`: this scan looked at the whole folder, and every difference it found is published. It is not when it resumed one
 * that was killed, or met another process that scans the same folder.
 */
const scan = Effect.fn("scan folder")(
  function* (folder: Folder) {
    const { root } = folder
    const stored = yield* Cursors.get(root)
    const last = Option.match(stored, { onNone: () => ({ scan: 0, after: "" }), onSome: (entry) => entry.value })
    const resumed = last.after !== ""
    const number = resumed ? last.scan : last.scan + 1
    yield* Effect.annotateCurrentSpan({ root, scan: number, resumed })
    const progress = yield* Progress
    progress.skipped.clear()

    // The path this scan has come to; and what the store says, which every commit of the scan checks: of two processes that
    // scan one folder at the same time one goes on, and the other meets a Conflict.
    let { after } = last
    const cursor: Cursor = { expected: stored, after }
    const batch = Effect.fnUntraced(function* (files: ReadonlyArray<WalkedFile>, end: string | undefined) {
      const { changed, gone } = yield* compare(root, files, after, end)
      if (changed.length > 0 || gone.length > 0) yield* publish(root, number, changed, end ?? "", cursor)
      yield* Effect.forEach(gone, (path) => remove(root, path, cursor))
      after = end ?? ""
    })
    yield* walk(folder, last.after).pipe(
      Stream.grouped(batchSize),
      Stream.runForEach((files) => batch(files, files.at(-1)!.path))
    )
    // What is known behind the last file is gone.
    yield* batch([], undefined)
    if (cursor.after !== "") yield* publish(root, number, [], "", cursor)
    return { complete: !resumed }
  },
  Effect.catchTag("Conflict", () => Effect.succeed({ complete: false }))
)

/** The stored cursor, as this scan wrote it last. */
interface Cursor {
  expected: Kv.Expected
  after: string
}

/** What differs between the folder and the store, for the paths behind `after` up to `end` (`undefined`: to the last one). */
const compare = Effect.fn("compare")(function* (
  root: string,
  files: ReadonlyArray<WalkedFile>,
  after: string,
  end: string | undefined
) {
  const { skipped } = yield* Progress
  // The zero byte makes the next possible path after this one.
  const start = [root, `${after}\0`] as const
  const known = new Map<string, Version>()
  yield* Stream.runForEach(
    Seen.list(end === undefined ? { under: [root], start } : { start, end: [root, `${end}\0`] }),
    (entry) => Effect.sync(() => known.set(entry.key.at(-1) as string, entry.value))
  )
  const changed = files.filter(({ path, version }) => {
    const old = known.get(path)
    known.delete(path)
    return old === undefined || !sameVersion(old, version)
  })
  // What could not be looked at is not known to be gone.
  const hidden = Array.from(skipped.keys())
  const gone = Array.from(known.keys()).filter((path) => !hidden.some((prefix) => path.startsWith(prefix)))
  return { changed, gone }
})

/**
 * The messages, the marks that they were published, and the place to go on from: in one commit, so that a process killed at any
 * moment has published a file and knows it, or neither.
 */
const publish = Effect.fn("publishChanged")(function* (
  root: string,
  number: number,
  files: ReadonlyArray<WalkedFile>,
  after: string,
  cursor: Cursor
) {
  cursor.expected = yield* commitFound(
    [
      Kv.check(Cursors.at(root), cursor.expected),
      Cursors.set(root, { scan: number, after }),
      ...files.map(({ path, version }) => Seen.set([root, path], version))
    ],
    files.map(({ path, version }) => ({ root, path, version, scan: number }))
  )
  cursor.after = after
  const progress = yield* Progress
  progress.found += files.length
})

/** Forgets a file that is gone and counts it out. A result that a worker writes at this moment is a Conflict: next scan. */
const remove = Effect.fn("remove")(function* (root: string, path: string, cursor: Cursor) {
  const result = yield* Results.get([root, path])
  yield* Kv.atomic([
    Kv.check(Cursors.at(root), cursor.expected),
    Kv.check(Results.at([root, path]), result),
    Seen.delete([root, path]),
    Results.delete([root, path]),
    ...(Option.isSome(result) ? count(root, "out", result.value.value.statistics) : [])
  ])
  const progress = yield* Progress
  progress.removed++
})
