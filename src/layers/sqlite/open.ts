/** Opening: every way in which a path can be unusable ends as an error of its own, before or after SQLite has seen it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as fs from "node:fs"
import * as path from "node:path"
import { isGranted } from "../../internal/denoPermissions.ts"
import {
  Corrupt,
  DirectoryMissing,
  Locked,
  NewerSchema,
  NotAFile,
  NotWritable,
  NoWriteAheadLog,
  OpenFailed,
  SqliteError
} from "./errors.ts"
import type { SqliteErrorReason } from "./errors.ts"
import type { Meta } from "./schema.ts"
import { applyMigrations, readMeta, schemaVersion } from "./schema.ts"
import type { Database, Open } from "./sqlite.ts"
import { isBusy, loadSqlite, resultCode } from "./sqlite.ts"

export interface OpenOptions {
  readonly filename: string
  readonly memory: boolean
  /** Its folder may be made. */
  readonly isDefault: boolean
  readonly lockTimeout: number
  readonly realClock: Clock.Clock
  /** Gets the database the moment it is open, so that no interruption can come between opening and owning it. */
  readonly own: (database: Database) => void
}

export const openDatabase = (
  options: OpenOptions
): Effect.Effect<{ readonly database: Database; readonly storeId: string }, SqliteError> =>
  Effect.gen(function* () {
    const open = yield* loadSqlite
    if (!options.memory) {
      const problem = checkPath(options)
      if (problem !== undefined) return yield* new SqliteError({ reason: problem })
      const network = networkFileSystem(path.dirname(options.filename))
      if (network !== undefined)
        yield* Effect.logWarning(
          `effect-seams: ${options.filename} is on a network file system (${network}). SQLite's locks and shared memory are not reliable there: use it from one machine only, or better put the file on a local disk.`
        )
    }
    return yield* prepareWithRetry(open, options)
  })

/** The whole of opening is tried again while the file is busy: any number of processes may start at once on a new file. */
const prepareWithRetry = (open: Open, options: OpenOptions) =>
  Effect.gen(function* () {
    const start = options.realClock.currentTimeMillisUnsafe()
    let delay = 2
    while (true) {
      const opened = prepare(open, options)
      if (Result.isSuccess(opened)) return opened.success
      if (opened.failure !== "busy") return yield* new SqliteError({ reason: opened.failure })
      const waited = options.realClock.currentTimeMillisUnsafe() - start
      if (waited >= options.lockTimeout)
        return yield* new SqliteError({ reason: new Locked({ filename: options.filename, waited }) })
      yield* Effect.sleep(delay * (0.5 + (yield* Random.next)))
      delay = Math.min(delay * 2, 25)
    }
  }).pipe(Effect.provideService(Clock.Clock, options.realClock))

/** From the platform and not from Effect's Random, which a test may seed: two stores must never share an id. */
const newStoreId = (): string =>
  Array.from(globalThis.crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(16).padStart(8, "0")).join(
    ""
  )

const prepare = (
  open: Open,
  options: OpenOptions
): Result.Result<{ readonly database: Database; readonly storeId: string }, SqliteErrorReason | "busy"> => {
  let database: Database | undefined
  try {
    database = open(options.filename)
    const pragma = (sql: string) => database?.prepare(sql).get() as Record<string, unknown> | undefined
    pragma("PRAGMA busy_timeout = 0")
    if (!options.memory) {
      const mode = String(pragma("PRAGMA journal_mode = WAL")?.["journal_mode"])
      if (mode !== "wal") {
        database.close()
        return Result.fail(new NoWriteAheadLog({ filename: options.filename, mode }))
      }
    }
    // What the log grew to in a burst is given back at the next checkpoint.
    pragma("PRAGMA journal_size_limit = 67108864")
    const migrated = migrate(database, options.filename, newStoreId())
    if (typeof migrated === "string") {
      options.own(database)
      return Result.succeed({ database, storeId: migrated })
    }
    database.close()
    return Result.fail(migrated)
  } catch (error) {
    closeQuietly(database)
    return Result.fail(isBusy(error) ? "busy" : reasonOf(error, options.filename))
  }
}

const closeQuietly = (database: Database | undefined): void => {
  try {
    database?.close()
  } catch {
    // The error that brought us here is the one to report.
  }
}

/** The store's id, or why this version cannot work with the file. */
const migrate = (database: Database, filename: string, store: string): string | NewerSchema => {
  const refused = (meta: Meta | undefined) =>
    meta !== undefined && meta.oldest > schemaVersion
      ? new NewerSchema({ filename, found: meta.version, needed: meta.oldest, supported: schemaVersion })
      : undefined
  const found = readMeta(database)
  const problem = refused(found)
  if (problem !== undefined) return problem
  if (found !== undefined && found.version >= schemaVersion) return found.store
  // Somebody else may have migrated between the look and the lock: look again under the lock.
  database.prepare("BEGIN IMMEDIATE").run()
  const now = readMeta(database)
  const late = refused(now)
  if (late === undefined) applyMigrations(database, now, store)
  database.prepare("COMMIT").run()
  return late ?? now?.store ?? store
}

const reasonOf = (error: unknown, filename: string): SqliteErrorReason => {
  const text = error instanceof Error ? error.message : String(error)
  switch (resultCode(error)) {
    case 8:
      return new NotWritable({ path: filename, detail: text })
    case 11:
    case 26:
      return new Corrupt({ filename, detail: text })
    default:
      return new OpenFailed({ filename, detail: text, cause: error })
  }
}

/** SQLite says "unable to open database file" for all of these; the file system knows better. */
const checkPath = ({ filename, isDefault }: OpenOptions): SqliteErrorReason | undefined => {
  const directory = path.dirname(filename)
  try {
    if (isDefault) fs.mkdirSync(directory, { recursive: true })
    const folder = fs.statSync(directory, { throwIfNoEntry: false })
    if (folder === undefined) return new DirectoryMissing({ directory })
    if (!folder.isDirectory()) return new NotAFile({ filename, detail: `${directory} is not a folder` })
    const file = fs.statSync(filename, { throwIfNoEntry: false })
    if (file !== undefined && !file.isFile())
      return new NotAFile({ filename, detail: file.isDirectory() ? "it is a folder" : "it is no ordinary file" })
    for (const target of file === undefined ? [directory] : [directory, filename]) {
      const denied = accessProblem(target)
      if (denied !== undefined) return new NotWritable({ path: target, detail: denied })
    }
    return undefined
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    const code = (error as { readonly code?: unknown }).code
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") return new NotWritable({ path: directory, detail })
    if (code === "ENOTDIR") return new NotAFile({ filename, detail: `a part of ${directory} is not a folder` })
    return new OpenFailed({ filename, detail, cause: error })
  }
}

const accessProblem = (target: string): string | undefined => {
  // Deno looks at the user's id for this. Without that right SQLite itself finds out, and says less.
  if (!isGranted({ name: "sys", kind: "uid" })) return undefined
  try {
    fs.accessSync(target, fs.constants.W_OK)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Magic numbers of Linux' statfs(2). */
const networkTypes: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x5346414f, "AFS"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"]
])

/** The name of a network file system, by its statfs type. */
export const networkName = (type: number): string | undefined => networkTypes.get(type >>> 0)

const networkFileSystem = (directory: string): string | undefined => {
  // The numbers mean something else on other systems.
  if (process.platform !== "linux" || typeof fs.statfsSync !== "function") return undefined
  if (!isGranted({ name: "sys", kind: "statfs" })) return undefined
  try {
    return networkName(Number(fs.statfsSync(directory).type))
  } catch {
    return undefined
  }
}
