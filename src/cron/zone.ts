/**
 * What the engine asks of a time zone: its offset at an instant, and where that changes. A wall time is written as the
 * milliseconds that instant would have in UTC.
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

const hour = 3_600_000
const day = 24 * hour
// No zone has ever moved its clock by more than a day at once (Pacific/Apia skipped 2011-12-30), and no two changes of
// one zone lie closer together than the three days that are looked at at once.
const reach = 26 * hour
const mostDays = 256

/** @internal */
export interface Zone {
  readonly id: string
  /** Milliseconds to add to an instant to get its wall time. */
  readonly offset: (instant: number) => number
  /** The change of offset within 26 hours of an instant (or a little further away), if there is one. */
  readonly changeNear: (instant: number) => OffsetChange | undefined
}

/** The first instant with the new offset, and both offsets. @internal */
export interface OffsetChange {
  readonly at: number
  readonly before: number
  readonly after: number
}

interface Day {
  readonly offset: number
  readonly change: OffsetChange | undefined
}

const fixed = (id: string, offset: number): Zone => ({ id, offset: () => offset, changeNear: () => undefined })

/** @internal */
export const makeZone = (name: string): Option.Option<Zone> => {
  if (name === "UTC") return Option.some(fixed("UTC", 0))
  return Option.map(DateTime.zoneFromString(name), (zone) => {
    if (zone._tag === "Offset") return fixed(name, zone.offset)
    const ask = (instant: number) => DateTime.zonedOffset(DateTime.makeZonedUnsafe(instant, { timeZone: zone }))
    // Asking the runtime costs microseconds, and an engine asks about the same days again and again.
    const days = new Map<number, Day>()
    const dayOf = (instant: number): Day => {
      const index = Math.floor(instant / day)
      const known = days.get(index)
      if (known !== undefined) return known
      if (days.size >= mostDays) days.clear()
      const start = index * day
      const found: Day = { offset: ask(start), change: findChange(ask, start - reach, start + day + reach) }
      days.set(index, found)
      return found
    }
    return {
      id: zone.id,
      offset: (instant) => {
        const { change, offset } = dayOf(instant)
        return change === undefined ? offset : instant < change.at ? change.before : change.after
      },
      changeNear: (instant) => dayOf(instant).change
    }
  })
}

const findChange = (offset: (instant: number) => number, from: number, to: number): OffsetChange | undefined => {
  const before = offset(from)
  const after = offset(to)
  if (before === after) return undefined
  let low = from
  let high = to
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offset(middle) === before) low = middle
    else high = middle
  }
  return { at: high, before, after }
}
