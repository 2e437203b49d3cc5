/**
 * What the queue does inside the server. A call is one round trip; in a function each statement sees what was committed before it,
 * which the promotion of groups relies on. Sequential scans, sorts of whole tables and hash joins are ruled out by settings, because
 * these tables have few rows when they were last analyzed and many a moment later.
 *
 * Nobody waits for a transaction of the program: it only inserts rows, and deletes rows of messages that are claimed for it. Whoever
 * looks for rows to take skips those that are locked.
 */

/** Settings of functions that meet tables whose statistics are old by nature. */
const planned = `SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan`

/** What a loss of power undoes is delivered again. To the end of the transaction: a setting of the function would end before its commit. */
const unsynced = `PERFORM set_config('synchronous_commit', 'off', true);`

/** A restart of the server gives every lease its whole span again: an outage is nobody's failure. */
const restarted = (span: string) => `pg_postmaster_start_time() + ${span} * interval '1 millisecond'`

/** Of a claimed message `c`: its lease lasts. */
const leased = `EXISTS (
          SELECT 1 FROM seams.lease l WHERE l.lease = c.lease AND (l.until > _t OR ${restarted("l.span")} > _t))`

/** Milliseconds since the epoch, as a number that JavaScript holds exactly. */
const millis = `CREATE FUNCTION seams.millis(_t timestamptz) RETURNS double precision LANGUAGE sql STABLE AS $$
  SELECT round(date_part('epoch', _t) * 1000) $$`

/** The moment so many milliseconds after another, null for null; never later than JavaScript's last date. */
const later = `CREATE FUNCTION seams.later(_t timestamptz, _ms double precision) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN _ms IS NOT NULL THEN least(to_timestamp(8640000000000), _t + least(_ms, 8639999999999999 - date_part('epoch', _t) * 1000) * interval '1 millisecond') END $$`

/** The moment of a number of milliseconds since the epoch. */
const moment = `CREATE FUNCTION seams.moment(_ms double precision) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN _ms IS NOT NULL THEN to_timestamp(least(_ms, 8640000000000000) / 1000) END $$`

/** The ids of two windows of five minutes are looked at: this one's, and the one before. */
const rememberIn = (current: number) => {
  const before = (current + 2) % 3
  return `BEGIN
        IF EXISTS (SELECT 1 FROM unnest(_qs, _ids) AS m (q, id) JOIN seams.seen_${before} b ON b.q = m.q AND b.id = m.id) THEN
          RAISE unique_violation;
        END IF;
        INSERT INTO seams.seen_${current} (q, id) SELECT m.q, m.id FROM unnest(_qs, _ids) AS m (q, id);
      EXCEPTION WHEN unique_violation THEN
        WITH added AS (
          INSERT INTO seams.seen_${current} AS s (q, id)
          SELECT m.q, m.id FROM unnest(_qs, _ids) AS m (q, id)
          WHERE NOT EXISTS (SELECT 1 FROM seams.seen_${before} b WHERE b.q = m.q AND b.id = m.id)
          ON CONFLICT DO NOTHING RETURNING s.id)
        SELECT coalesce(array_agg(id), '{}') INTO _new FROM added;
      END;`
}

/**
 * Remembers ids for five to ten minutes. \`_ids\` has no id twice. Answers those that were not remembered before; null: none was, which is
 * tried first, since an insert that looks for conflicts costs half as much again. O(n log n).
 */
const remember = `CREATE FUNCTION seams.remember(_qs int[], _ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
  DECLARE _new text[];
  BEGIN
    CASE floor(date_part('epoch', clock_timestamp()) / 300)::bigint % 3
    WHEN 0 THEN ${rememberIn(0)}
    WHEN 1 THEN ${rememberIn(1)}
    ELSE ${rememberIn(2)}
    END CASE;
    RETURN _new;
  END $$`

const forgetIn = (next: number) =>
  `IF EXISTS (SELECT 1 FROM seams.seen_${next}) THEN TRUNCATE seams.seen_${next}; END IF;`

