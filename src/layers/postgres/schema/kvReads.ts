/** Reads of entries: each is one statement, and so one snapshot. */
import { entry, last, live, planned } from "./kvShared.ts"

/** The entries of keys that are there, with the place of each key from 1. One snapshot. O(keys log entries). */
export const get: string = `CREATE FUNCTION seams.kv_get(_keys bytea[], OUT place int, OUT n bigint, OUT cid text, OUT doc text, OUT bytes bytea,
    OUT counter bigint, OUT expires double precision)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    RETURN QUERY SELECT w.i::int, ${entry} FROM unnest(_keys) WITH ORDINALITY AS w (k, i)
      JOIN seams.kv e ON e.k = w.k WHERE ${live("_t")};
  END $$`

/**
 * Entries of a range in the order of keys, or backwards. The first row is no entry: \`doc\` is the snapshot, \`n\` the highest number in the
 * log. One snapshot. O(entries + expired ones among them that are not yet swept).
 */
export const list: string = `CREATE FUNCTION seams.kv_list(_start bytea, _end bytea, _limit int, _reverse boolean, OUT k bytea, OUT n bigint, OUT cid text,
    OUT doc text, OUT bytes bytea, OUT counter bigint, OUT expires double precision)
  RETURNS SETOF record LANGUAGE plpgsql STABLE ${planned} AS $$
  DECLARE _t timestamptz := clock_timestamp();
  BEGIN
    doc := pg_current_snapshot()::text;
    n := coalesce((SELECT l.n FROM ${last} l), 0);
    RETURN NEXT;
    IF _reverse THEN
      RETURN QUERY SELECT e.k, ${entry} FROM seams.kv e WHERE e.k >= _start AND e.k < _end AND ${live("_t")} ORDER BY e.k DESC LIMIT _limit;
    ELSE
      RETURN QUERY SELECT e.k, ${entry} FROM seams.kv e WHERE e.k >= _start AND e.k < _end AND ${live("_t")} ORDER BY e.k LIMIT _limit;
    END IF;
  END $$`
