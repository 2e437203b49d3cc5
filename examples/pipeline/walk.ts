/**
 * The files below a folder as a stream, in the order in which the store lists their keys: by the bytes of their paths.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import { longestPath, type Version } from "./model.ts"
import { Progress } from "./progress.ts"

/** What to look at. */
export interface Folder {
  /** Absolute, without symbolic links. */
  readonly root: string
  /** Names of folders that are left out wherever they are. */
  readonly skip: ReadonlySet<string>
  /** Only files whose names match. */
  readonly only: RegExp | undefined
  /** The store's own files begin with this absolute path. They change with every commit, so counting them would never end. */
  readonly data: string
}

export interface WalkedFile {
  readonly path: string
  readonly version: Version
}

/** What went wrong, for a person. */
export const reasonOf = (error: PlatformError): string => {
  switch (error.reason._tag) {
    case "NotFound":
      return "it does not exist"
    case "PermissionDenied":
      return "permission denied"
    default:
      return error.message
  }
}

/** A path below the root; of folders it ends with a slash, which also sorts them among files as their contents are sorted. */
type Pending = string
const isFolder = (pending: Pending) => pending === "" || pending.endsWith("/")

/** JavaScript compares UTF-16; that is another order than that of UTF-8 only where a surrogate takes part. */
const compareBytes = (a: string, b: string): number => {
  if (/[\uD800-\uDFFF]/.test(a + b)) return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * Every file behind the path `after` (`""`: every file). Memory: one listing per level of the tree. Symbolic links to files are
 * files, those to folders are not followed. What cannot be looked at is noted in `Progress.skipped`.
 */
export const walk = (
  folder: Folder,
  after: string
): Stream.Stream<WalkedFile, PlatformError, FileSystem.FileSystem | Progress> =>
  Stream.suspend(() => {
    const stack: Array<Pending> = [""]
    return Stream.paginate(undefined, () =>
      Effect.map(advance(folder, after, stack), (files) => [
        files,
        stack.length === 0 ? Option.none() : Option.some(undefined)
      ])
    )
  }).pipe(
    Stream.mapEffect((path) => look(folder, path), { concurrency: 16 }),
    Stream.filter(Option.isSome),
    Stream.map((some) => some.value)
  )

/** The files on top of the stack, or none and its topmost folder opened. */
const advance = Effect.fnUntraced(function* (folder: Folder, after: string, stack: Array<Pending>) {
  const files: Array<string> = []
  while (stack.length > 0 && !isFolder(stack.at(-1)!)) files.push(stack.pop()!)
  if (files.length > 0 || stack.length === 0) return files
  const children = yield* list(folder, stack.pop()!)
  for (const child of children.toSorted(compareBytes).toReversed())
    if (compareBytes(child, after) > 0 || (isFolder(child) && after.startsWith(child))) stack.push(child)
  return files
})

const list = Effect.fnUntraced(function* (folder: Folder, path: Pending) {
  const fs = yield* FileSystem.FileSystem
  const { skipped } = yield* Progress
  const entries = yield* fs.readDirectoryEntries(`${folder.root}/${path}`).pipe(
    Effect.catch((error) => {
      // Without its root the scan has failed; a folder below it may be closed to us, or be gone by now.
      if (path === "") return Effect.fail(error)
      if (error.reason._tag !== "NotFound") skipped.set(path, reasonOf(error))
      return Effect.succeed([])
    })
  )
  const children: Array<Pending> = []
  for (const { name, type } of entries) {
    const child = path + name
    const absolute = `${folder.root}/${child}`
    if (type === "Directory") {
      if (!folder.skip.has(name)) children.push(`${child}/`)
      continue
    }
    // Pipes, sockets and devices have no contents of their own.
    if (type !== "File" && type !== "SymbolicLink" && type !== "Unknown") continue
    if (folder.only?.test(name) === false || absolute.startsWith(folder.data)) continue
    if (name.includes("\uFFFD")) skipped.set(child, "its name is not UTF-8")
    else if (Buffer.byteLength(absolute) > longestPath) skipped.set(child, "its path is too long")
    else children.push(child)
  }
  return children
})

const look = Effect.fnUntraced(function* (folder: Folder, path: string) {
  const fs = yield* FileSystem.FileSystem
  const { skipped } = yield* Progress
  const absolute = `${folder.root}/${path}`
  const found = (info: FileSystem.File.Info): WalkedFile => ({
    path,
    version: {
      mtime: Option.match(info.mtime, { onNone: () => 0, onSome: (date) => date.getTime() }),
      size: ByteSize.toNumberUnsafe(info.size)
    }
  })
  return yield* fs.stat(absolute).pipe(
    Effect.map((info) => (info.type === "File" ? Option.some(found(info)) : Option.none())),
    // A link that leads nowhere is a file that cannot be read: the worker finds that out, and it ends as a dead letter.
    Effect.catch(() => Effect.map(fs.lstat(absolute), (info) => Option.some(found(info)))),
    Effect.catch((error) => {
      // Otherwise it was removed after its folder was listed.
      if (error.reason._tag !== "NotFound") skipped.set(path, reasonOf(error))
      return Effect.succeedNone
    })
  )
})