/** Empties the table of ids that is filled next, unless somebody holds it for longer than a moment; drops dedupe keys whose time is over. */
const forget = `CREATE FUNCTION seams.forget() RETURNS void LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
  BEGIN
    DELETE FROM seams.dedupe WHERE (q, key) IN (
      SELECT q, key FROM seams.dedupe WHERE until <= clock_timestamp() ORDER BY until LIMIT 10000 FOR UPDATE SKIP LOCKED);
    CASE floor(date_part('epoch', clock_timestamp()) / 300)::bigint % 3
    WHEN 0 THEN ${forgetIn(1)}
    WHEN 1 THEN ${forgetIn(2)}
    ELSE ${forgetIn(0)}
    END CASE;
  EXCEPTION WHEN lock_not_available THEN NULL;
  END $$`

/** Refuses numbers of queues that are not there: the tables were made anew since a process learnt them. */
const known = `CREATE FUNCTION seams.known(_qs int[]) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE _q int;
  BEGIN
    FOREACH _q IN ARRAY _qs LOOP
      IF NOT EXISTS (SELECT 1 FROM seams.queue WHERE q = _q) THEN
        RAISE EXCEPTION 'queue number % is unknown', _q USING ERRCODE = 'SEQ01';
      END IF;
    END LOOP;
  END $$`

/**
 * Accepts plain messages, in order: due at once, no priority, no group, no time to live, no dedupe key, no id twice. \`_distinct\`: the
 * queues in \`_qs\`. Answers which ids were accepted (null: all) and the lowest number given. O(n log n).
 */
const publishFresh = `CREATE FUNCTION seams.publish_fresh(
    _distinct int[], _qs int[], _ids text[], _names text[], _heads text[], _payloads text[],
    OUT accepted text[], OUT low double precision) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    PERFORM seams.known(_distinct);
    accepted := seams.remember(_qs, _ids);
    IF accepted IS NULL THEN
      WITH added AS (
        INSERT INTO seams.fresh AS f (q, seq, due, id, name, head, payload)
        SELECT m.q, nextval('seams.message_number'), _t, m.id, m.name, m.head, m.payload
        FROM unnest(_qs, _ids, _names, _heads, _payloads) AS m (q, id, name, head, payload)
        RETURNING f.seq)
      SELECT min(seq) INTO low FROM added;
    ELSIF cardinality(accepted) > 0 THEN
      WITH added AS (
        INSERT INTO seams.fresh AS f (q, seq, due, id, name, head, payload)
        SELECT m.q, nextval('seams.message_number'), _t, m.id, m.name, m.head, m.payload
        FROM unnest(_qs, _ids, _names, _heads, _payloads) AS m (q, id, name, head, payload)
        WHERE m.id = ANY (accepted)
        RETURNING f.seq)
      SELECT min(seq) INTO low FROM added;
    END IF;
  END $$`

/**
 * Accepts one message with whatever options, and answers the id of the one that is there already, or null. Times are milliseconds: \`_delay\`
 * and \`_ttl\` from now, \`_at\` and \`_until\` since the epoch. \`_again\`: a dead letter that comes back. \`expired\`: it was dropped at once, or
 * the message that it replaced was.
 */
