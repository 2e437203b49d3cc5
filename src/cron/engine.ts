/**
 * When a schedule is due. The walk goes over the stretches of constant offset of a zone: within one, wall times and instants run
 * alike; between two, the policy decides about what the clock skips or repeats. Nothing but the arguments counts, so the answer is
 * the same from wherever one asks.
 */
import { wallsOf, type Pattern } from "./walls.ts"
import type { Zone } from "./zone.ts"

/**
 * What becomes of wall times that a zone skips or repeats.
 *
 * - `gap: "after"` (default): a time that the clock skips is due once, at the first instant after the gap. Where every hour is
 *   named (`*`) nothing is added: an hour that does not exist has no run, the hours around it have theirs.
 * - `gap: "skip"`: such a time is not due that day.
 * - `overlap: "auto"` (default): both passes for intervals (`*` or a step in second, minute or hour), otherwise the first.
 * - `overlap: "first"`, `"second"`, `"both"`: the pass, or passes, of a repeated time that count.
 *
 * @since 0.1.0
 * @category models
 */
export interface Dst {
  readonly gap?: "after" | "skip" | undefined
  readonly overlap?: "auto" | "first" | "second" | "both" | undefined
}

/**
 * {@link Dst} with its defaults filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface DstRules {
  readonly gap: "after" | "skip"
  readonly overlap: "auto" | "first" | "second" | "both"
}

/**
 * The instants of a schedule, in milliseconds since 1970. Pure, strictly monotonic, and the same from wherever one asks.
 *
 * @internal
 */
export interface Instants {
  /** The first instant after the given one; `undefined` when there is none (within a hundred years). */
  readonly after: (instant: number) => number | undefined
  /** The last instant before the given one; `undefined` when there is none. */
  readonly before: (instant: number) => number | undefined
}

// No wall time is further from its instant than this, in seconds: the offset of a zone, or the length of a gap that is made up for.
const reach = 26 * 3_600

// How far a search goes, in seconds: a hundred years. Dates come every 40 years at least (29 February on a Monday); times that a
// zone skips each time they would come (`gap: "skip"`) never do.
const horizon = 3_155_760_000

/** @internal */
export const expressionInstants = (pattern: Pattern, zone: Zone, dst: DstRules): Instants => {
  const walls = wallsOf(pattern)
  const gapAfter = dst.gap === "after" && !pattern.everyHour
  const both = dst.overlap === "both" || (dst.overlap === "auto" && pattern.interval)
  const first = both || dst.overlap !== "second"
  const second = both || dst.overlap === "second"
  return {
    after: (instant) => {
      let from = Math.floor(instant / 1_000) + 1
      for (const last = from + horizon; from < last;) {
        const { after, before, end, offset, start } = zone.stretchAt(from)
        if (gapAfter && from === start && before < offset && walls.from(start + before)! < start + offset)
          return from * 1_000
        // The head of a stretch repeats walls if the clock went back before it, its tail is repeated if it goes back after it.
        const low = second || before <= offset ? from + offset : Math.max(from + offset, start + before)
        const limit = (first || after >= offset ? offset : after) + end
        let found: number | undefined
        if (low < limit) {
          found = walls.from(low)
          if (found === undefined) return undefined
          if (found < limit) return (found - offset) * 1_000
        }
        // Where the clock does not go back, nothing is due before the next wall that matches: pass over the years between.
        from = found !== undefined && after >= offset ? Math.max(end, found - reach) : end
      }
      return undefined
    },
    before: (instant) => {
      let to = Math.ceil(instant / 1_000) - 1
      for (const last = to - horizon; to > last;) {
        const { after, before, end, offset, start } = zone.stretchAt(to)
        const high = Math.min(to + offset, (first || after >= offset ? offset : after) + end - 1)
        const limit = (second || before <= offset ? offset : before) + start
        let found: number | undefined
        if (high >= limit) {
          found = walls.upTo(high)
          if (found === undefined) return undefined
          if (found >= limit) return (found - offset) * 1_000
        }
        if (gapAfter && before < offset && walls.upTo(start + offset - 1)! >= start + before) return start * 1_000
        to = found !== undefined && before <= offset ? Math.min(start - 1, found + reach) : start - 1
      }
      return undefined
    }
  }
}

/** The furthest instants that a date can hold, in milliseconds before and after 1970. @internal */
export const furthest = 8_640_000_000_000_000

/** Instants at every multiple of a length, counted from 1970. @internal */
export const everyInstants = (millis: number): Instants => ({
  after: (instant) => (Math.floor(instant / millis) + 1) * millis,
  before: (instant) => (Math.ceil(instant / millis) - 1) * millis
})

/** One instant. @internal */
export const atInstant = (at: number): Instants => ({
  after: (instant) => (instant < at ? at : undefined),
  before: (instant) => (instant > at ? at : undefined)
})

/** The same instants without those before `start` (if given), those at or after `end` (if given), and what is no date. @internal */
export const within = (instants: Instants, start: number | null, end: number | null): Instants => {
  const keep = (found: number | undefined): number | undefined =>
    found === undefined ||
    (end !== null && found >= end) ||
    (start !== null && found < start) ||
    Math.abs(found) > furthest
      ? undefined
      : found
  return {
    after: (instant) => keep(instants.after(start === null ? instant : Math.max(instant, start - 1))),
    before: (instant) => keep(instants.before(end === null ? instant : Math.min(instant, end)))
  }
}
