/**
 * Commits. A commit locks its keys in the order of their bytes, so that two commits never wait for each other in a circle, and takes its
 * number only then. In READ COMMITTED every statement of a function sees what was committed before it, so what is read under the locks is
 * current; in the stricter levels a lock on a row that changed since the snapshot fails with 40001.
 *
 * A refusal (a check that does not hold, an overflow) is an answer and no exception: an exception would end the program's transaction.
 */
import { deadline, live, ownXid, planned } from "./kvShared.ts"

/** How long a row that was only there to be locked is left for the next who locks it. */
const tombstoneLife = `interval '10 minutes'`

/**
 * Adds a commit to the log. Numbers, keys and operations as in the table; the id must be new: one that is fenced is refused with SEK01,
 * which undoes the commit. O(keys).
 */
export const log: string = `CREATE FUNCTION seams.kv_log_add(_n bigint, _cid text, _keys bytea[], _ops int[], _channel text) RETURNS void
  LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO seams.kv_log (n, xid, cid, floor, keys, ops)
      VALUES (_n, ${ownXid}, _cid, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, _keys, _ops)
      ON CONFLICT (cid) DO NOTHING;
    IF NOT FOUND THEN RAISE EXCEPTION 'the commit % is fenced', _cid USING ERRCODE = 'SEK01'; END IF;
    IF _channel IS NOT NULL THEN PERFORM pg_notify(_channel, 'kv'); END IF;
  END $$`

/**
 * Commits one entry without checks. One of \`_json\`, \`_bytes\` and \`_counter\` is given; \`_ttl\` in milliseconds or null; \`_channel\`: who
 * is told at the commit, or null. Answers the commit's number; null when somebody would have to be waited for and \`_wait\` forbids it.
 * O(log entries).
 */
export const put: string = `CREATE FUNCTION seams.kv_put(
    _cid text, _k bytea, _json text, _bytes bytea, _counter bigint, _ttl double precision, _channel text, _wait boolean) RETURNS bigint
  LANGUAGE plpgsql AS $$
  DECLARE _n bigint;
  BEGIN
    IF NOT _wait THEN
      PERFORM 1 FROM seams.kv WHERE k = _k FOR UPDATE SKIP LOCKED;
      IF NOT FOUND AND EXISTS (SELECT 1 FROM seams.kv WHERE k = _k) THEN RETURN NULL; END IF;
    END IF;
    -- The row is locked before the number for it is taken. One that is new has none yet.
    INSERT INTO seams.kv AS e (k, n, cid, doc, bytes, counter, expires) VALUES (_k, 0, _cid, _json, _bytes, _counter, ${deadline("_ttl")})
      ON CONFLICT (k) DO UPDATE SET n = nextval('seams.kv_stamp'), cid = _cid, doc = _json, bytes = _bytes, counter = _counter,
        expires = ${deadline("_ttl")}
      RETURNING e.n INTO _n;
    IF _n = 0 THEN
      _n := nextval('seams.kv_stamp');
      UPDATE seams.kv SET n = _n WHERE k = _k;
    END IF;
    PERFORM seams.kv_log_add(_n, _cid, ARRAY[_k], '{1}', _channel);
    RETURN _n;
  END $$`

/** \`kv_put\` as one commit, which waits. */
export const set: string = `CREATE FUNCTION seams.kv_set(
    _cid text, _k bytea, _json text, _bytes bytea, _counter bigint, _ttl double precision, _channel text) RETURNS bigint
  LANGUAGE plpgsql ${planned} AS $$
  BEGIN
    RETURN seams.kv_put(_cid, _k, _json, _bytes, _counter, _ttl, _channel, true);
  END $$`

/**
 * Locks the keys of a commit, which come in the order of their bytes. \`_locks\`: 0 keeps a key as it is (checked), 1 takes it (written), 2
 * takes it when it is there (deleted). Answers the keys for which a row had to be made; null when somebody would have to be waited for
 * and \`_wait\` forbids it. O(keys).
 */
