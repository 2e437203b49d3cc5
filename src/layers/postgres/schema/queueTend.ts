/** What time brings about: lost claims, due and expired messages, the lines of groups, what is forgotten. */
import { byWindow, idWindow, planned, restarted } from "./sharedSql.ts"

/**
 * Lets the lines of groups move on, of which something came or went: a line without a living head gets its next message as head, and a
 * head that nobody has seen yet gives way to one that was due before it. Locks lines in the order of their names, and never waits for a
 * message: a transaction of the program may hold one (\`replace\`), and then the note stays.
 */
const promote = `CREATE FUNCTION seams.promote(_q int) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE _grp text; _head bigint; _living record; _next record;
  BEGIN
    FOR _grp IN SELECT DISTINCT grp FROM seams.stirred WHERE q = _q ORDER BY grp LIMIT 500 LOOP
      INSERT INTO seams.line VALUES (_q, _grp, 0) ON CONFLICT DO NOTHING;
      SELECT seq INTO _head FROM seams.line WHERE q = _q AND grp = _grp FOR UPDATE;
      CONTINUE WHEN NOT FOUND;
      DELETE FROM seams.stirred WHERE q = _q AND grp = _grp;
      -- One statement: a message that moves between the tables is always in one of them.
      SELECT seq, due, fixed INTO _living FROM (
        SELECT seq, due, held AS fixed FROM seams.message WHERE seq = _head AND (state = 0 OR held)
        UNION ALL SELECT seq, due, true FROM seams.claimed WHERE seq = _head) AS living LIMIT 1;
      CONTINUE WHEN FOUND AND _living.fixed;
      SELECT seq, due INTO _next FROM seams.message WHERE q = _q AND grp = _grp AND state = 3 ORDER BY due, seq LIMIT 1;
      IF _next.seq IS NOT NULL THEN
        PERFORM 1 FROM seams.message WHERE seq = _next.seq AND state = 3 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
          INSERT INTO seams.stirred VALUES (_q, _grp);
          CONTINUE;
        END IF;
      END IF;
      IF _living.seq IS NULL THEN
        IF _next.seq IS NULL THEN
          DELETE FROM seams.line WHERE q = _q AND grp = _grp;
        ELSE
          UPDATE seams.message SET state = 0 WHERE seq = _next.seq AND state = 3;
          UPDATE seams.line SET seq = _next.seq WHERE q = _q AND grp = _grp;
        END IF;
      ELSIF (_next.due, _next.seq) < (_living.due, _living.seq) THEN
        -- Unless somebody is claiming it at this moment.
        PERFORM 1 FROM seams.message WHERE seq = _head AND state = 0 AND NOT held FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
          UPDATE seams.message SET state = 3 WHERE seq = _head;
          UPDATE seams.message SET state = 0 WHERE seq = _next.seq AND state = 3;
          UPDATE seams.line SET seq = _next.seq WHERE q = _q AND grp = _grp;
        END IF;
      END IF;
    END LOOP;
  END $$`

/**
 * Brings a queue up to a moment: claims whose lease is over come back, messages become due or expire, lines move on. At most a thousand of
 * each kind. Answers how many expired. Costs five looks into indexes when there is nothing to do.
 *
 * Dead rows that an old snapshot keeps alive lie at the begin of these indexes, so a look at all of them is for now and then (\`_all\`); the
 * others begin two seconds ago.
 */
