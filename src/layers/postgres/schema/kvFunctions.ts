/**
 * What the Kv does inside the server: each call is one statement of the client and one round trip.
 *
 * A commit locks its keys in the order of their bytes, so that two commits never wait for each other in a circle, and takes its number
 * only then. In READ COMMITTED every statement of a function sees what was committed before it, so what is read under the locks is
 * current; in the stricter levels a lock on a row that changed since the snapshot fails with 40001.
 *
 * A refusal (a check that does not hold, an overflow) is an answer and no exception: an exception would end the program's transaction.
 *
 * Sequential scans, sorts of whole tables and hash joins are ruled out by settings, because these tables have few rows when they were
 * last analyzed and many a moment later. What is called by others here has the settings of its caller.
 */

const planned = `SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan SET jit = off`

/** How long a row that was only there to be locked is left for the next who locks it. */
const tombstoneLife = `interval '10 minutes'`

/** How long a fence is kept at least, however fast the log grows. */
const fenceLife = `interval '10 minutes'`

/** Of an entry `e`: it is there at a moment. */
const live = (moment: string) =>
  `(e.json IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL) AND (e.expires IS NULL OR e.expires > ${moment})`

/**
 * The deadline of a time to live in milliseconds, in whole milliseconds of the clock that readers see, at most JavaScript's last
 * date; null for null.
 */
const deadline = (ttl: string) =>
  `CASE WHEN ${ttl} IS NULL THEN NULL ELSE least(to_timestamp(8640000000000),
        date_trunc('milliseconds', clock_timestamp()) + ceil(least(${ttl}, 8e15)) * interval '1 millisecond') END`

/** What readers are given of an entry `e` behind its key. */
const entry = `e.n, e.cid, e.json, e.bytes, e.counter, seams.millis(e.expires)`

const ownXid = `pg_current_xact_id()::text::bigint`

/**
 * Adds a commit to the log. Numbers, keys and operations as in the table; the id must be new: one that is fenced is refused with SEK01,
 * which undoes the commit. O(keys).
 */
