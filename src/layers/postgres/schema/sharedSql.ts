/** What functions of both seams have in common, and what those of the queue have. */

/**
 * Settings of functions: these tables have few rows when they were last analyzed and many a moment later, so sequential scans, hash joins
 * and sorts of whole tables are ruled out. Nor is anything worth compiling, which a plan that cannot do without them would be.
 */
export const planned = `SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan SET jit = off`

/** What a loss of power undoes is delivered again. To the end of the transaction: a setting of the function would end before its commit. */
export const unsynced = `PERFORM set_config('synchronous_commit', 'off', true);`

/** A restart of the server gives every lease its whole span again: an outage is nobody's failure. */
export const restarted = (span: string) => `pg_postmaster_start_time() + ${span} * interval '1 millisecond'`

/** Of a claimed message `c`: its lease lasts. */
export const leased = `EXISTS (
          SELECT 1 FROM seams.lease l WHERE l.lease = c.lease AND (l.until > _t OR ${restarted("l.span")} > _t))`

/** The window of five minutes in which an id is accepted: its ids are in the table of its number modulo 3. */
export const idWindow = (moment: string) => `floor(date_part('epoch', ${moment}) / 300)::int`

/** What is done in the window `_w`, by the number of its table. */
export const byWindow = (branch: (current: number) => string) => `CASE _w % 3
    WHEN 0 THEN ${branch(0)}
    WHEN 1 THEN ${branch(1)}
    ELSE ${branch(2)}
    END CASE;`

/** Milliseconds since the epoch, as a number that JavaScript holds exactly. */
export const millis = `CREATE FUNCTION seams.millis(_t timestamptz) RETURNS double precision LANGUAGE sql STABLE AS $$
  SELECT round(date_part('epoch', _t) * 1000) $$`

/** The moment so many milliseconds after another, null for null; never later than JavaScript's last date. */
export const later = `CREATE FUNCTION seams.later(_t timestamptz, _ms double precision) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN _ms IS NOT NULL THEN least(to_timestamp(8640000000000), _t + least(_ms, 8639999999999999 - date_part('epoch', _t) * 1000) * interval '1 millisecond') END $$`

/** The moment of a number of milliseconds since the epoch. */
export const moment = `CREATE FUNCTION seams.moment(_ms double precision) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN _ms IS NOT NULL THEN to_timestamp(least(_ms, 8640000000000000) / 1000) END $$`