const publishOne = `CREATE FUNCTION seams.publish_one(
    _q int, _id text, _name text, _head text, _payload text, _rank double precision, _grp text, _delay double precision,
    _at double precision, _ttl double precision, _until double precision, _key text, _window double precision, _replace boolean,
    _again boolean, OUT there text, OUT expired int) LANGUAGE plpgsql AS $$
  DECLARE
    _t timestamptz := clock_timestamp();
    _seq bigint := nextval('seams.message_number');
    _before timestamptz := coalesce(seams.later(_t, _delay), seams.moment(_at));
    _expires timestamptz := coalesce(seams.later(_t, _ttl), seams.moment(_until));
    _due timestamptz := greatest(_t, _before);
    _first seams.dedupe;
  BEGIN
    expired := 0;
    IF NOT _again THEN
      IF _key IS NOT NULL THEN
        IF EXISTS (SELECT 1 FROM seams.seen_0 WHERE q = _q AND id = _id) OR EXISTS (SELECT 1 FROM seams.seen_1 WHERE q = _q AND id = _id)
          OR EXISTS (SELECT 1 FROM seams.seen_2 WHERE q = _q AND id = _id) THEN
          there := _id;
          RETURN;
        END IF;
        INSERT INTO seams.dedupe AS d (q, key, id, seq, until) VALUES (_q, _key, _id, _seq, seams.later(_t, _window))
          ON CONFLICT (q, key) DO UPDATE SET id = excluded.id, seq = excluded.seq, until = excluded.until WHERE d.until <= _t;
        SELECT * INTO _first FROM seams.dedupe WHERE q = _q AND key = _key;
        IF _first.seq <> _seq THEN
          there := _first.id;
          IF _replace THEN
            expired := seams.replace(_q, _first.seq, _first.id, _name, _head, _payload, _rank, _due, _before, _expires, _t);
          END IF;
          RETURN;
        END IF;
      END IF;
      IF cardinality(seams.remember(ARRAY[_q], ARRAY[_id])) = 0 THEN
        there := _id;
        RETURN;
      END IF;
    END IF;
    IF _expires <= _t THEN
      expired := 1;
      RETURN;
    END IF;
    INSERT INTO seams.message (seq, q, state, rank, due, enqueued, not_before, expires, grp, id, name, head, payload)
      VALUES (_seq, _q, CASE WHEN _due > _t THEN 1 WHEN _grp IS NULL THEN 0 ELSE 3 END, _rank, _due, _t, _before, _expires, _grp, _id,
        _name, _head, _payload);
    IF _grp IS NOT NULL AND _due <= _t THEN INSERT INTO seams.stirred VALUES (_q, _grp); END IF;
  END $$`

/** Gives the waiting message of a dedupe key another content and due time; its id, group and counts stay. Answers how many expired by it. */
const replace = `CREATE FUNCTION seams.replace(
    _q int, _seq bigint, _id text, _name text, _head text, _payload text, _rank double precision, _due timestamptz,
    _before timestamptz, _expires timestamptz, _t timestamptz) RETURNS int LANGUAGE plpgsql AS $$
  DECLARE _old seams.message;
  BEGIN
    SELECT * INTO _old FROM seams.message WHERE seq = _seq AND id = _id FOR UPDATE;
    IF NOT FOUND THEN RETURN 0; END IF;
    IF _old.grp IS NOT NULL THEN INSERT INTO seams.stirred VALUES (_q, _old.grp); END IF;
    IF _expires <= _t THEN
      DELETE FROM seams.message WHERE seq = _seq;
      RETURN 1;
    END IF;
    UPDATE seams.message SET name = _name, head = _head, payload = _payload, rank = _rank, due = _due, not_before = _before,
      expires = _expires, state = CASE WHEN _due > _t THEN 1 WHEN _old.grp IS NULL OR _old.held THEN 0 ELSE 3 END WHERE seq = _seq;
    RETURN 0;
  END $$`

/** Accepts messages with options, in order; arrays are the arguments of \`publish_one\`. \`there\`: the ids found, null for what was added. */
const publish = `CREATE FUNCTION seams.publish(
    _distinct int[], _qs int[], _ids text[], _names text[], _heads text[], _payloads text[], _ranks double precision[], _grps text[],
    _delays double precision[], _ats double precision[], _ttls double precision[], _untils double precision[], _keys text[],
    _windows double precision[], _replaces boolean[], _agains boolean[], _promote boolean,
    OUT there text[], OUT expired int[]) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _there text; _gone int; _q int;
  BEGIN
    PERFORM seams.known(_distinct);
    FOR i IN 1 .. cardinality(_ids) LOOP
      SELECT * INTO _there, _gone FROM seams.publish_one(_qs[i], _ids[i], _names[i], _heads[i], _payloads[i], _ranks[i], _grps[i],
        _delays[i], _ats[i], _ttls[i], _untils[i], _keys[i], _windows[i], _replaces[i], _agains[i]);
      there[i] := _there;
      expired[i] := _gone;
    END LOOP;
    IF _promote THEN
      FOREACH _q IN ARRAY _distinct LOOP PERFORM seams.promote(_q); END LOOP;
    END IF;
  END $$`

/**
 * Lets the lines of groups move on, of which something came or went: a line without a living head gets its next message as head, and a
 * head that nobody has seen yet gives way to one that was due before it. Locks lines in the order of their names.
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
 */