const log = `CREATE FUNCTION seams.kv_log_add(_n bigint, _cid text, _keys bytea[], _ops int[], _channel text) RETURNS void
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
const put = `CREATE FUNCTION seams.kv_put(
    _cid text, _k bytea, _json text, _bytes bytea, _counter bigint, _ttl double precision, _channel text, _wait boolean) RETURNS bigint
  LANGUAGE plpgsql AS $$
  DECLARE _n bigint;
  BEGIN
    IF NOT _wait THEN
      PERFORM 1 FROM seams.kv WHERE k = _k FOR UPDATE SKIP LOCKED;
      IF NOT FOUND AND EXISTS (SELECT 1 FROM seams.kv WHERE k = _k) THEN RETURN NULL; END IF;
    END IF;
    -- The row is locked before the number for it is taken. One that is new has none yet.
    INSERT INTO seams.kv AS e (k, n, cid, json, bytes, counter, expires) VALUES (_k, 0, _cid, _json, _bytes, _counter, ${deadline("_ttl")})
      ON CONFLICT (k) DO UPDATE SET n = nextval('seams.kv_stamp'), cid = _cid, json = _json, bytes = _bytes, counter = _counter,
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
const set = `CREATE FUNCTION seams.kv_set(
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
const lock = `CREATE FUNCTION seams.kv_lock(_keys bytea[], _locks int[], _wait boolean) RETURNS bytea[] LANGUAGE plpgsql AS $$
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
const failing = `CREATE FUNCTION seams.kv_failing(_keys bytea[], _ns bigint[], _cids text[]) RETURNS int[] LANGUAGE plpgsql AS $$
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
const apply = `CREATE FUNCTION seams.kv_apply(
    _cid text, _keys bytea[], _locks int[], _finals int[], _jsons text[], _bytes bytea[], _counters bigint[], _ttls double precision[],
    _check_keys bytea[], _check_ns bigint[], _check_cids text[],
    _step_at int[], _step_ops int[], _operands bigint[], _step_ttls double precision[], _doomed boolean, _channel text, _wait boolean,
    OUT what text, OUT number bigint, OUT places int[], OUT place int, OUT detail text)
  LANGUAGE plpgsql AS $$
  DECLARE
    _made bytea[]; _gone bytea[]; _at int; _now bigint[]; _until timestamptz[]; _begun boolean[]; _row record; _log_keys bytea[]; _log_ops int[];
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
          SELECT e.counter, e.expires, CASE WHEN e.json IS NOT NULL THEN 'a JSON value' WHEN e.bytes IS NOT NULL THEN 'bytes' END AS other
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
    number := nextval('seams.kv_stamp');
    WITH put AS (
      UPDATE seams.kv e SET n = number, cid = _cid, json = f.json, bytes = f.bytes,
        counter = CASE f.final WHEN 3 THEN f.now ELSE f.counter END,
        expires = CASE f.final WHEN 3 THEN f.until ELSE ${deadline("f.ttl")} END
      FROM unnest(_keys, _finals, _jsons, _bytes, _counters, _ttls, _now, _until)
        AS f (k, final, json, bytes, counter, ttl, now, until)
      WHERE f.final IN (0, 3) AND e.k = f.k RETURNING e.k)
    SELECT coalesce(array_agg(k), '{}'), coalesce(array_agg(1), '{}') INTO _log_keys, _log_ops FROM put;
    IF 1 = ANY (_finals) OR 2 = ANY (_finals) THEN
      WITH gone AS (
        DELETE FROM seams.kv e USING unnest(_keys, _finals) AS f (k, final) WHERE f.final IN (1, 2) AND e.k = f.k
        -- An expiry that nobody swept yet becomes part of this commit, so that watchers hear of it once and by its name.
        RETURNING e.k, CASE WHEN f.final = 2 OR (${live("clock_timestamp()")}) THEN 2
          WHEN e.json IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL THEN 3 ELSE 0 END AS op)
      SELECT _log_keys || coalesce(array_agg(k), '{}'), _log_ops || coalesce(array_agg(op), '{}') INTO _log_keys, _log_ops
        FROM gone WHERE op > 0;
    END IF;
    PERFORM seams.kv_log_add(number, _cid, _log_keys, _log_ops, _channel);
    what := 'C';
  END $$`

/** \`kv_apply\` as one commit, which waits. */
const commit = `CREATE FUNCTION seams.kv_commit(
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
const group = `CREATE FUNCTION seams.kv_group(
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
const outcome = `CREATE FUNCTION seams.kv_outcome(_cid text, OUT number bigint, OUT floor bigint) LANGUAGE plpgsql ${planned} AS $$
  BEGIN
    INSERT INTO seams.kv_log (n, xid, cid, fenced) VALUES (nextval('seams.kv_stamp'), ${ownXid}, _cid, clock_timestamp())
      ON CONFLICT (cid) DO NOTHING;
    SELECT l.n INTO number FROM seams.kv_log l WHERE l.cid = _cid AND l.fenced IS NULL;
    SELECT f.n INTO floor FROM seams.kv_floor f WHERE f.id = 1;
  END $$`

/** The entries of keys that are there, with the place of each key from 1. One snapshot. O(keys log entries). */
const get = `CREATE FUNCTION seams.kv_get(_keys bytea[], OUT place int, OUT n bigint, OUT cid text, OUT json text, OUT bytes bytea,
    OUT counter bigint, OUT expires double precision)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    RETURN QUERY SELECT w.i::int, ${entry} FROM unnest(_keys) WITH ORDINALITY AS w (k, i)
      JOIN seams.kv e ON e.k = w.k WHERE ${live("_t")};
  END $$`

/**
 * The highest number in the log of this snapshot and the id that goes with it, nothing when it is empty: what tells a store that was set
 * back. O(log commits).
 */
const last = `(SELECT l.n, l.cid FROM seams.kv_log l ORDER BY l.n DESC LIMIT 1)`

/**
 * Entries of a range in the order of keys, or backwards. The first row is no entry: \`json\` is the snapshot, \`n\` the highest number in the
 * log. One snapshot. O(entries + expired ones among them that are not yet swept).
 */
const list = `CREATE FUNCTION seams.kv_list(_start bytea, _end bytea, _limit int, _reverse boolean, OUT k bytea, OUT n bigint, OUT cid text,
    OUT json text, OUT bytes bytea, OUT counter bigint, OUT expires double precision)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    json := pg_current_snapshot()::text;
    n := coalesce((SELECT l.n FROM ${last} l), 0);
    RETURN NEXT;
    IF _reverse THEN
      RETURN QUERY SELECT e.k, ${entry} FROM seams.kv e WHERE e.k >= _start AND e.k < _end AND ${live("_t")} ORDER BY e.k DESC LIMIT _limit;
    ELSE
      RETURN QUERY SELECT e.k, ${entry} FROM seams.kv e WHERE e.k >= _start AND e.k < _end AND ${live("_t")} ORDER BY e.k LIMIT _limit;
    END IF;
  END $$`

/**
 * A name for this history of these tables, 16 hex digits: it changes when the tables are made anew, when they are restored elsewhere, when
 * a standby takes over or an archive is rolled forward; and with every start of a server that may forget commits which were seen. What a
 * server does not tell to this role, or at all, is left out.
 */
const identity = `CREATE FUNCTION seams.kv_identity() RETURNS text LANGUAGE plpgsql STABLE AS $$
  DECLARE _text text;
  BEGIN
    SELECT m.store::text INTO _text FROM seams.meta m WHERE m.id = 1;
    IF current_setting('synchronous_commit') = 'off' THEN
      _text := concat_ws(' ', _text, date_part('epoch', pg_postmaster_start_time()));
    END IF;
    BEGIN
      SELECT concat_ws(' ', _text, s.system_identifier) INTO _text FROM pg_control_system() s;
      _text := concat_ws(' ', _text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8));
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR object_not_in_prerequisite_state THEN NULL;
    END;
    RETURN lpad(to_hex(hashtextextended(_text, 0)), 16, '0');
  END $$`

/** The place behind everything that this snapshot shows. O(log commits). */
const head = `CREATE FUNCTION seams.kv_head(OUT identity text, OUT snapshot text, OUT n bigint, OUT cid text)
  LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    identity := seams.kv_identity();
    snapshot := pg_current_snapshot()::text;
    SELECT l.n, l.cid INTO n, cid FROM ${last} l;
  END $$`

/** Whether there are commits behind a place: parts of a snapshot, and the highest number it saw with its id. O(log commits). */
const grown = `CREATE FUNCTION seams.kv_grown(_identity text, _xmin bigint, _xmax bigint, _xip bigint[], _n bigint, _cid text)
  RETURNS boolean LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    RETURN EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.n > _n) OR EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.xid >= _xmax)
      OR EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.xid = ANY (_xip)) OR seams.kv_lost(_identity, _xmin, _xmax, _n, _cid) IS NOT NULL;
  END $$`

/** Why the log cannot be read on from a place; null when it can. O(log commits). */
const lost = `CREATE FUNCTION seams.kv_lost(_identity text, _xmin bigint, _xmax bigint, _n bigint, _cid text) RETURNS text
  LANGUAGE plpgsql STABLE AS $$
  DECLARE _floor seams.kv_floor;
  BEGIN
    IF seams.kv_identity() <> _identity THEN RETURN 'the position belongs to another store, or to this one before it was set back'; END IF;
    SELECT * INTO _floor FROM seams.kv_floor WHERE id = 1;
    IF _floor.xid >= _xmin THEN RETURN format('the change log begins behind commit %s, and the position may lie before', _floor.n); END IF;
    IF _n > 0 AND NOT EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.cid = _cid AND l.n = _n) THEN
      RETURN CASE WHEN _n <= _floor.n THEN format('the change log begins behind commit %s and the position is %s', _floor.n, _n)
        ELSE format('the store does not know commit %s of the position: it was set back', _n) END;
    END IF;
    IF pg_snapshot_xmax(pg_current_snapshot())::text::bigint < _xmax THEN RETURN 'the position lies ahead of the store: it was set back'; END IF;
    RETURN NULL;
  END $$`

/**
 * A page of the log behind a place. The place: parts of a snapshot, the highest number in it and its id. A page in the middle of what one
 * snapshot showed also has the parts of that snapshot, \`_upto_*\`, and \`_after\`, the number up to which it was read; else null and 0. Keys
 * of a range (\`_start\`, \`_end\`) or these \`_wanted\`. The first row says where it ends: \`what\` L, with the snapshot in \`json\`, the identity
 * in \`identity\`, its highest number and id, and \`cut\`, the number up to which the page goes when there is more; or T and in \`json\` why
 * there is none. Then the lines (l) and the entries that their keys have (e). One snapshot.
 * O(commits behind the place) for the first page, O(page) for others.
 */
const read = `CREATE FUNCTION seams.kv_read(
    _identity text, _xmin bigint, _xmax bigint, _xip bigint[], _n bigint, _known bigint, _cid text,
    _upto_xmax bigint, _upto_xip bigint[], _upto_n bigint, _after bigint,
    _start bytea, _end bytea, _wanted bytea[], _limit int, _window int,
    OUT what text, OUT k bytea, OUT op int, OUT xid bigint, OUT n bigint, OUT cid text, OUT json text, OUT bytes bytea, OUT counter bigint,
    OUT expires double precision, OUT cut bigint, OUT identity text)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    json := seams.kv_lost(_identity, _xmin, greatest(_xmax, _upto_xmax), _known, _cid);
    IF json IS NOT NULL THEN
      what := 'T';
      RETURN NEXT;
      RETURN;
    END IF;
    RETURN QUERY
      WITH page AS MATERIALIZED (
        SELECT * FROM (
          -- Commits that were under way at the place; and those that took their numbers later.
          SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l WHERE l.xid = ANY (_xip) AND l.n > _after AND l.n <= _n
          UNION ALL
          SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l WHERE l.xid >= _xmax AND l.n > _after AND l.n <= _n
          UNION ALL
          (SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l
            WHERE l.n > greatest(_n, _after)
              AND (_upto_n IS NULL OR (l.n <= _upto_n AND l.xid < _upto_xmax AND l.xid <> ALL (_upto_xip)))
            ORDER BY l.n LIMIT _window)) AS c
        WHERE _upto_n IS NULL OR (c.n <= _upto_n AND c.xid < _upto_xmax AND c.xid <> ALL (_upto_xip))
        ORDER BY c.n LIMIT _window),
      line AS MATERIALIZED (
        SELECT p.n, p.cid, p.xid, u.k, u.op FROM page p, unnest(p.keys, p.ops) AS u (k, op)
        WHERE (_start IS NULL OR (u.k >= _start AND u.k < _end)) AND (_wanted IS NULL OR u.k = ANY (_wanted))),
      -- Between commits: a place cannot stand inside one.
      ending AS MATERIALIZED (
        SELECT coalesce((SELECT x.n FROM line x ORDER BY x.n OFFSET _limit - 1 LIMIT 1),
          (SELECT p.n FROM page p ORDER BY p.n OFFSET _window - 1 LIMIT 1)) AS n),
      kept AS MATERIALIZED (SELECT x.* FROM line x, ending WHERE ending.n IS NULL OR x.n <= ending.n)
      SELECT 'L', NULL::bytea, NULL::int, NULL::bigint, t.n, t.cid, pg_current_snapshot()::text, NULL::bytea, NULL::bigint,
        NULL::double precision, ending.n, seams.kv_identity() FROM ending LEFT JOIN ${last} t ON true
      UNION ALL
      SELECT 'l', x.k, x.op, x.xid, x.n, x.cid, NULL, NULL, NULL, NULL, NULL, NULL FROM kept x
      UNION ALL
      SELECT 'e', e.k, NULL, NULL, ${entry}, NULL, NULL FROM (SELECT DISTINCT x.k FROM kept x) AS d
        JOIN seams.kv e ON e.k = d.k WHERE ${live("_t")};
  END $$`

/** Number and floor of a commit by its id, nothing when the log does not have it. O(log commits). */
const locate = `CREATE FUNCTION seams.kv_locate(_n bigint, _cid text, OUT identity text, OUT floor bigint) LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    identity := seams.kv_identity();
    SELECT l.floor INTO floor FROM seams.kv_log l WHERE l.cid = _cid AND l.n = _n AND l.fenced IS NULL;
  END $$`

/**
 * Removes at most \`_max\` entries whose time is over, as one commit with a line for each, and rows that were only there to be locked.
 * What somebody else has locked is passed over. \`removed\`: how many rows; \`told\`: lines were added; \`next\`: the deadline of the next one,
 * not before a quarter of a second from now. O(rows log entries).
 */
const sweep = `CREATE FUNCTION seams.kv_sweep(_cid text, _max int, OUT removed int, OUT told boolean, OUT next double precision)
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _keys bytea[];
  BEGIN
    WITH due AS MATERIALIZED (
      SELECT e.k FROM seams.kv e WHERE e.expires <= _t ORDER BY e.expires LIMIT _max FOR UPDATE SKIP LOCKED),
    gone AS (
      DELETE FROM seams.kv e USING due WHERE e.k = due.k
      RETURNING e.k, e.json IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL AS real)
    SELECT count(*), array_agg(gone.k) FILTER (WHERE gone.real) INTO removed, _keys FROM gone;
    told := _keys IS NOT NULL;
    IF told THEN
      PERFORM seams.kv_log_add(nextval('seams.kv_stamp'), _cid, _keys, array_fill(3, ARRAY[cardinality(_keys)]), NULL);
    END IF;
    SELECT seams.millis(greatest(e.expires, clock_timestamp() + interval '250 milliseconds')) INTO next
      FROM seams.kv e WHERE e.expires IS NOT NULL ORDER BY e.expires LIMIT 1;
  END $$`

/**
 * Drops the oldest commits of the log beyond a number of commits, at most about \`_max\`, by whoever comes first; no commit of a transaction
 * that is as young as one that still runs. Answers whether there may be more. O(_max).
 */
const trim = `CREATE FUNCTION seams.kv_trim(_length bigint, _max int) RETURNS boolean LANGUAGE plpgsql ${planned} AS $$
  DECLARE
    _upto bigint; _running bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint; _xid bigint; _n bigint; _seen int := 0; _row record;
  BEGIN
    PERFORM 1 FROM seams.kv_floor WHERE id = 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN false; END IF;
    _upto := coalesce(pg_sequence_last_value('seams.kv_stamp'), 0) - _length;
    FOR _row IN SELECT l.xid, l.n FROM seams.kv_log l ORDER BY l.xid, l.n LIMIT _max LOOP
      EXIT WHEN _row.n > _upto OR _row.xid >= _running;
      _xid := _row.xid;
      _seen := _seen + 1;
    END LOOP;
    IF _xid IS NULL THEN RETURN false; END IF;
    WITH gone AS (
      DELETE FROM seams.kv_log l WHERE l.xid <= _xid AND (l.fenced IS NULL OR l.fenced < clock_timestamp() - ${fenceLife}) RETURNING l.n)
    SELECT max(gone.n) INTO _n FROM gone;
    UPDATE seams.kv_floor SET xid = greatest(xid, _xid), n = greatest(n, _n) WHERE id = 1;
    RETURN _seen = _max AND _n IS NOT NULL;
  END $$`

export const kvFunctions: ReadonlyArray<string> = [
  log,
  put,
  set,
  lock,
  failing,
  apply,
  commit,
  group,
  outcome,
  get,
  list,
  identity,
  head,
  lost,
  grown,
  read,
  locate,
  sweep,
  trim
]
