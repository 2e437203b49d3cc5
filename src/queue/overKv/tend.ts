/** What time alone brings about in a queue: messages become due or expire, leases run out, and marked lines get their heads. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { messageExpired } from "../../internal/queueMetrics.ts"
import type { Entry, PageCursor } from "../../kv/model.ts"
import type { QueueError } from "../QueueError.ts"
import { type Change, commitOrFail, healing } from "./changes.ts"
import { lastPart, timerEntryOf } from "./keys.ts"
import { rankings } from "./lines.ts"
import { advance, deleteStep, isIndexed } from "./machine.ts"
import { changeOf, nowOf, type QueuePlace, readMessages, readPage } from "./place.ts"

export interface Present {
  readonly now: number
  /** The same moment, or one just before it, by the clock that this process sleeps by. */
  readonly local: number
  readonly paused: boolean
  /** When time brings the next thing; `Infinity`: never. */
  readonly next: number
  /** Something was due, and was done. */
  readonly changed: boolean
  /** More is due than was done. */
  readonly more: boolean
}

/** Entries of the timer index read at first, and when more are due. */
const glance = 16
const stare = 256
/** How often a claim goes on bringing the queue up to the present before it takes what is there. */
const passes = 24

/** Lets everything happen that is due by now: due times, ends of leases and of times to live, and the lines they disturb. */
export const present = (place: QueuePlace, operation: string): Effect.Effect<Present, QueueError> =>
  Effect.gen(function* () {
    let changed = false
    let seen = yield* pass(place, operation, place.observed === undefined ? glance : stare)
    for (let i = 1; i < passes && seen.due; i++) {
      changed = true
      seen = yield* pass(place, operation, stare)
    }
    return {
      now: seen.now,
      local: seen.local,
      paused: seen.paused,
      next: seen.next,
      changed: changed || seen.due,
      more: seen.due
    }
  })

/**
 * Sleeps until a time of the store's clock that was seen with a moment. Counted from that moment and not from the call, as the
 * clock may have gone on meanwhile.
 */
export const sleepUntil = (
  at: number,
  { local, now }: Pick<Present, "local" | "now">,
  most: number
): Effect.Effect<void> => {
  const millis = Math.min(Math.max(0, Math.ceil(at - now)), most)
  if (millis === Number.POSITIVE_INFINITY) return Effect.never
  return Effect.flatMap(Clock.currentTimeMillis, (time) =>
    Effect.sleep(Math.max(0, Math.min(millis, longestSleep) - (time - local)))
  )
}

/** Timers of the platform overflow beyond 2^31 ms; a longer wait is taken in parts. */
const longestSleep = 86_400_000

interface Pass extends Omit<Present, "changed" | "more"> {
  readonly due: boolean
}

/** One look at the timer index, and what it says is due. */
const pass = (place: QueuePlace, operation: string, limit: number): Effect.Effect<Pass, QueueError> =>
  Effect.gen(function* () {
    let paused = false
    let next = Number.POSITIVE_INFINITY
    let due = false
    let cursor: PageCursor | undefined
    while (true) {
      const local = yield* Clock.currentTimeMillis
      const [now, page] = yield* Effect.all(
        [nowOf(place, operation), readPage(place, operation, place.keys.timerPrefix, { limit, cursor })],
        { concurrency: 2 }
      )
      const dirty: Array<Entry> = []
      const timers: Array<Entry> = []
      let future = false
      for (const entry of page.entries) {
        const timer = timerEntryOf(entry.key)
        if (timer._tag === "Paused") paused = true
        else if (timer._tag === "Dirty") dirty.push(entry)
        else if (timer.at > now) {
          next = Math.min(next, timer.at)
          future = true
          break
        } else {
          const ends = timer.kind === "l" ? yield* lostAt(place, entry, now) : now
          if (ends > now) next = Math.min(next, ends)
          else timers.push(entry)
        }
      }
      if (dirty.length > 0 || timers.length > 0) {
        due = true
        yield* happen(place, operation, timers, now)
        const changes = yield* rankings(place, operation, dirty)
        yield* commitOrFail(place, operation, changes)
      }
      cursor = Option.getOrUndefined(page.cursor)
      if (due || future || cursor === undefined) return { now, local, paused, next, due }
    }
  })

/**
 * When a lease whose deadline is over counts as lost. By the store's clock: then. Where each process has a clock of its own another
 * one's deadline means little, and the claim must also have stood still for a whole lease before the eyes of this process.
 */
const lostAt = (place: QueuePlace, entry: Entry, now: number): Effect.Effect<number> => {
  const { observed } = place
  if (observed === undefined) return Effect.succeed(now)
  return Effect.map(Clock.monotonicTimeNanos, (nanos) => {
    const millis = Number(nanos / 1_000_000n)
    const lease = Number(entry.value)
    const name = JSON.stringify(entry.key.slice(-3))
    const known = observed.get(name)
    if (known === undefined) {
      for (const [old, { forget }] of observed) {
        if (forget > millis) break
        observed.delete(old)
      }
      observed.set(name, { since: millis, forget: millis + 2 * lease + longestSleep })
    }
    return now + lease - (millis - (known?.since ?? millis))
  })
}

const happen = (place: QueuePlace, operation: string, timers: ReadonlyArray<Entry>, now: number) =>
  Effect.gen(function* () {
    const entries = new Map<string, Entry>()
    for (const entry of timers) entries.set(lastPart(entry.key), entry)
    const lost = new Set(
      timers
        .filter(({ key }) => (key.at(-2) as string) === "l")
        .map(({ key }) => `${String(key.at(-3))} ${lastPart(key)}`)
    )
    const found = yield* readMessages(place, operation, [...entries.keys()])
    let expired: Array<boolean> = []
    const changes: Array<Change> = []
    for (const [i, [seq, entry]] of [...entries].entries()) {
      const one = found[i]!
      const { message } = one
      const deadline = message?.claim?.deadline
      const after = message === undefined ? undefined : advance(message, now, lost.has(`${String(deadline)} ${seq}`))
      if (message !== undefined && after !== message) {
        const ends = after === undefined
        // Who waits has a timer of its own for what time brings; a lost claim it may see earlier than the others.
        const wakes = message.claim !== undefined
        const more = ends ? [deleteStep(place.keys.body(message.body))] : []
        changes.push(changeOf(place, one, after, { wakes, more }))
        expired.push(ends)
      } else if (!isIndexed(place.keys, message, entry.key)) {
        changes.push(healing({ key: entry.key, versionstamp: entry.versionstamp }, one.check))
        expired.push(false)
      }
    }
    const committed = yield* commitOrFail(place, operation, changes)
    expired = expired.filter((ends, i) => ends && committed[i] === true)
    if (expired.length > 0) yield* messageExpired(place.queue, expired.length)
  })
