/**
 * The tables of the Kv. An entry is one row; the log has one row for each commit, with the keys that it changed.
 *
 * Nothing here is written by every commit: no counter row, no head of the log. Two commits wait for each other only when they name the
 * same key, so a transaction of the program that stays open holds up nobody but who wants its keys.
 */

/** For tables whose oldest rows go all the time: vacuum them often and without pauses, and keep their files. */
const trimmed = `WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off)`

export const kvTables: ReadonlyArray<string> = [
  // Numbers of commits: taken while all keys of a commit are locked, so along a key they grow in the order of the commits.
  `CREATE SEQUENCE seams.kv_stamp AS bigint`,
  // One of doc (JSON), bytes and counter is there; none: nothing is, and the row is only there to be locked. Room is left in each page, so
  // that a new version of a row stays beside the old one and no index learns of it.
  `CREATE TABLE seams.kv (
    k bytea PRIMARY KEY, n bigint NOT NULL, cid text COLLATE "C" NOT NULL, doc text, bytes bytea, counter bigint,
    expires timestamptz) WITH (fillfactor = 90)`,
  `CREATE INDEX kv_expires ON seams.kv (expires) WHERE expires IS NOT NULL`,
  // n and cid are the two halves of the versionstamp. xid: the transaction. floor: all transactions below had ended when this one
  // was under way. ops: of each key, 1 put, 2 delete, 3 expire. fenced: no commit, and none by this id shall come.
  `CREATE TABLE seams.kv_log (
    n bigint NOT NULL, xid bigint NOT NULL, cid text COLLATE "C" PRIMARY KEY, floor bigint, keys bytea[], ops int[],
    fenced timestamptz) ${trimmed}`,
  `CREATE INDEX kv_log_n ON seams.kv_log (n)`,
  `CREATE INDEX kv_log_xid ON seams.kv_log (xid, n)`,
  // What the log has lost: no row of a higher transaction or a higher number. Only who trims writes here.
  `CREATE TABLE seams.kv_floor (id int PRIMARY KEY CHECK (id = 1), xid bigint NOT NULL, n bigint NOT NULL)`,
  `INSERT INTO seams.kv_floor (id, xid, n) VALUES (1, 0, 0)`
]
