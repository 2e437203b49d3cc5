/** Accepting messages. */
import { numbersInDraw } from "./queueTables.ts"
import { byWindow, idWindow, planned } from "./sharedSql.ts"

/**
 * Seconds at the begin of a window in which ids are also inserted into the window before, whose inserts may be under way: longer than
 * a call waits for its answer and is sent again.
 */
const turn = 15

/** The ids of two windows of five minutes are looked at: this one's, and the one before. Rows of older ones may lie in the same tables. */
const rememberIn = (current: number) => {
  const before = (current + 2) % 3
  return `BEGIN
        IF _turning THEN
          INSERT INTO seams.seen_${before} (q, w, id) SELECT unnest(_qs), _w - 1, unnest(_ids);
        -- Ids that grow with time, as those made by the library, all lie behind what the window before has: one look tells, also of
        -- one that has none.
        ELSIF coalesce(_least <= (
            SELECT max(b.id) FROM unnest(_distinct) AS d (q)
            CROSS JOIN LATERAL (SELECT id FROM seams.seen_${before} WHERE q = d.q AND w = _w - 1 ORDER BY id DESC LIMIT 1) AS b), false)
          AND EXISTS (SELECT 1 FROM unnest(_qs, _ids) AS m (q, id)
            JOIN seams.seen_${before} b ON b.q = m.q AND b.w = _w - 1 AND b.id = m.id) THEN
          RAISE unique_violation;
        END IF;
        INSERT INTO seams.seen_${current} (q, w, id) SELECT unnest(_qs), _w, unnest(_ids);
      EXCEPTION WHEN unique_violation THEN
        IF _turning THEN
          WITH first AS (
            INSERT INTO seams.seen_${before} AS s (q, w, id) SELECT m.q, _w - 1, m.id FROM unnest(_qs, _ids) AS m (q, id)
            ON CONFLICT DO NOTHING RETURNING s.q, s.id),
          added AS (
            INSERT INTO seams.seen_${current} AS s (q, w, id) SELECT f.q, _w, f.id FROM first AS f
            ON CONFLICT DO NOTHING RETURNING s.id)
          SELECT coalesce(array_agg(id), '{}') INTO _new FROM added;
        ELSE
          WITH added AS (
            INSERT INTO seams.seen_${current} AS s (q, w, id)
            SELECT m.q, _w, m.id FROM unnest(_qs, _ids) AS m (q, id)
            WHERE NOT EXISTS (SELECT 1 FROM seams.seen_${before} b WHERE b.q = m.q AND b.w = _w - 1 AND b.id = m.id)
            ON CONFLICT DO NOTHING RETURNING s.id)
          SELECT coalesce(array_agg(id), '{}') INTO _new FROM added;
        END IF;
      END;`
}

/**
 * Remembers ids for five to ten minutes from \`_t\`, which is now. \`_ids\` has no id twice; \`_distinct\`: the queues in \`_qs\`. Answers
 * those that were not remembered before; null: none was, which is tried first, since an insert that looks for conflicts costs half as
 * much again. O(n log n).
 */
const remember = `CREATE FUNCTION seams.remember(_distinct int[], _qs int[], _ids text[], _t timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
  DECLARE
    _new text[]; _least text COLLATE "C" := (SELECT min(m.id COLLATE "C") FROM (SELECT unnest(_ids) AS id) AS m);
    _w int := ${idWindow("_t")}; _turning boolean := ${idWindow(`_t - interval '${turn} seconds'`)} < _w;
  BEGIN
    ${byWindow(rememberIn)}
    RETURN _new;
  END $$`

const rememberedIn = (current: number) =>
  `RETURN EXISTS (SELECT 1 FROM seams.seen_${current} WHERE q = _q AND w = _w AND id = _id)
      OR EXISTS (SELECT 1 FROM seams.seen_${(current + 2) % 3} WHERE q = _q AND w = _w - 1 AND id = _id);`

/** Whether an id is remembered. Leaves the third table alone, so that it can be emptied while the transaction is open. O(log n). */
const remembered = `CREATE FUNCTION seams.remembered(_q int, _id text) RETURNS boolean LANGUAGE plpgsql AS $$
  DECLARE _w int := ${idWindow("clock_timestamp()")};
  BEGIN
    ${byWindow(rememberedIn)}
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

/** A call with the messages of many callers gives way after 100 ms (55P03): one may wait for a key or an id of an open transaction. */
const hasty = (patient: string) => `IF NOT ${patient} THEN PERFORM set_config('lock_timeout', '100', true); END IF;`

/**
 * Accepts plain messages, in order: due at once, no priority, no group, no time to live, no dedupe key, no id twice. \`_distinct\`: the
 * queues in \`_qs\`. Of \`_qs\`, \`_names\` and \`_heads\` one alone stands for all. Answers which ids were accepted (null: all) and a number
 * that none of theirs is below. O(n log n).
 *
 * Arrays are unnested side by side in the list of columns: as one call in \`FROM\` they would be written down first.
 */
const publishFresh = `CREATE FUNCTION seams.publish_fresh(
    _distinct int[], _qs int[], _ids text[], _names text[], _heads text[], _payloads text[], _patient boolean,
    OUT accepted text[], OUT low double precision) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _all int[] := ARRAY[cardinality(_ids)]; _draws bigint[];
  BEGIN
    ${hasty("_patient")}
    PERFORM seams.known(_distinct);
    IF cardinality(_qs) < _all[1] THEN _qs := array_fill(_qs[1], _all); END IF;
    IF cardinality(_names) < _all[1] THEN _names := array_fill(_names[1], _all); END IF;
    IF cardinality(_heads) < _all[1] THEN _heads := array_fill(_heads[1], _all); END IF;
    accepted := seams.remember(_distinct, _qs, _ids, _t);
    IF cardinality(accepted) = 0 THEN RETURN; END IF;
    _draws := ARRAY(SELECT nextval('seams.message_number') FROM generate_series(0, (_all[1] - 1) / ${numbersInDraw}));
    low := _draws[1];
    INSERT INTO seams.fresh (q, seq, due, id, name, head, payload)
      SELECT m.q, _draws[1 + m.place / ${numbersInDraw}] + m.place % ${numbersInDraw}, _t, m.id, m.name, m.head, m.payload
      FROM (SELECT unnest(_qs) AS q, generate_subscripts(_ids, 1) - 1 AS place, unnest(_ids) AS id, unnest(_names) AS name,
        unnest(_heads) AS head, unnest(_payloads) AS payload) AS m
      WHERE accepted IS NULL OR m.id = ANY (accepted);
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
        IF seams.remembered(_q, _id) THEN
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
      -- The key may have been waited for.
      IF cardinality(seams.remember(ARRAY[_q], ARRAY[_q], ARRAY[_id], clock_timestamp())) = 0 THEN
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
    _windows double precision[], _replaces boolean[], _agains boolean[], _promote boolean, _patient boolean,
    OUT there text[], OUT expired int[]) LANGUAGE plpgsql ${planned} AS $$
  DECLARE _there text; _gone int; _q int;
  BEGIN
    ${hasty("_patient")}
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

export const queuePublish: ReadonlyArray<string> = [
  remember,
  remembered,
  known,
  replace,
  publishOne,
  publishFresh,
  publish
]
