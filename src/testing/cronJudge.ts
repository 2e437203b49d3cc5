/**
 * Whether schedulers kept their promise about slots, from what their handlers saw and what the history holds.
 */

/**
 * One start of a handler.
 *
 * @since 0.1.0
 * @category models
 */
export interface CronStart {
  readonly slot: number
  readonly runner: string
  readonly attempt: number
  readonly token: number
}

/**
 * One record of the history.
 *
 * @since 0.1.0
 * @category models
 */
export interface CronEnd {
  readonly slot: number
  readonly attempt: number
  readonly token: number
  readonly outcome: string
}

/**
 * What came out.
 *
 * @since 0.1.0
 * @category models
 */
export interface CronVerdict {
  readonly slots: number
  readonly starts: number
  /** Slots that were started again, after a runner had lost its lease. */
  readonly again: number
  /** What broke the promise; empty when it was kept. */
  readonly problems: ReadonlyArray<string>
}

/**
 * The promise: there is no hole in the slots; each is started once, and again only when the runner of the start before had lost its
 * lease (`lost`: runners that crashed or stood still), as a later attempt with a greater token; each has one record, that of its
 * last start.
 *
 * @since 0.1.0
 * @category testing
 */
export const judgeCron = (seen: {
  readonly period: number
  readonly starts: ReadonlyArray<CronStart>
  readonly ends: ReadonlyArray<CronEnd>
  readonly lost: ReadonlySet<string>
}): CronVerdict => {
  const problems: Array<string> = []
  const bySlot = bySlotOf(seen.starts)
  const ends = bySlotOf(seen.ends)
  const slots = Array.from(bySlot.keys()).toSorted((a, b) => a - b)
  for (const [i, slot] of slots.entries()) {
    const before = slots[i - 1]
    if (before !== undefined && slot - before !== seen.period) problems.push(`a hole between ${before} and ${slot}`)
  }
  let again = 0
  for (const [slot, starts] of bySlot) {
    if (starts.length > 1) again++
    for (const [i, start] of starts.entries()) {
      const before = starts[i - 1]
      if (before === undefined) {
        if (start.attempt > 1 && seen.lost.size === 0) problems.push(`slot ${slot} began with attempt ${start.attempt}`)
        continue
      }
      if (!seen.lost.has(before.runner)) problems.push(`slot ${slot} was started again, and ${before.runner} was alive`)
      if (start.attempt <= before.attempt)
        problems.push(`slot ${slot}: attempt ${start.attempt} after ${before.attempt}`)
      if (start.token <= before.token) problems.push(`slot ${slot}: token ${start.token} after ${before.token}`)
    }
    const last = starts.at(-1)!
    const records = ends.get(slot) ?? []
    if (records.length !== 1) problems.push(`slot ${slot} has ${records.length} records`)
    else if (records[0]!.token !== last.token || records[0]!.attempt !== last.attempt) {
      problems.push(`slot ${slot} was recorded by token ${records[0]!.token}, its last start had ${last.token}`)
    }
  }
  return { slots: slots.length, starts: seen.starts.length, again, problems }
}

const bySlotOf = <A extends { readonly slot: number }>(
  all: ReadonlyArray<A>
): ReadonlyMap<number, ReadonlyArray<A>> => {
  const groups = new Map<number, Array<A>>()
  for (const one of all) {
    const group = groups.get(one.slot)
    if (group === undefined) groups.set(one.slot, [one])
    else group.push(one)
  }
  return groups
}