export const lock: string = `CREATE FUNCTION seams.kv_lock(_keys bytea[], _locks int[], _wait boolean) RETURNS bytea[] LANGUAGE plpgsql AS $$
  DECLARE _k bytea; _i int := 0; _made bytea[] := '{}';
  BEGIN
    FOREACH _k IN ARRAY _keys LOOP
      _i := _i + 1;
      LOOP
        IF NOT _wait THEN
          IF _locks[_i] = 0 THEN
            PERFORM 1 FROM seams.kv WHERE k = _k FOR SHARE SKIP LOCKED;
          ELSE
            PERFORM 1 FROM seams.kv WHERE k = _k FOR UPDATE SKIP LOCKED;
          END IF;
        ELSIF _locks[_i] = 0 THEN
          PERFORM 1 FROM seams.kv WHERE k = _k FOR SHARE;
        ELSE
          PERFORM 1 FROM seams.kv WHERE k = _k FOR UPDATE;
        END IF;
        EXIT WHEN FOUND;
        IF NOT _wait AND EXISTS (SELECT 1 FROM seams.kv WHERE k = _k) THEN
          IF cardinality(_made) > 0 THEN DELETE FROM seams.kv WHERE k = ANY (_made); END IF;
          RETURN NULL;
        END IF;
        EXIT WHEN _locks[_i] = 2;
        -- Who makes the same row at this moment is waited for here; then it is there to be locked, or gone again.
        INSERT INTO seams.kv (k, n, cid, expires) VALUES (_k, 0, '', clock_timestamp() + ${tombstoneLife}) ON CONFLICT (k) DO NOTHING;
        IF FOUND THEN
          _made := _made || _k;
          EXIT;
        END IF;
      END LOOP;
    END LOOP;
    RETURN _made;
  END $$`

/**
 * Which checks do not hold, as places from 0; null when all do. A check names a key and the two halves of the versionstamp that it must
 * have, or a null number for a key that must not be there. O(checks).
 */
export const failing: string = `CREATE FUNCTION seams.kv_failing(_keys bytea[], _ns bigint[], _cids text[]) RETURNS int[] LANGUAGE plpgsql AS $$
  DECLARE _t timestamptz := clock_timestamp(); _failed int[];
  BEGIN
    SELECT array_agg(c.i::int - 1 ORDER BY c.i) INTO _failed
      FROM unnest(_keys, _ns, _cids) WITH ORDINALITY AS c (k, n, cid, i)
      LEFT JOIN seams.kv e ON e.k = c.k AND ${live("_t")}
      WHERE CASE WHEN c.n IS NULL THEN e.k IS NOT NULL ELSE e.k IS NULL OR e.n <> c.n OR e.cid <> c.cid END;
    RETURN _failed;
  END $$`

/**
 * Commits whatever there is, or nothing. \`_keys\` are all keys in the order of their bytes, \`_locks\` as in \`kv_lock\`; of each key
 * \`_finals\` says what becomes of it: 0 the value in the arrays at its place, 1 it is deleted, 2 the same after this commit wrote it, 3 the
 * counter that the steps give, 4 nothing. \`_step_at\` and the arrays beside it are the counter steps, in order, that depend on what is
 * stored: place of the key from 1, operation (0 sum, 1 min, 2 max), operand, time to live of a counter that it makes. \`_doomed\`: it fails
 * in any case, once checks and steps have gone well. Checks as in \`kv_failing\`.
 *
 * \`what\`: C committed with \`number\`; F the checks \`places\` do not hold; N the step \`place\` (from 0) met a value of another kind, O it
 * leaves the range of counters, with \`detail\`; D doomed; W somebody would have to be waited for and \`_wait\` forbids it. O(keys log entries).
 */
