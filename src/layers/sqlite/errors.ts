import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/layers/sqlite/${name}`

/**
 * The folder of the database file does not exist. Only the default folder `.seams` is made by the layer: a mistyped path must
 * not become an empty store somewhere else.
 *
 * @since 0.1.0
 * @category errors
 */
export class DirectoryMissing extends Schema.TaggedError<DirectoryMissing>(id("DirectoryMissing"))("DirectoryMissing", {
  directory: Schema.String
}) {
  override get message(): string {
    return `The folder ${this.directory} does not exist. Create it, or point "filename" to an existing one; only the default folder .seams is created for you.`
  }
}

/**
 * The path names something that is not a regular file, a folder for example.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotAFile extends Schema.TaggedError<NotAFile>(id("NotAFile"))("NotAFile", {
  filename: Schema.String,
  /** What it is, or what its folder is. */
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.filename} cannot be a database file: ${this.detail}. Give the path of a file.`
  }
}

/**
 * The file, or the folder in which SQLite keeps the file's `-wal` and `-shm` companions, cannot be written by this process.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotWritable extends Schema.TaggedError<NotWritable>(id("NotWritable"))("NotWritable", {
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.path} cannot be written: ${this.detail}. Give this process the right to write the file and its folder (SQLite keeps two more files beside it), or choose another place.`
  }
}

/**
 * Another process held the file's lock for longer than `lockTimeout`. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Locked extends Schema.TaggedError<Locked>(id("Locked"))("Locked", {
  filename: Schema.String,
  waited: Schema.Finite
}) {
  override get message(): string {
    return `${this.filename} is locked by another process; waited ${this.waited} ms. Look for a program with an open write transaction on it (a database browser, a backup), or raise "lockTimeout".`
  }
}

/**
 * The file is no SQLite database, or a damaged one.
 *
 * @since 0.1.0
 * @category errors
 */
export class Corrupt extends Schema.TaggedError<Corrupt>(id("Corrupt"))("Corrupt", {
  filename: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.filename} cannot be read as a database: ${this.detail}. Restore a backup or move the file away to start empty; "sqlite3 FILE .recover" saves what can be read.`
  }
}

/**
 * The file was migrated by a later version of this library, and that version says that ours can no longer work with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class NewerSchema extends Schema.TaggedError<NewerSchema>(id("NewerSchema"))("NewerSchema", {
  filename: Schema.String,
  found: Schema.Finite,
  needed: Schema.Finite,
  supported: Schema.Finite
}) {
  override get message(): string {
    return `${this.filename} has schema version ${this.found} and asks for at least version ${this.needed}; this effect-seams knows up to ${this.supported}. Upgrade effect-seams, or use another file.`
  }
}

/**
 * The runtime has no `node:sqlite`.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoSqlite extends Schema.TaggedError<NoSqlite>(id("NoSqlite"))("NoSqlite", {
  runtime: Schema.String
}) {
  override get message(): string {
    return `${this.runtime} has no node:sqlite. It is built into Node.js from 22.13 (without --no-experimental-sqlite), Deno from 2.2 and Bun from 1.4: upgrade, or use another layer.`
  }
}

/**
 * The place cannot hold a database that several processes share: SQLite refused its write-ahead log there.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoWriteAheadLog extends Schema.TaggedError<NoWriteAheadLog>(id("NoWriteAheadLog"))("NoWriteAheadLog", {
  filename: Schema.String,
  mode: Schema.String
}) {
  override get message(): string {
    return `${this.filename} cannot use a write-ahead log (journal mode stays "${this.mode}"). Put it on a local file system; network file systems and some container mounts lack the shared memory it needs.`
  }
}

/**
 * The operating system or SQLite refused to open or to prepare the file for another reason; the detail is its text.
 *
 * @since 0.1.0
 * @category errors
 */
export class OpenFailed extends Schema.TaggedError<OpenFailed>(id("OpenFailed"))("OpenFailed", {
  filename: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `${this.filename} could not be opened: ${this.detail}. Give the path of a file on a local disk that this process may write.`
  }
}

/**
 * Every reason for which a SQLite layer cannot be built.
 *
 * @since 0.1.0
 * @category errors
 */
export const SqliteErrorReason = Schema.Union([
  DirectoryMissing,
  NotAFile,
  NotWritable,
  Locked,
  Corrupt,
  NewerSchema,
  NoSqlite,
  NoWriteAheadLog,
  OpenFailed
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type SqliteErrorReason = typeof SqliteErrorReason.Type

/**
 * The error of building a SQLite layer. `reason` says what happened and what to do. Once the layer stands, faults of the file
 * are `KvError` and `QueueError` like those of every other backend.
 *
 * @since 0.1.0
 * @category errors
 */
export class SqliteError extends Schema.TaggedError<SqliteError>(id("SqliteError"))("SqliteError", {
  reason: SqliteErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Locked"
  }
}
