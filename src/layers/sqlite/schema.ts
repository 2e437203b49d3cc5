/**
 * The tables, and how a file gets from one version to the next.
 *
 * Every table is named `seams_...`, so the file may be one an application already has. Versions live in `seams_meta` and not in
 * `user_version`, which belongs to that application. A migration also records the lowest version of this library's schema that
 * still works with the result: older programs go on beside newer ones until a migration says otherwise.
 */
import type { Database } from "./sqlite.ts"

export interface Migration {
  readonly version: number
  /** The oldest schema version whose programs still work with a file of this version. */
  readonly oldest: number
  readonly statements: ReadonlyArray<string>
}

const first: Migration = {
  version: 1,
  oldest: 1,
  statements: [
    // counter: commits of the Kv. floor: the log begins behind it. seq: messages accepted so far. fence: see `outcome`.
    `CREATE TABLE seams_meta (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      version INTEGER NOT NULL, oldest INTEGER NOT NULL, store TEXT NOT NULL,
      counter INTEGER NOT NULL, floor INTEGER NOT NULL, seq INTEGER NOT NULL, fence INTEGER NOT NULL)`,
    // A rowid table with a unique index: WITHOUT ROWID keeps values in the inner nodes too, and its writes measured 2 to 4
    // times slower. kind: 0 JSON text, 1 bytes, 2 counter (decimal text, so that no float is on its way).
    `CREATE TABLE seams_kv (
      id INTEGER PRIMARY KEY, k BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, v NOT NULL, vs TEXT NOT NULL, exp INTEGER)`,
    `CREATE INDEX seams_kv_exp ON seams_kv (exp) WHERE exp IS NOT NULL`,
    // op: 1 put, 2 delete, 3 expire, 0 a commit that changed no key (it is remembered by its id all the same; k is empty).
    `CREATE TABLE seams_log (
      n INTEGER NOT NULL, k BLOB NOT NULL, op INTEGER NOT NULL, cid TEXT NOT NULL, at INTEGER NOT NULL,
      PRIMARY KEY (n, k)) WITHOUT ROWID`,
    `CREATE TABLE seams_queue (q INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0)`,
    // state: 0 ready, 1 scheduled (not due), 2 claimed, 3 blocked (due, behind the head of its group's line).
    // rank: negative priority. head: the record's rarer fields as JSON. held: it holds its group's line.
    `CREATE TABLE seams_message (
      seq INTEGER PRIMARY KEY, q INTEGER NOT NULL, state INTEGER NOT NULL, rank NUMERIC NOT NULL, due INTEGER NOT NULL,
      lease INTEGER, token TEXT, started INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0,
      retries INTEGER NOT NULL DEFAULT 0, lost_started INTEGER NOT NULL DEFAULT 0, lost_unstarted INTEGER NOT NULL DEFAULT 0,
      held INTEGER NOT NULL DEFAULT 0, expires INTEGER, grp TEXT, id TEXT NOT NULL, name TEXT NOT NULL,
      enqueued INTEGER NOT NULL, head TEXT, error TEXT, payload TEXT NOT NULL)`,
    `CREATE INDEX seams_message_ready ON seams_message (q, rank, due, seq) WHERE state = 0`,
    `CREATE INDEX seams_message_scheduled ON seams_message (q, due) WHERE state = 1`,
    `CREATE INDEX seams_message_claimed ON seams_message (q, lease) WHERE state = 2`,
    `CREATE INDEX seams_message_blocked ON seams_message (q, grp, due, seq) WHERE state = 3`,
    `CREATE INDEX seams_message_expires ON seams_message (q, expires) WHERE expires IS NOT NULL`,
    // One row for each group's line that is not empty: its head.
    `CREATE TABLE seams_line (q INTEGER NOT NULL, grp TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (q, grp)) WITHOUT ROWID`,
    // Remembered ids (kind 0) and dedupe keys (kind 1). seq: the message, for onDuplicate "replace".
    `CREATE TABLE seams_mark (
      q INTEGER NOT NULL, kind INTEGER NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL,
      until INTEGER NOT NULL, PRIMARY KEY (q, kind, key)) WITHOUT ROWID`,
    `CREATE INDEX seams_mark_until ON seams_mark (until)`,
    `CREATE TABLE seams_dead (
      n INTEGER PRIMARY KEY, q INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, rank NUMERIC NOT NULL,
      expires INTEGER, grp TEXT, enqueued INTEGER NOT NULL, head TEXT, payload TEXT NOT NULL,
      attempt INTEGER NOT NULL, deliveries INTEGER NOT NULL, reason TEXT NOT NULL, error TEXT, died INTEGER NOT NULL)`,
    `CREATE INDEX seams_dead_id ON seams_dead (q, id)`,
    // With the row number that every index ends with, it holds a queue's letters in their order.
    `CREATE INDEX seams_dead_order ON seams_dead (q)`
  ]
}

export const migrations: ReadonlyArray<Migration> = [first]

export const schemaVersion: number = migrations.at(-1)?.version ?? 0

export interface Meta {
  readonly version: number
  readonly oldest: number
  readonly store: string
}

/** `undefined`: the file is new. */
export const readMeta = (database: Database): Meta | undefined => {
  const table = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seams_meta'").get()
  if (table === undefined) return undefined
  return database.prepare("SELECT version, oldest, store FROM seams_meta WHERE id = 1").get() as Meta | undefined
}

/** Inside a write transaction: brings the file from a version up to ours. */
export const applyMigrations = (database: Database, found: Meta | undefined, store: string): void => {
  for (const migration of migrations) {
    if (migration.version <= (found?.version ?? 0)) continue
    for (const statement of migration.statements) database.prepare(statement).run()
    if (migration === first)
      database
        .prepare(
          "INSERT INTO seams_meta (id, version, oldest, store, counter, floor, seq, fence) VALUES (1, ?, ?, ?, 0, 0, 0, 0)"
        )
        .run(migration.version, migration.oldest, store)
    else
      database
        .prepare("UPDATE seams_meta SET version = ?, oldest = max(oldest, ?) WHERE id = 1")
        .run(migration.version, migration.oldest)
  }
}
