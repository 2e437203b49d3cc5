/**
 * Managing a queue: purge, counts, dead letters. \`_apart\`: outside of a transaction of the program. Inside one nothing is brought up to now
 * or moved on, since lines and messages would be locked until it ends.
 */
import { planned } from "./sharedSql.ts"

/** Removes up to \`_max\` messages that nobody has claimed. Answers how many, and how many had expired before. */
const purge = `CREATE FUNCTION seams.purge(_q int, _max int, _apart boolean, OUT removed int, OUT expired int) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _some int;
  BEGIN
    PERFORM seams.known(ARRAY[_q]);
    expired := CASE WHEN _apart THEN seams.tend(_q, clock_timestamp()) ELSE 0 END;
    WITH gone AS (
      DELETE FROM seams.message WHERE seq = ANY (ARRAY(
        SELECT seq FROM (SELECT seq FROM seams.message WHERE q = _q AND state = 3 UNION ALL
          SELECT seq FROM seams.message WHERE q = _q AND state = 0 UNION ALL
          SELECT seq FROM seams.message WHERE q = _q AND state = 1) AS waiting LIMIT _max))
      RETURNING grp),
    noted AS (INSERT INTO seams.stirred SELECT DISTINCT _q, grp FROM gone WHERE grp IS NOT NULL)
    SELECT count(*) INTO removed FROM gone;
    WITH gone AS (
      DELETE FROM seams.fresh WHERE q = _q AND seq = ANY (ARRAY(
        SELECT seq FROM seams.fresh WHERE q = _q ORDER BY seq LIMIT _max - removed FOR UPDATE SKIP LOCKED)) RETURNING 1)
    SELECT count(*) INTO _some FROM gone;
    removed := removed + _some;
    IF _apart THEN PERFORM seams.promote(_q); END IF;
  END $$`

/** Counts a queue, when it is brought up to now. O(messages), by index. \`more\`: there is more to bring up, which nobody has locked. */
const stats = `CREATE FUNCTION seams.stats(
    _q int, _apart boolean DEFAULT true, OUT ready double precision, OUT delayed double precision, OUT claimed double precision, OUT dead double precision,
    OUT oldest double precision, OUT paused boolean, OUT expired int, OUT more boolean) LANGUAGE plpgsql AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    SELECT k.paused INTO paused FROM seams.queue k WHERE q = _q;
    IF NOT FOUND THEN PERFORM seams.known(ARRAY[_q]); END IF;
    expired := 0;
    more := false;
    IF _apart THEN
      expired := seams.tend(_q, _t);
      PERFORM 1 FROM seams.message WHERE q = _q AND state = 1 AND due <= _t LIMIT 1 FOR UPDATE SKIP LOCKED;
      more := FOUND;
      PERFORM 1 FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires <= _t LIMIT 1 FOR UPDATE SKIP LOCKED;
      more := more OR FOUND;
    END IF;
    SELECT (SELECT count(*) FROM seams.fresh WHERE q = _q) + (SELECT count(*) FROM seams.message WHERE q = _q AND state = 0)
        + (SELECT count(*) FROM seams.message WHERE q = _q AND state = 3)
        + (SELECT count(*) FROM seams.message WHERE q = _q AND state = 1 AND due <= _t),
      (SELECT count(*) FROM seams.message WHERE q = _q AND state = 1 AND due > _t),
      (SELECT count(*) FROM seams.claimed WHERE q = _q), (SELECT count(*) FROM seams.dead WHERE q = _q),
      coalesce(greatest(0, date_part('epoch', clock_timestamp() - least(
        (SELECT due FROM seams.fresh WHERE q = _q ORDER BY seq LIMIT 1),
        (SELECT min(due) FROM seams.message WHERE q = _q AND state = 0),
        (SELECT min(due) FROM seams.message WHERE q = _q AND state = 3)))) * 1000, 0)
      INTO ready, delayed, claimed, dead, oldest;
  END $$`

/**
 * Takes dead letters away, those of \`_ids\` or, when it is null, the oldest up to number \`_upto\`, at most \`_max\`; with \`_back\` they
 * return to their queue in the order in which they died: due now, with their first attempt, without their time to live. Answers how many.
 */
const takeDead = `CREATE FUNCTION seams.take_dead(_q int, _ids text[], _upto bigint, _max int, _back boolean, _apart boolean)
  RETURNS int LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _places bigint[]; _some int;
  BEGIN
    PERFORM seams.known(ARRAY[_q]);
    IF _ids IS NULL THEN
      _places := ARRAY(SELECT n FROM seams.dead WHERE q = _q AND n <= _upto ORDER BY n LIMIT _max FOR UPDATE SKIP LOCKED);
    ELSE
      _places := ARRAY(SELECT n FROM seams.dead WHERE q = _q AND id = ANY (_ids) ORDER BY n FOR UPDATE);
    END IF;
    WITH taken AS (DELETE FROM seams.dead WHERE n = ANY (_places) RETURNING *),
    back AS (
      INSERT INTO seams.message (seq, q, state, rank, due, enqueued, deliveries, grp, id, name, head, payload)
      SELECT nextval('seams.message_number'), q, CASE WHEN grp IS NULL THEN 0 ELSE 3 END, rank, _t, enqueued, deliveries, grp, id, name,
        head, payload
      FROM (SELECT * FROM taken ORDER BY n) AS sorted WHERE _back),
    noted AS (INSERT INTO seams.stirred SELECT DISTINCT q, grp FROM taken WHERE _back AND grp IS NOT NULL)
    SELECT count(*) INTO _some FROM taken;
    IF _back AND _apart THEN PERFORM seams.promote(_q); END IF;
    RETURN _some;
  END $$`

/**
 * Drops dead letters beyond a number, and older than an age in milliseconds; at most a thousand. Looks at the thousand that died first:
 * when none of them is to go, none is. Answers how many.
 */
const forgetDead = `CREATE FUNCTION seams.forget_dead(_q int, _count double precision, _age double precision) RETURNS int
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _some int; _beyond bigint;
  BEGIN
    IF _count IS NOT NULL THEN
      _beyond := (SELECT n FROM seams.dead WHERE q = _q ORDER BY n DESC OFFSET _count::bigint LIMIT 1);
    END IF;
    WITH gone AS (
      DELETE FROM seams.dead WHERE n = ANY (ARRAY(
        SELECT n FROM seams.dead WHERE n = ANY (ARRAY(SELECT n FROM seams.dead WHERE q = _q ORDER BY n LIMIT 1000))
          AND (n <= _beyond OR died <= clock_timestamp() - _age * interval '1 millisecond')
        FOR UPDATE SKIP LOCKED)) RETURNING 1)
    SELECT count(*) INTO _some FROM gone;
    RETURN _some;
  END $$`

export const queueManage: ReadonlyArray<string> = [purge, stats, takeDead, forgetDead]
