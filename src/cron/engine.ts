/**
 * When an expression is due. The only module that knows how instants are found, so that another engine is one file: here
 * Effect's `Cron` walks wall times as if they were UTC, and this module lays them onto the zone.
 */
import * as EffectCron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import type { Fields } from "./fields.ts"
import type { Zone } from "./zone.ts"

/**
 * What becomes of wall times that a zone skips or repeats.
 *
 * - `gap: "after"` (default): a time that the clock skips is due once, at the first instant after the gap. Where the hour
 *   is `*` nothing is added: an hour that does not exist has no run, the hours around it have theirs.
 * - `gap: "skip"`: such a time is not due that day.
 * - `overlap: "auto"` (default): where the hour is `*` or a step, both passes; otherwise `first`.
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
  /** The first instant after the given one; `undefined` when there is none. */
  readonly after: (instant: number) => number | undefined
  /** The last instant before the given one; `undefined` when there is none. */
  readonly before: (instant: number) => number | undefined
}

/** @internal */
export const expressionInstants = (fields: Fields, zone: Zone, dst: DstRules): Instants => {
  const cron = EffectCron.make({
    seconds: fields.second ?? [],
    minutes: fields.minute ?? [],
    hours: fields.hour ?? [],
    days: fields.dayOfMonth ?? [],
    months: fields.month ?? [],
    weekdays: fields.dayOfWeek ?? [],
    and: fields.and,
    tz: DateTime.zoneMakeNamedUnsafe("UTC")
  })
  const { overlap } = dst
  const rule: Rule = {
    // With `*` hours a skipped hour has no run of its own, so there is nothing to make up for.
    gapAfter: dst.gap === "after" && fields.hour !== null,
    first: overlap === "first" || overlap === "both" || overlap === "auto",
    second: overlap === "second" || overlap === "both" || (overlap === "auto" && fields.everyHour)
  }
  const after = (instant: number) => nextInstant(cron, zone, rule, instant)
  return { after, before: (instant) => previousInstant(cron, zone, after, instant) }
}

interface Rule {
  readonly gapAfter: boolean
  readonly first: boolean
  readonly second: boolean
}

// Effect's search throws when nothing is found within its bound, which parsing has made impossible except at the end of
// time itself.
const search = (step: () => Date): number | undefined => {
  try {
    const found = step().getTime()
    return Number.isFinite(found) ? found : undefined
  } catch {
    return undefined
  }
}

/** The first wall time after the given one. */
const wallAfter = (cron: EffectCron.Cron, wall: number) => search(() => EffectCron.next(cron, wall))

const nextInstant = (cron: EffectCron.Cron, zone: Zone, rule: Rule, instant: number): number | undefined => {
  const change = zone.changeNear(instant)
  let from = instant + zone.offset(instant)
  if (change !== undefined && change.after < change.before) {
    // Around a repeated stretch, wall order is not the order of instants: take the first pass, then what follows it.
    const repeated = { from: change.at + change.after, to: change.at + change.before }
    if (instant < change.at) {
      const wall = wallAfter(cron, from)
      const end = rule.first ? repeated.to : repeated.from
      if (wall !== undefined && wall < end) return wall - change.before
    }
    from = Math.max(
      rule.second ? repeated.from - 1 : repeated.to - 1,
      instant < change.at ? Number.NEGATIVE_INFINITY : from
    )
  }
  while (true) {
    const wall = wallAfter(cron, from)
    if (wall === undefined) return undefined
    // A wall time read as an instant is at most 14 hours off, well within what changeNear looks at.
    const around = zone.changeNear(wall)
    if (around === undefined) return wall - zone.offset(wall)
    const first = wall - around.before
    const second = wall - around.after
    const inFirst = first < around.at
    const inSecond = second >= around.at
    if (!inFirst && !inSecond) {
      if (rule.gapAfter) return around.at
      // Past the whole skipped stretch at once.
      from = around.at + around.after - 1
      continue
    }
    if (inFirst !== inSecond) return inFirst ? first : second
    if (rule.first && first > instant) return first
    if (rule.second && second > instant) return second
    from = wall
  }
}

/**
 * The last instant before the given one, found by asking `after` alone, so that both directions agree by construction:
 * step back until something is due in between, then halve the distance.
 */
const previousInstant = (
  cron: EffectCron.Cron,
  zone: Zone,
  after: Instants["after"],
  instant: number
): number | undefined => {
  if (zone.id === "UTC") return search(() => EffectCron.prev(cron, instant))
  let distance = 1_000
  let found: number | undefined
  // 29 February on a given weekday comes at least every 40 years.
  while (found === undefined || found >= instant) {
    if (distance > 2 ** 41) return undefined
    distance *= 2
    found = after(instant - distance)
  }
  let high = instant
  while (high - found > 1) {
    const middle = found + Math.floor((high - found) / 2)
    const next = after(middle)
    if (next !== undefined && next < instant) found = next
    else high = middle
  }
  return found
}

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

/** The same instants without those before `start` (if given) and those at or after `end` (if given). @internal */
export const within = (instants: Instants, start: number | null, end: number | null): Instants => {
  const keep = (found: number | undefined): number | undefined =>
    found === undefined || (end !== null && found >= end) || (start !== null && found < start) ? undefined : found
  return {
    after: (instant) => keep(instants.after(start === null ? instant : Math.max(instant, start - 1))),
    before: (instant) => keep(instants.before(end === null ? instant : Math.min(instant, end)))
  }
}
