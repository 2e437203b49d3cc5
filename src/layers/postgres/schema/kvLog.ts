/** The change log, and what tends it and the entries: reading on from a place, expiry, trimming. */
import { entry, last, live, planned } from "./kvShared.ts"

/** How long a fence is kept at least, however fast the log grows. */
const fenceLife = `interval '10 minutes'`

/**
 * A name for this history of these tables, 16 hex digits: it changes when the tables are made anew, when they are restored elsewhere, when
 * a standby takes over or an archive is rolled forward; and with every start of a server that may forget commits which were seen. What a
 * server does not tell to this role, or at all, is left out.
 */
export const identity: string = `CREATE FUNCTION seams.kv_identity() RETURNS text LANGUAGE plpgsql STABLE AS $$
  DECLARE _text text;
  BEGIN
    SELECT m.store::text INTO _text FROM seams.meta m WHERE m.id = 1;
    IF current_setting('synchronous_commit') = 'off' OR EXISTS (
        SELECT 1 FROM pg_class c WHERE c.oid = 'seams.kv_log'::regclass AND c.relpersistence = 'u') THEN
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
export const head: string = `CREATE FUNCTION seams.kv_head(OUT identity text, OUT snapshot text, OUT n bigint, OUT cid text)
  LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    identity := seams.kv_identity();
    snapshot := pg_current_snapshot()::text;
    SELECT l.n, l.cid INTO n, cid FROM ${last} l;
  END $$`

/** Whether there are commits behind a place: parts of a snapshot, and the highest number it saw with its id. O(log commits). */
export const grown: string = `CREATE FUNCTION seams.kv_grown(_identity text, _xmin bigint, _xmax bigint, _xip bigint[], _n bigint, _cid text)
  RETURNS boolean LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    RETURN EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.n > _n) OR EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.xid >= _xmax)
      OR EXISTS (SELECT 1 FROM seams.kv_log l WHERE l.xid = ANY (_xip)) OR seams.kv_lost(_identity, _xmin, _xmax, _n, _cid) IS NOT NULL;
  END $$`

/** Why the log cannot be read on from a place; null when it can. O(log commits). */
export const lost: string = `CREATE FUNCTION seams.kv_lost(_identity text, _xmin bigint, _xmax bigint, _n bigint, _cid text) RETURNS text
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
 * Rows \`x\` of the log with numbers up to that of a place which its snapshot did not see. Looked for by their transactions alone: by
 * their numbers it would be the whole log.
 */
const late = `(
        SELECT l.* FROM unnest(_xip) AS r (xid) CROSS JOIN LATERAL (SELECT * FROM seams.kv_log l WHERE l.xid = r.xid OFFSET 0) AS l
        UNION ALL
        SELECT l.* FROM (SELECT * FROM seams.kv_log l WHERE l.xid >= _xmax OFFSET 0) AS l) AS x WHERE x.n > _after AND x.n <= _n`

/**
 * A page of the log behind a place. The place: parts of a snapshot, the highest number in it and its id. A page in the middle of what one
 * snapshot showed also has the parts of that snapshot, \`_upto_*\`, and \`_after\`, the number up to which it was read; else null and 0. Keys
 * of a range (\`_start\`, \`_end\`) or these \`_wanted\`. Answers the lines (\`what\` l), then the entries that their keys have (e). The last
 * row says where it ends: L, with the snapshot in \`doc\`, the identity in \`identity\`, its highest number and id, and \`cut\`, the number up
 * to which the page goes when there is more; or T and in \`doc\` why there is none. One snapshot.
 * O(commits behind the place) for the first page, by index alone; O(page) for others.
 */
export const read: string = `CREATE FUNCTION seams.kv_read(
    _identity text, _xmin bigint, _xmax bigint, _xip bigint[], _n bigint, _known bigint, _cid text,
    _upto_xmax bigint, _upto_xip bigint[], _upto_n bigint, _after bigint,
    _start bytea, _end bytea, _wanted bytea[], _limit int, _window int,
    OUT what text, OUT k bytea, OUT op int, OUT xid bigint, OUT n bigint, OUT cid text, OUT doc text, OUT bytes bytea, OUT counter bigint,
    OUT expires double precision, OUT cut bigint, OUT identity text)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE
    _t timestamptz := clock_timestamp(); _commits refcursor; _commit record; _k bytea; _i int; _lines int := 0; _seen int := 0;
    _told bytea[] := '{}'; _cut bigint; _begin bigint := greatest(_n, _after);
  BEGIN
    doc := seams.kv_lost(_identity, _xmin, greatest(_xmax, _upto_xmax), _known, _cid);
    IF doc IS NOT NULL THEN
      what := 'T';
      RETURN NEXT;
      RETURN;
    END IF;
    -- Commits that were under way at the place, then those that took their numbers later.
    IF _after < _n AND EXISTS (SELECT 1 FROM ${late}) THEN
      OPEN _commits FOR
        SELECT * FROM (
          SELECT x.n, x.cid, x.xid, x.keys, x.ops FROM ${late}
          UNION ALL
          (SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l
            WHERE l.n > _begin AND (_upto_n IS NULL OR (l.n <= _upto_n AND l.xid < _upto_xmax AND l.xid <> ALL (_upto_xip)))
            ORDER BY l.n LIMIT _window)) AS c
        WHERE _upto_n IS NULL OR (c.n <= _upto_n AND c.xid < _upto_xmax AND c.xid <> ALL (_upto_xip))
        ORDER BY c.n LIMIT _window;
    ELSIF _upto_n IS NULL THEN
      OPEN _commits FOR SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l WHERE l.n > _begin ORDER BY l.n LIMIT _window;
    ELSE
      OPEN _commits FOR SELECT l.n, l.cid, l.xid, l.keys, l.ops FROM seams.kv_log l
        WHERE l.n > _begin AND l.n <= _upto_n AND l.xid < _upto_xmax AND l.xid <> ALL (_upto_xip) ORDER BY l.n LIMIT _window;
    END IF;
    LOOP
      FETCH _commits INTO _commit;
      EXIT WHEN NOT FOUND;
      _seen := _seen + 1;
      _i := 0;
      FOREACH _k IN ARRAY coalesce(_commit.keys, '{}') LOOP
        _i := _i + 1;
        IF (_start IS NULL OR (_k >= _start AND _k < _end)) AND (_wanted IS NULL OR _k = ANY (_wanted)) THEN
          what := 'l'; k := _k; op := _commit.ops[_i]; xid := _commit.xid; n := _commit.n; cid := _commit.cid;
          RETURN NEXT;
          _told := _told || _k;
          _lines := _lines + 1;
        END IF;
      END LOOP;
      -- Between commits: a place cannot stand inside one.
      IF _lines >= _limit OR _seen >= _window THEN
        _cut := _commit.n;
        EXIT;
      END IF;
    END LOOP;
    CLOSE _commits;
    IF _lines > 0 THEN
      RETURN QUERY SELECT 'e', e.k, NULL::int, NULL::bigint, ${entry}, NULL::bigint, NULL::text
        FROM (SELECT DISTINCT unnest(_told) AS k) AS d JOIN seams.kv e ON e.k = d.k WHERE ${live("_t")};
    END IF;
    what := 'L'; k := NULL; op := NULL; xid := NULL; n := NULL; cid := NULL;
    SELECT l.n, l.cid INTO n, cid FROM ${last} l;
    doc := pg_current_snapshot()::text;
    cut := _cut;
    identity := _identity;
    RETURN NEXT;
  END $$`

/** Number and floor of a commit by its id, nothing when the log does not have it. O(log commits). */
export const locate: string = `CREATE FUNCTION seams.kv_locate(_n bigint, _cid text, OUT identity text, OUT floor bigint) LANGUAGE plpgsql STABLE ${planned} AS $$
  BEGIN
    identity := seams.kv_identity();
    SELECT l.floor INTO floor FROM seams.kv_log l WHERE l.cid = _cid AND l.n = _n AND l.fenced IS NULL;
  END $$`

/**
 * Removes at most \`_max\` entries whose time is over, as one commit with a line for each, and rows that were only there to be locked.
 * What somebody else has locked is passed over. \`removed\`: how many rows; \`told\`: lines were added; \`next\`: the deadline of the next one,
 * not before a quarter of a second from now. O(rows log entries).
 */
export const sweep: string = `CREATE FUNCTION seams.kv_sweep(_cid text, _max int, OUT removed int, OUT told boolean, OUT next double precision)
  LANGUAGE plpgsql ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp(); _keys bytea[];
  BEGIN
    WITH due AS MATERIALIZED (
      SELECT e.k FROM seams.kv e WHERE e.expires <= _t ORDER BY e.expires LIMIT _max FOR UPDATE SKIP LOCKED),
    gone AS (
      DELETE FROM seams.kv e USING due WHERE e.k = due.k
      RETURNING e.k, e.doc IS NOT NULL OR e.bytes IS NOT NULL OR e.counter IS NOT NULL AS real)
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
export const trim: string = `CREATE FUNCTION seams.kv_trim(_length bigint, _max int) RETURNS boolean LANGUAGE plpgsql ${planned} AS $$
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
