/** What workers do: settle and claim, start, extend, ack. */
import { leased, planned, restarted, unsynced } from "./sharedSql.ts"

/** Most messages have the lease of their claim, and a settle has many of one claim: those leases are looked at once. */
const live = `(c.lease = ANY (_live) OR ${leased})`

/**
 * Settles deliveries. Arrays name message, claim and id of each; \`_kinds\` (null: all acked) has a letter of each: a ack, x discard, r retry,
 * l release, d dead letter. Answers the places, from 1, of those whose claim held, and how many messages expired by it. \`_careful\`: passes
 * by those that somebody has locked, as a transaction that has acked one and has not ended; they are not answered, and left to their leases.
 */
const settle = `CREATE FUNCTION seams.settle(
    _t timestamptz, _seqs bigint[], _claims bigint[], _ids text[], _kinds text, _delays double precision[], _reasons text[],
    _errors text[], _careful boolean, OUT settled int[], OUT expired int) LANGUAGE plpgsql AS $$
  DECLARE _live bigint[]; _free bigint[];
  BEGIN
    expired := 0;
    IF _careful THEN
      _free := ARRAY(SELECT seq FROM seams.claimed WHERE seq = ANY (_seqs) FOR UPDATE SKIP LOCKED);
    END IF;
    _live := ARRAY(SELECT lease FROM seams.lease WHERE lease = ANY (_claims) AND (until > _t OR ${restarted("span")} > _t));
    IF _kinds IS NULL THEN
      WITH gone AS (
        DELETE FROM seams.claimed c USING unnest(_seqs, _claims, _ids) WITH ORDINALITY AS s (seq, claim, id, place)
        WHERE c.seq = s.seq AND c.claim = s.claim AND c.id = s.id AND (_free IS NULL OR c.seq = ANY (_free)) AND ${live}
        RETURNING s.place, c.q, c.grp),
      noted AS (INSERT INTO seams.stirred SELECT q, grp FROM gone WHERE grp IS NOT NULL)
      SELECT array_agg(place) INTO settled FROM gone;
      RETURN;
    END IF;
    WITH gone AS (
      DELETE FROM seams.claimed c
      USING unnest(_seqs, _claims, _ids, string_to_array(_kinds, NULL), _delays, _reasons, _errors) WITH ORDINALITY
        AS s (seq, claim, id, kind, delay, reason, failure, place)
      WHERE c.seq = s.seq AND c.claim = s.claim AND c.id = s.id AND (_free IS NULL OR c.seq = ANY (_free)) AND ${live}
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
 * A row of \`step\`. \`rest\` is null for a message that came fresh, when all did: rank, due in microseconds, enqueued, not_before, expires (milliseconds), retries, deliveries,
 * lost_started, lost_unstarted. The last row has no \`seq\`: its \`rest\` is the claim's number, how many expired, and the milliseconds until time
 * brings something; \`settled\` are the places of what was settled.
 */
const stepRow = `seq double precision, due double precision, id text, name text, head text, payload text, grp text, rest double precision[],
    settled int[]`

/**
 * One round trip of a worker: settles what has ended, removes leases of which nothing is left (\`_over\`), brings the queue up to now, and
 * claims up to \`_max\` messages in the order of rank, due time and number. The first \`_start\`, not counting those that lost \`_solo\`
 * started claims, begin their handlers at once. Of fresh messages only those above \`_mark\` are looked at: dead rows lie below; \`_all\`: see
 * \`tend\`. Waits a second for a lock and fails with 55P03 then; \`_careful\`: see \`settle\`.
 *
 * The last row tells of it (places settled, expired, milliseconds until time brings something); the others are the messages claimed, in no
 * order. What a loss of power undoes of it is delivered again, so it does not wait for the disk. O(\`_max\` + settled) when nothing is to be
 * tended, whatever waits.
 */
const step = `CREATE FUNCTION seams.step(
    _q int, _seqs bigint[], _claims bigint[], _ids text[], _kinds text, _delays double precision[], _reasons text[], _errors text[],
    _over bigint[], _max int, _start int, _span double precision, _mark bigint, _solo int, _all boolean, _careful boolean)
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
    _places tid[];
    _early bigint[];
    _from bigint;
  BEGIN
    ${unsynced}
    PERFORM set_config('lock_timeout', '1000', true);
    SELECT k.paused INTO _paused FROM seams.queue k WHERE k.q = _q;
    IF NOT FOUND THEN PERFORM seams.known(ARRAY[_q]); END IF;
    IF cardinality(_seqs) > 0 THEN
      SELECT s.settled, s.expired INTO _settled, _gone
        FROM seams.settle(_t, _seqs, _claims, _ids, _kinds, _delays, _reasons, _errors, _careful) s;
    END IF;
    -- Of a claim that was lost something is left, which only its lease leads to.
    IF cardinality(_over) > 0 AND coalesce(cardinality(_settled), 0) = cardinality(_seqs) THEN
      DELETE FROM seams.lease l WHERE l.lease = ANY (_over);
    END IF;
    _gone := _gone + seams.tend(_q, _t, _all);
    IF _max > 0 AND NOT _paused THEN
      _early := ARRAY(
        SELECT m.seq FROM seams.message m WHERE m.q = _q AND m.state = 0 AND (m.expires IS NULL OR m.expires > _t)
        ORDER BY m.rank, m.due, m.seq LIMIT _max FOR UPDATE SKIP LOCKED);
      -- Never updated, and locked now: they stay in their places.
      SELECT coalesce(array_agg(o.seq), '{}'), array_agg(o.place) INTO _fresh, _places FROM (
        SELECT f.seq, f.ctid AS place FROM seams.fresh f WHERE f.q = _q AND f.seq > _mark ORDER BY f.seq LIMIT _max
        FOR UPDATE SKIP LOCKED) AS o;
      _found := least(_max, cardinality(_early) + cardinality(_fresh));
      IF _found > 0 THEN
        _claim := nextval('seams.claim_number');
        INSERT INTO seams.lease VALUES (_claim, _q, seams.later(_t, _span), _span);
      END IF;
      IF cardinality(_early) = 0 AND _found > 0 THEN
        _from := coalesce(_fresh[least(_start, _found)], 0);
        RETURN QUERY WITH taken AS (
          DELETE FROM seams.fresh f WHERE f.ctid = ANY (_places)
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
          ARRAY[p.rank, round(date_part('epoch', p.due) * 1000000), seams.millis(p.enqueued), seams.millis(p.not_before), seams.millis(p.expires), p.retries,
            p.deliveries, p.lost_started, p.lost_unstarted], NULL::int[]
        FROM put p;
      END IF;
    END IF;
    settled := _settled;
    rest := ARRAY[_claim, _gone, CASE WHEN _found < _max AND NOT _paused THEN seams.soon(_q, clock_timestamp(), _all) END];
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
      FROM seams.settle(clock_timestamp(), ARRAY[_seq], ARRAY[_claim], ARRAY[_id], NULL, NULL, NULL, NULL, false));
  END $$`

export const queueClaims: ReadonlyArray<string> = [settle, step, start, extend, ack]