export const apply: string = `CREATE FUNCTION seams.kv_apply(
    _cid text, _keys bytea[], _locks int[], _finals int[], _jsons text[], _bytes bytea[], _counters bigint[], _ttls double precision[],
    _check_keys bytea[], _check_ns bigint[], _check_cids text[],
    _step_at int[], _step_ops int[], _operands bigint[], _step_ttls double precision[], _doomed boolean, _channel text, _wait boolean,
    OUT what text, OUT number bigint, OUT places int[], OUT place int, OUT detail text)
  LANGUAGE plpgsql AS $$
  DECLARE
    _made bytea[]; _gone bytea[] := '{}'; _gone_ops int[] := '{}'; _at int; _now bigint[]; _until timestamptz[]; _begun boolean[];
    _row record; _log_keys bytea[]; _log_ops int[];
  BEGIN
    -- Before anything is locked: what does not hold now costs nobody a wait, and the disk nothing.
    IF cardinality(_check_keys) > 0 THEN
      places := seams.kv_failing(_check_keys, _check_ns, _check_cids);
      IF places IS NOT NULL THEN what := 'F'; RETURN; END IF;
    END IF;
    _made := seams.kv_lock(_keys, _locks, _wait);
    IF _made IS NULL THEN what := 'W'; RETURN; END IF;
    IF cardinality(_check_keys) > 0 THEN
      places := seams.kv_failing(_check_keys, _check_ns, _check_cids);
      IF places IS NOT NULL THEN what := 'F'; END IF;
    END IF;
    IF what IS NULL AND cardinality(_step_at) > 0 THEN
      -- As long as the keys: what is assigned to an empty array would be its first element.
      _now := array_fill(NULL::bigint, ARRAY[cardinality(_keys)]);
      _until := array_fill(NULL::timestamptz, ARRAY[cardinality(_keys)]);
      FOR _i IN 1 .. cardinality(_step_at) LOOP
        _at := _step_at[_i];
        IF _begun[_at] IS NULL THEN
          _begun[_at] := true;
          SELECT e.counter, e.expires, CASE WHEN e.doc IS NOT NULL THEN 'a JSON value' WHEN e.bytes IS NOT NULL THEN 'bytes' END AS other
            INTO _row FROM seams.kv e WHERE e.k = _keys[_at] AND ${live("clock_timestamp()")};
          IF _row.other IS NOT NULL THEN
            what := 'N'; place := _i - 1; detail := _row.other;
            EXIT;
          END IF;
          _now[_at] := _row.counter;
          _until[_at] := _row.expires;
        END IF;
        IF _now[_at] IS NULL THEN
          _now[_at] := _operands[_i];
          _until[_at] := ${deadline("_step_ttls[_i]")};
        ELSIF _step_ops[_i] = 1 THEN
          _now[_at] := least(_now[_at], _operands[_i]);
        ELSIF _step_ops[_i] = 2 THEN
          _now[_at] := greatest(_now[_at], _operands[_i]);
        ELSIF _operands[_i] > 9223372036854775807 - _now[_at] THEN
          what := 'O'; place := _i - 1; detail := _now[_at]::text;
          EXIT;
        ELSE
          _now[_at] := _now[_at] + _operands[_i];
        END IF;
      END LOOP;
    END IF;
    IF what IS NULL AND _doomed THEN what := 'D'; END IF;
    IF what IS NOT NULL THEN
      IF cardinality(_made) > 0 THEN DELETE FROM seams.kv WHERE k = ANY (_made); END IF;
      RETURN;
    END IF;
    -- Before the number is taken: a key that was missing when it was to be locked may be there by now, and is locked here.
    IF 1 = ANY (_finals) OR 2 = ANY (_finals) THEN
      WITH gone AS (
        DELETE FROM seams.kv e USING unnest(_keys, _finals) AS f (k, final) WHERE f.final IN (1, 2) AND e.k = f.k
        -- An expiry that nobody swept yet becomes part of this commit, so that watchers hear of it once and by its name.
        RETURNING e.k, CASE WHEN f.final = 2 OR (${live("clock_timestamp()")}) THEN 2
          WHEN e.doc IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL THEN 3 ELSE 0 END AS op)
      SELECT coalesce(array_agg(k), '{}'), coalesce(array_agg(op), '{}') INTO _gone, _gone_ops FROM gone WHERE op > 0;
    END IF;
    number := nextval('seams.kv_stamp');
    WITH put AS (
      UPDATE seams.kv e SET n = number, cid = _cid, doc = f.doc, bytes = f.bytes,
        counter = CASE f.final WHEN 3 THEN f.now ELSE f.counter END,
        expires = CASE f.final WHEN 3 THEN f.until ELSE ${deadline("f.ttl")} END
      FROM unnest(_keys, _finals, _jsons, _bytes, _counters, _ttls, _now, _until)
        AS f (k, final, doc, bytes, counter, ttl, now, until)
      WHERE f.final IN (0, 3) AND e.k = f.k RETURNING e.k)
    SELECT coalesce(array_agg(k), '{}') || _gone, coalesce(array_agg(1), '{}') || _gone_ops INTO _log_keys, _log_ops FROM put;
    PERFORM seams.kv_log_add(number, _cid, _log_keys, _log_ops, _channel);
    what := 'C';
  END $$`

