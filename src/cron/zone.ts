/**
 * What the engine asks of a time zone: the stretch of constant offset around an instant. Instants, offsets and wall times are in
 * seconds; a wall time is written as the seconds that instant would have in UTC.
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

/** Instants from `start` to before `end` with one offset, and what it was before and is after. @internal */
export interface Stretch {
  readonly start: number
  readonly end: number
  /** Seconds to add to an instant to get its wall time. */
  readonly offset: number
  /** The offset just before `start`; equal to `offset` where a stretch only ends because more has not been looked up. */
  readonly before: number
  /** The offset at `end`. */
  readonly after: number
}

/** @internal */
export interface Zone {
  readonly id: string
  /** Whether its offset never changes. */
  readonly fixed: boolean
  readonly stretchAt: (instant: number) => Stretch
}

/** Finds zones by name; `None` for what is none. @internal */
export type Zones = (name: string) => Option.Option<Zone>

const mostOffset = 18 * 3_600

const fixedZone = (id: string, offset: number): Zone => {
  const stretch: Stretch = {
    start: Number.NEGATIVE_INFINITY,
    end: Number.POSITIVE_INFINITY,
    offset,
    before: offset,
    after: offset
  }
  return { id, fixed: true, stretchAt: () => stretch }
}

/** @internal */
export const makeZone: Zones = (name) => {
  if (name === "UTC") return Option.some(fixedZone("UTC", 0))
  return Option.flatMap(DateTime.zoneFromString(name), (zone) => {
    // By the name that was given: runtimes differ in what they call it.
    if (zone._tag === "Named") return Option.some(namedZone(name))
    // No place is further from Greenwich, and the engine counts on it.
    return Math.abs(zone.offset) <= mostOffset * 1_000
      ? Option.some(fixedZone(name, zone.offset / 1_000))
      : Option.none()
  })
}

/** Zones that are looked up once, for as long as the answer is kept: thousands of jobs share a few. @internal */
export const makeZones = (): Zones => {
  const known = new Map<string, Option.Option<Zone>>()
  return (name) => {
    const found = known.get(name) ?? makeZone(name)
    known.set(name, found)
    return found
  }
}

// Since 1970 the shortest time between two changes of one zone is 6.96 days (Asia/Gaza, America/Noronha), before it was 4 days
// (Africa/Freetown, 1939): measured on tzdata 2025b. A probe every 3 days finds them all.
const probe = 3 * 86_400
const probes = 122
const chunk = probe * probes
const mostChunks = 1_000
const lastInstant = 8_640_000_000_000

const namedZone = (id: string): Zone => {
  const offsetAt = offsetReader(id)
  // Asking the runtime costs about a microsecond a time, so a year is looked up at once, and kept.
  const chunks = new Map<number, ReadonlyArray<Stretch>>()
  let last: Stretch | undefined
  return {
    id,
    fixed: false,
    stretchAt: (instant) => {
      if (last !== undefined && instant >= last.start && instant < last.end) return last
      const index = Math.floor(instant / chunk)
      let stretches = chunks.get(index)
      if (stretches === undefined) {
        if (chunks.size >= mostChunks) chunks.clear()
        stretches = lookUp(offsetAt, index * chunk)
        chunks.set(index, stretches)
      }
      last = stretches.find((stretch) => instant < stretch.end) ?? stretches.at(-1)!
      return last
    }
  }
}

const lookUp = (offsetAt: (instant: number) => number, start: number): ReadonlyArray<Stretch> => {
  const found: Array<Stretch> = []
  const end = start + chunk
  let from = start
  let before = offsetAt(start - 1)
  let offset = offsetAt(start)
  for (let at = start; at < end; at += probe) {
    const next = offsetAt(at + probe)
    if (next === offset) continue
    const change = firstWith(offsetAt, at, at + probe, offset)
    // A change at the very end belongs to the next chunk.
    if (change >= end) break
    found.push({ start: from, end: change, offset, before, after: next })
    from = change
    before = offset
    offset = next
  }
  found.push({ start: from, end, offset, before, after: offsetAt(end) })
  return found
}

/** The first instant after `low` whose offset is not `offset`; at `high` it is not. */
const firstWith = (offsetAt: (instant: number) => number, low: number, high: number, offset: number): number => {
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(middle) === offset) low = middle
    else high = middle
  }
  return high
}

const offsetReader = (id: string): ((instant: number) => number) => {
  let format: Intl.DateTimeFormat | undefined
  return (instant) => {
    format ??= new Intl.DateTimeFormat("en-US", { timeZone: id, year: "numeric", timeZoneName: "longOffset" })
    return offsetIn(format.format(Math.max(-lastInstant, Math.min(lastInstant, instant)) * 1_000))
  }
}

/** Reads the end of `2026, GMT+05:30`; early ones have seconds, `GMT` alone is zero. */
const offsetIn = (text: string): number => {
  const sign = Math.max(text.lastIndexOf("+"), text.lastIndexOf("-"))
  if (sign < 0) return 0
  const [hours = 0, minutes = 0, seconds = 0] = text
    .slice(sign + 1)
    .split(":")
    .map(Number)
  const offset = hours * 3_600 + minutes * 60 + seconds
  return text[sign] === "-" ? -offset : offset
}