const tend = `CREATE FUNCTION seams.tend(_q int, _t timestamptz, _all boolean DEFAULT true) RETURNS int LANGUAGE plpgsql AS $$
  DECLARE
    _leases bigint[]; _some int := 0; _lost boolean; _due boolean; _expired boolean; _stirred boolean;
    _from timestamptz := CASE WHEN _all THEN '-infinity' ELSE _t - interval '2 seconds' END;
  BEGIN
    SELECT EXISTS (SELECT 1 FROM seams.lease WHERE q = _q AND until > _from AND until <= _t),
      EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND state = 1 AND due > _from AND due <= _t),
      EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires > _from AND expires <= _t),
      EXISTS (SELECT 1 FROM seams.stirred WHERE q = _q)
      INTO _lost, _due, _expired, _stirred;
    IF _lost THEN
      _leases := ARRAY(
        SELECT lease FROM seams.lease WHERE q = _q AND until <= _t AND ${restarted("span")} <= _t
        ORDER BY until LIMIT 100 FOR UPDATE SKIP LOCKED);
      -- A message that a transaction of the program has acked, and not committed, is locked: it stays until that one has ended.
      WITH lost AS (
        DELETE FROM seams.claimed WHERE seq = ANY (ARRAY(
          SELECT seq FROM seams.claimed WHERE lease = ANY (_leases) LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING *)
      INSERT INTO seams.message (seq, q, state, held, rank, due, enqueued, not_before, expires, retries, deliveries, lost_started,
        lost_unstarted, grp, error, id, name, head, payload)
      SELECT seq, q, 0, grp IS NOT NULL, rank, due, enqueued, not_before, expires, retries, deliveries, lost_started + started::int,
        lost_unstarted + 1 - started::int, grp, error, id, name, head, payload FROM lost;
      DELETE FROM seams.lease l WHERE l.lease = ANY (_leases) AND NOT EXISTS (SELECT 1 FROM seams.claimed c WHERE c.lease = l.lease);
    END IF;
    IF _due THEN
      WITH came AS (
        UPDATE seams.message SET state = CASE WHEN grp IS NULL OR held THEN 0 ELSE 3 END WHERE seq = ANY (ARRAY(
          SELECT seq FROM seams.message WHERE q = _q AND state = 1 AND due <= _t ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED))
        RETURNING grp, held)
      INSERT INTO seams.stirred SELECT DISTINCT _q, grp FROM came WHERE grp IS NOT NULL AND NOT held;
    END IF;
    -- Also what came back just now.
    IF _expired OR _lost THEN
      WITH gone AS (
        DELETE FROM seams.message WHERE seq = ANY (ARRAY(
          SELECT seq FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires <= _t ORDER BY expires LIMIT 1000
          FOR UPDATE SKIP LOCKED))
        RETURNING grp),
      noted AS (INSERT INTO seams.stirred SELECT DISTINCT _q, grp FROM gone WHERE grp IS NOT NULL)
      SELECT count(*) INTO _some FROM gone;
    END IF;
    IF _stirred OR _due OR _expired OR _lost THEN PERFORM seams.promote(_q); END IF;
    RETURN _some;
  END $$`

/**
 * Milliseconds until time makes something claimable; null: never. A head that expires lets its line move on. What is over and still there is
 * locked by somebody, perhaps for long, and looked at again in a moment. \`_all\`: see \`tend\`; a look that left leases and what is older out is
 * followed by another within a second.
 */
const soon = `CREATE FUNCTION seams.soon(_q int, _t timestamptz, _all boolean) RETURNS double precision LANGUAGE plpgsql AS $$
  DECLARE
    _next timestamptz; _lease timestamptz := _t + interval '1 second';
    _from timestamptz := CASE WHEN _all THEN '-infinity' ELSE _t - interval '2 seconds' END;
  BEGIN
    IF EXISTS (SELECT 1 FROM seams.stirred WHERE q = _q) THEN RETURN 25; END IF;
    IF _all THEN
      SELECT greatest(until, ${restarted("span")}) INTO _lease FROM seams.lease WHERE q = _q ORDER BY until LIMIT 1;
      IF _lease <= _t THEN _lease := _t + interval '250 milliseconds'; END IF;
    END IF;
    _next := least(_lease,
      (SELECT min(due) FROM seams.message WHERE q = _q AND state = 1 AND due > _from),
      (SELECT min(expires) FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires > _from
        AND EXISTS (SELECT 1 FROM seams.line WHERE q = _q)));
    IF _next IS NULL THEN RETURN NULL; END IF;
    IF _next <= _t THEN RETURN 25; END IF;
    RETURN ceil(date_part('epoch', _next - _t) * 1000);
  END $$`

const forgetIn = (next: number) => `IF EXISTS (SELECT 1 FROM seams.seen_${next}) THEN
        LOCK TABLE seams.seen_${next} IN ACCESS EXCLUSIVE MODE;
        -- Unless its window has begun meanwhile.
        IF ${idWindow("clock_timestamp()")} = _w THEN TRUNCATE seams.seen_${next}; END IF;
      END IF;`

/** Empties the table of ids that is filled next, unless somebody holds it for longer than a moment. */
const forgetIds = `CREATE FUNCTION seams.forget_ids() RETURNS void LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
  DECLARE _w int := ${idWindow("clock_timestamp()")};
  BEGIN
    ${byWindow((current) => forgetIn((current + 1) % 3))}
  EXCEPTION WHEN lock_not_available THEN NULL;
  END $$`

/**
 * Drops dedupe keys whose time is over, at most ten thousand, and answers how many; gives a lease that has ended to claimed messages that
 * have none, which nobody would look for.
 */
const forget = `CREATE FUNCTION seams.forget() RETURNS int LANGUAGE plpgsql ${planned} AS $$
  DECLARE _some int;
  BEGIN
    INSERT INTO seams.lease SELECT DISTINCT c.lease, c.q, clock_timestamp(), 0::double precision FROM seams.claimed c
      WHERE NOT EXISTS (SELECT 1 FROM seams.lease l WHERE l.lease = c.lease) ON CONFLICT DO NOTHING;
    DELETE FROM seams.dedupe WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM seams.dedupe WHERE until <= clock_timestamp() ORDER BY until LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS _some = ROW_COUNT;
    RETURN _some;
  END $$`

export const queueTend: ReadonlyArray<string> = [promote, tend, soon, forgetIds, forget]
