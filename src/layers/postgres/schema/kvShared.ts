/** Parts of statements that several functions of the Kv have. */

export { planned } from "./sharedSql.ts"

/** Of an entry `e`: it is there at a moment. */
export const live = (moment: string) =>
  `(e.doc IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL) AND (e.expires IS NULL OR e.expires > ${moment})`

/**
 * The deadline of a time to live in milliseconds, in whole milliseconds of the clock that readers see, at most JavaScript's last
 * date; null for null.
 */
export const deadline = (ttl: string) =>
  `CASE WHEN ${ttl} IS NULL THEN NULL ELSE least(to_timestamp(8640000000000),
        date_trunc('milliseconds', clock_timestamp()) + ceil(least(${ttl}, 8e15)) * interval '1 millisecond') END`

/** What readers are given of an entry `e` behind its key. */
export const entry: string = `e.n, e.cid, e.doc, e.bytes, e.counter, seams.millis(e.expires)`

/** The transaction of the statement, as a number. */
export const ownXid: string = `pg_current_xact_id()::text::bigint`

/**
 * The highest number in the log of this snapshot and the id that goes with it, nothing when it is empty: what tells a store that was set
 * back. O(log commits).
 */
export const last: string = `(SELECT l.n, l.cid FROM seams.kv_log l ORDER BY l.n DESC LIMIT 1)`