/** \`kv_apply\` as one commit, which waits. */
export const commit: string = `CREATE FUNCTION seams.kv_commit(
    _cid text, _keys bytea[], _locks int[], _finals int[], _jsons text[], _bytes bytea[], _counters bigint[], _ttls double precision[],
    _check_keys bytea[], _check_ns bigint[], _check_cids text[],
    _step_at int[], _step_ops int[], _operands bigint[], _step_ttls double precision[], _doomed boolean, _channel text,
    OUT what text, OUT number bigint, OUT places int[], OUT place int, OUT detail text)
  LANGUAGE plpgsql ${planned} AS $$
  BEGIN
    SELECT * INTO what, number, places, place, detail FROM seams.kv_apply(_cid, _keys, _locks, _finals, _jsons, _bytes, _counters, _ttls,
      _check_keys, _check_ns, _check_cids, _step_at, _step_ops, _operands, _step_ttls, _doomed, _channel, true);
  END $$`

/**
 * Several commits, one after the other in one transaction, each of which applies or not by itself: the arguments of \`kv_apply\` one behind
 * the other, and where those of each end. A commit that would have to wait for somebody is left out, with W. Only of a key that somebody
 * is making at this moment nothing can be known without waiting: that fails the group after a moment, with 55P03.
 */
export const group: string = `CREATE FUNCTION seams.kv_group(
    _cids text[], _key_ends int[], _keys bytea[], _locks int[], _finals int[], _jsons text[], _bytes bytea[], _counters bigint[],
    _ttls double precision[], _check_ends int[], _check_keys bytea[], _check_ns bigint[], _check_cids text[],
    _step_ends int[], _step_at int[], _step_ops int[], _operands bigint[], _step_ttls double precision[], _doomed boolean[],
    OUT what text, OUT number bigint, OUT places int[], OUT place int, OUT detail text)
  RETURNS SETOF record LANGUAGE plpgsql SET lock_timeout = '5ms' ${planned} AS $$
  DECLARE _i int := 0; _cid text; _k int := 1; _k2 int; _c int := 1; _c2 int; _s int := 1; _s2 int;
  BEGIN
    FOREACH _cid IN ARRAY _cids LOOP
      _i := _i + 1;
      _k2 := _key_ends[_i];
      _c2 := _check_ends[_i];
      _s2 := _step_ends[_i];
      IF _k = _k2 AND _finals[_k] = 0 AND _c > _c2 AND _s > _s2 AND NOT _doomed[_i] THEN
        places := NULL; place := NULL; detail := NULL;
        number := seams.kv_put(_cid, _keys[_k], _jsons[_k], _bytes[_k], _counters[_k], _ttls[_k], NULL, false);
        what := CASE WHEN number IS NULL THEN 'W' ELSE 'C' END;
      ELSE
        SELECT * INTO what, number, places, place, detail FROM seams.kv_apply(_cid, _keys[_k:_k2], _locks[_k:_k2], _finals[_k:_k2],
          _jsons[_k:_k2], _bytes[_k:_k2], _counters[_k:_k2], _ttls[_k:_k2], _check_keys[_c:_c2], _check_ns[_c:_c2], _check_cids[_c:_c2],
          _step_at[_s:_s2], _step_ops[_s:_s2], _operands[_s:_s2], _step_ttls[_s:_s2], _doomed[_i], NULL, false);
      END IF;
      _k := _k2 + 1; _c := _c2 + 1; _s := _s2 + 1;
      RETURN NEXT;
    END LOOP;
  END $$`

/**
 * What became of a commit: its number, or null when there is none by this id and from now on cannot be. \`floor\`: the highest number that
 * the log has lost. A commit that is adding itself to the log at this moment is waited for. O(log commits).
 */
export const outcome: string = `CREATE FUNCTION seams.kv_outcome(_cid text, OUT number bigint, OUT floor bigint) LANGUAGE plpgsql ${planned} AS $$
  BEGIN
    INSERT INTO seams.kv_log (n, xid, cid, fenced) VALUES (nextval('seams.kv_stamp'), ${ownXid}, _cid, clock_timestamp())
      ON CONFLICT (cid) DO NOTHING;
    SELECT l.n INTO number FROM seams.kv_log l WHERE l.cid = _cid AND l.fenced IS NULL;
    SELECT f.n INTO floor FROM seams.kv_floor f WHERE f.id = 1;
  END $$`