const tend = `CREATE FUNCTION seams.tend(_q int, _t timestamptz) RETURNS int LANGUAGE plpgsql AS $$
  DECLARE _leases bigint[]; _some int := 0; _lost boolean; _due boolean; _expired boolean; _stirred boolean;
  BEGIN
    SELECT EXISTS (SELECT 1 FROM seams.lease WHERE q = _q AND until <= _t),
      EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND state = 1 AND due <= _t),
      EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires <= _t),
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

/** Milliseconds until time makes something claimable; null: never. A head that expires lets its line move on. */
const soon = `CREATE FUNCTION seams.soon(_q int, _t timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
  DECLARE _next timestamptz; _lease timestamptz;
  BEGIN
    IF EXISTS (SELECT 1 FROM seams.stirred WHERE q = _q) THEN RETURN 10; END IF;
    SELECT greatest(until, ${restarted("span")}) INTO _lease FROM seams.lease
      WHERE q = _q ORDER BY until LIMIT 1;
    -- What is over and still there is locked by somebody.
    IF _lease <= _t THEN _lease := _t + interval '250 milliseconds'; END IF;
    _next := least(_lease,
      (SELECT min(due) FROM seams.message WHERE q = _q AND state = 1),
      (SELECT min(expires) FROM seams.message WHERE q = _q AND expires IS NOT NULL AND EXISTS (SELECT 1 FROM seams.line WHERE q = _q)));
    IF _next IS NULL THEN RETURN NULL; END IF;
    RETURN greatest(0, ceil(date_part('epoch', _next - _t) * 1000));
  END $$`

/**
 * Settles deliveries. Arrays name message, claim and id of each; \`_kinds\` (null: all acked) has a letter of each: a ack, x discard, r retry,
 * l release, d dead letter. Answers the places, from 1, of those whose claim held, and how many messages expired by it.
 */
const settle = `CREATE FUNCTION seams.settle(
    _t timestamptz, _seqs bigint[], _claims bigint[], _ids text[], _kinds text, _delays double precision[], _reasons text[],
    _errors text[], OUT settled int[], OUT expired int) LANGUAGE plpgsql AS $$
  BEGIN
    expired := 0;
    IF _kinds IS NULL THEN
      WITH gone AS (
        DELETE FROM seams.claimed c USING unnest(_seqs, _claims, _ids) WITH ORDINALITY AS s (seq, claim, id, place)
        WHERE c.seq = s.seq AND c.claim = s.claim AND c.id = s.id AND ${leased}
        RETURNING s.place, c.q, c.grp),
      noted AS (INSERT INTO seams.stirred SELECT q, grp FROM gone WHERE grp IS NOT NULL)
      SELECT array_agg(place) INTO settled FROM gone;
      RETURN;
    END IF;
    WITH gone AS (
      DELETE FROM seams.claimed c
      USING unnest(_seqs, _claims, _ids, string_to_array(_kinds, NULL), _delays, _reasons, _errors) WITH ORDINALITY
        AS s (seq, claim, id, kind, delay, reason, failure, place)
      WHERE c.seq = s.seq AND c.claim = s.claim AND c.id = s.id AND ${leased}
      RETURNING c.*, s.kind, s.delay, s.reason, s.failure, s.place),
    back AS (
      INSERT INTO seams.message (seq, q, state, held, rank, due, enqueued, not_before, expires, retries, deliveries, lost_started,
        lost_unstarted, grp, error, id, name, head, payload)
      SELECT seq, q, CASE WHEN delay > 0 THEN 1 ELSE 0 END, grp IS NOT NULL, rank,
        CASE WHEN delay > 0 THEN seams.later(_t, delay) WHEN kind = 'r' THEN _t ELSE due END, enqueued, not_before, expires,
        retries + (kind = 'r')::int, deliveries, lost_started, lost_unstarted, grp, coalesce(failure, error), id, name, head, payload
      FROM gone WHERE kind IN ('r', 'l') AND (expires IS NULL OR expires > _t)),
    buried AS (
      INSERT INTO seams.dead (q, rank, expires, enqueued, attempt, deliveries, died, grp, reason, error, id, name, head, payload)
      SELECT q, rank, expires, enqueued, 1 + retries + lost_started, deliveries, _t, grp, reason, coalesce(failure, error), id, name, head,
        payload
      FROM gone WHERE kind = 'd' ORDER BY place),
    noted AS (
      INSERT INTO seams.stirred SELECT q, grp FROM gone WHERE grp IS NOT NULL AND (kind IN ('a', 'x', 'd') OR expires <= _t))
    SELECT array_agg(place), count(*) FILTER (WHERE kind IN ('r', 'l') AND expires <= _t) INTO settled, expired FROM gone;
  END $$`

/**
 * A row of \`step\`. \`rest\` is null for a message that came fresh: rank, due, enqueued, not_before, expires (milliseconds), retries, deliveries,
 * lost_started, lost_unstarted. The last row has no \`seq\`: its \`rest\` is the claim's number, how many expired, and the milliseconds until time
 * brings something; \`settled\` are the places of what was settled.
 */
const stepRow = `seq double precision, due double precision, id text, name text, head text, payload text, grp text, rest double precision[],
    settled int[]`

/**
 * One round trip of a worker: settles what has ended, removes leases of which nothing is left (\`_over\`), brings the queue up to now, and
 * claims up to \`_max\` messages in the order of rank, due time and number. The first \`_start\`, not counting those that lost \`_solo\`
 * started claims, begin their handlers at once. Of fresh messages only those above \`_mark\` are looked at: dead rows lie below.
 *
 * The last row tells of it (places settled, expired, milliseconds until time brings something); the others are the messages claimed, in no
 * order. What a loss of power undoes of it is delivered again, so it does not wait for the disk. O(\`_max\` + settled) when nothing is to be
 * tended, whatever waits.
 */
const step = `CREATE FUNCTION seams.step(
    _q int, _seqs bigint[], _claims bigint[], _ids text[], _kinds text, _delays double precision[], _reasons text[], _errors text[],
    _over bigint[], _max int, _start int, _span double precision, _mark bigint, _solo int)
  RETURNS TABLE (${stepRow}) LANGUAGE plpgsql ${planned} AS $$
  #variable_conflict use_column
  DECLARE
    _t timestamptz := clock_timestamp();
    _claim bigint;
    _paused boolean;
    _settled int[];
    _gone int := 0;
    _found int := 0;
    _fresh bigint[];
    _early bigint[];
    _from bigint;
  BEGIN
    ${unsynced}
    SELECT k.paused INTO _paused FROM seams.queue k WHERE k.q = _q;
    IF NOT FOUND THEN PERFORM seams.known(ARRAY[_q]); END IF;
    IF cardinality(_seqs) > 0 THEN
      SELECT s.settled, s.expired INTO _settled, _gone FROM seams.settle(_t, _seqs, _claims, _ids, _kinds, _delays, _reasons, _errors) s;
      IF cardinality(_over) > 0 THEN
        DELETE FROM seams.lease l WHERE l.lease = ANY (_over);
      END IF;
    END IF;
    _gone := _gone + seams.tend(_q, _t);
    IF _max > 0 AND NOT _paused THEN
      _early := ARRAY(
        SELECT m.seq FROM seams.message m WHERE m.q = _q AND m.state = 0 AND (m.expires IS NULL OR m.expires > _t)
        ORDER BY m.rank, m.due, m.seq LIMIT _max FOR UPDATE SKIP LOCKED);
      _fresh := ARRAY(
        SELECT f.seq FROM seams.fresh f WHERE f.q = _q AND f.seq > _mark ORDER BY f.seq LIMIT _max FOR UPDATE SKIP LOCKED);
      _found := least(_max, cardinality(_early) + cardinality(_fresh));
      IF _found > 0 THEN
        _claim := nextval('seams.claim_number');
        INSERT INTO seams.lease VALUES (_claim, _q, seams.later(_t, _span), _span);
      END IF;
      IF cardinality(_early) = 0 AND _found > 0 THEN
        _from := coalesce(_fresh[least(_start, _found)], 0);
        RETURN QUERY WITH taken AS (
          DELETE FROM seams.fresh f WHERE f.q = _q AND f.seq = ANY (_fresh)
          RETURNING f.seq, f.due, f.id, f.name, f.head, f.payload),
        put AS (
          INSERT INTO seams.claimed (seq, q, claim, lease, started, rank, due, enqueued, retries, deliveries, lost_started, lost_unstarted,
            id, name, head, payload)
          SELECT t.seq, _q, _claim, _claim, t.seq <= _from, 0, t.due, t.due, 0, 1, 0, 0, t.id, t.name, t.head, t.payload FROM taken t)
        SELECT t.seq::double precision, seams.millis(t.due), t.id, t.name, t.head, t.payload, NULL::text, NULL::double precision[], NULL::int[]
        FROM taken t;
      ELSIF _found > 0 THEN
        RETURN QUERY WITH best AS MATERIALIZED (
          SELECT o.seq, o.lost < _solo AND count(*) FILTER (WHERE o.lost < _solo) OVER (ORDER BY o.rank, o.due, o.seq) <= _start AS started
          FROM (
            SELECT m.seq, m.rank, m.due, m.lost_started AS lost FROM seams.message m WHERE m.seq = ANY (_early)
            UNION ALL SELECT f.seq, 0, f.due, 0 FROM seams.fresh f WHERE f.q = _q AND f.seq = ANY (_fresh)
            ORDER BY 2, 3, 1 LIMIT _max) AS o),
        early AS (DELETE FROM seams.message m USING best b WHERE m.seq = b.seq RETURNING m.*, b.started),
        taken AS (DELETE FROM seams.fresh f USING best b WHERE f.q = _q AND f.seq = b.seq RETURNING f.*, b.started),
        put AS (
          INSERT INTO seams.claimed (seq, q, claim, lease, started, rank, due, enqueued, not_before, expires, retries, deliveries,
            lost_started, lost_unstarted, grp, error, id, name, head, payload)
          SELECT e.seq, e.q, _claim, _claim, e.started, e.rank, e.due, e.enqueued, e.not_before, e.expires, e.retries, e.deliveries + 1,
            e.lost_started, e.lost_unstarted, e.grp, e.error, e.id, e.name, e.head, e.payload FROM early e
          UNION ALL SELECT f.seq, f.q, _claim, _claim, f.started, 0, f.due, f.due, NULL, NULL, 0, 1, 0, 0, NULL, NULL, f.id, f.name, f.head,
            f.payload FROM taken f
          RETURNING *)
        SELECT p.seq::double precision, seams.millis(p.due), p.id, p.name, p.head, p.payload, p.grp,
          ARRAY[p.rank, seams.millis(p.due), seams.millis(p.enqueued), seams.millis(p.not_before), seams.millis(p.expires), p.retries,
            p.deliveries, p.lost_started, p.lost_unstarted], NULL::int[]
        FROM put p;
      END IF;
    END IF;
    settled := _settled;
    rest := ARRAY[_claim, _gone, CASE WHEN _found < _max AND NOT _paused THEN seams.soon(_q, clock_timestamp()) END];
    RETURN NEXT;
  END $$`

/** Marks claims whose handlers start now. Answers the places, from 1, of those that are held. */
const start = `CREATE FUNCTION seams.start(_seqs bigint[], _claims bigint[]) RETURNS int[]
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _held int[];
  BEGIN
    ${unsynced}
    WITH marked AS (
      UPDATE seams.claimed c SET started = true FROM unnest(_seqs, _claims) WITH ORDINALITY AS s (seq, claim, place)
      WHERE c.seq = s.seq AND c.claim = s.claim AND ${leased} RETURNING s.place)
    SELECT array_agg(place) INTO _held FROM marked;
    RETURN _held;
  END $$`

/**
 * The heartbeat: gives the leases of these messages their span again. \`_apart\` are messages under the same leases that shall not be
 * extended: each gets a lease of its own, with the time that is left. Answers the places, from 1, of those that are held.
 */
const extend = `CREATE FUNCTION seams.extend(_seqs bigint[], _claims bigint[], _span double precision, _apart bigint[]) RETURNS int[]
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _held int[]; _seq bigint; _own bigint;
  BEGIN
    ${unsynced}
    FOREACH _seq IN ARRAY _apart LOOP
      INSERT INTO seams.lease SELECT nextval('seams.claim_number'), l.q, l.until, l.span
        FROM seams.claimed c JOIN seams.lease l ON l.lease = c.lease WHERE c.seq = _seq RETURNING lease INTO _own;
      UPDATE seams.claimed SET lease = _own WHERE seq = _seq;
    END LOOP;
    WITH named AS MATERIALIZED (
      SELECT c.lease, s.place FROM unnest(_seqs, _claims) WITH ORDINALITY AS s (seq, claim, place)
      JOIN seams.claimed c ON c.seq = s.seq AND c.claim = s.claim),
    longer AS (
      UPDATE seams.lease SET until = seams.later(_t, _span), span = _span
      WHERE lease = ANY (ARRAY(SELECT DISTINCT lease FROM named)) AND (until > _t OR ${restarted("span")} > _t) RETURNING lease)
    SELECT array_agg(place) INTO _held FROM named JOIN longer USING (lease);
    RETURN _held;
  END $$`

/** Acks a message inside the caller's transaction; false: its claim is lost. */
const ack = `CREATE FUNCTION seams.ack(_seq bigint, _claim bigint, _id text) RETURNS boolean LANGUAGE plpgsql ${planned} AS $$
  BEGIN
    RETURN (SELECT settled IS NOT NULL
      FROM seams.settle(clock_timestamp(), ARRAY[_seq], ARRAY[_claim], ARRAY[_id], NULL, NULL, NULL, NULL));
  END $$`

/** Removes up to \`_max\` messages that nobody has claimed. Answers how many, and how many had expired before. */
const purge = `CREATE FUNCTION seams.purge(_q int, _max int, OUT removed int, OUT expired int) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _some int;
  BEGIN
    PERFORM seams.known(ARRAY[_q]);
    expired := seams.tend(_q, clock_timestamp());
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
    PERFORM seams.promote(_q);
  END $$`

/** Counts a queue, when it is brought up to now. O(messages), by index. \`more\`: there is more to bring up. */
const stats = `CREATE FUNCTION seams.stats(
    _q int, OUT ready double precision, OUT delayed double precision, OUT claimed double precision, OUT dead double precision,
    OUT oldest double precision, OUT paused boolean, OUT expired int, OUT more boolean) LANGUAGE plpgsql AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    SELECT k.paused INTO paused FROM seams.queue k WHERE q = _q;
    IF NOT FOUND THEN PERFORM seams.known(ARRAY[_q]); END IF;
    expired := seams.tend(_q, _t);
    more := EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND state = 1 AND due <= _t)
      OR EXISTS (SELECT 1 FROM seams.message WHERE q = _q AND expires IS NOT NULL AND expires <= _t);
    SELECT (SELECT count(*) FROM seams.fresh WHERE q = _q) + (SELECT count(*) FROM seams.message WHERE q = _q AND state = 0)
        + (SELECT count(*) FROM seams.message WHERE q = _q AND state = 3),
      (SELECT count(*) FROM seams.message WHERE q = _q AND state = 1),
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
const takeDead = `CREATE FUNCTION seams.take_dead(_q int, _ids text[], _upto bigint, _max int, _back boolean) RETURNS int
  LANGUAGE plpgsql ${planned} AS $$
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
    IF _back THEN PERFORM seams.promote(_q); END IF;
    RETURN _some;
  END $$`

/** Drops dead letters beyond a number, and older than an age in milliseconds; at most a thousand. Answers how many. */
const forgetDead = `CREATE FUNCTION seams.forget_dead(_q int, _count double precision, _age double precision) RETURNS int
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _some int; _beyond bigint;
  BEGIN
    IF _count IS NOT NULL THEN
      _beyond := (SELECT n FROM seams.dead WHERE q = _q ORDER BY n DESC OFFSET _count::bigint LIMIT 1);
    END IF;
    WITH gone AS (
      DELETE FROM seams.dead WHERE n = ANY (ARRAY(
        SELECT n FROM seams.dead WHERE q = _q AND (n <= _beyond OR died <= clock_timestamp() - _age * interval '1 millisecond')
        ORDER BY n LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING 1)
    SELECT count(*) INTO _some FROM gone;
    RETURN _some;
  END $$`

/** In an order in which each is there before it is called. */
export const queueFunctions: ReadonlyArray<string> = [
  millis,
  later,
  moment,
  remember,
  forget,
  known,
  publishFresh,
  replace,
  publishOne,
  promote,
  publish,
  tend,
  soon,
  settle,
  step,
  start,
  extend,
  ack,
  purge,
  stats,
  takeDead,
  forgetDead
]
