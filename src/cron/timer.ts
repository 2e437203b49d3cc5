/**
 * One sleeping fiber for any number of jobs: they wait in a sorted map by the time they are due, and the fiber sleeps until
 * the first. With nothing to wait for it holds no timer at all.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { compareNumbers, compareStrings, SortedMap } from "../internal/sortedMap.ts"

/** @internal */
export interface Timer {
  /** Wakes for `id` at the given time of the store's clock; `undefined`: not at all. Replaces what was set before. */
  readonly set: (id: string, at: number | undefined) => void
  /** How far the store's clock is ahead of this process's clock. */
  readonly adjust: (offset: number) => void
  /** When an id is due, as it was set. */
  readonly at: (id: string) => number | undefined
  /** Runs until interrupted; `fire` is given what is due, in order of time and id. */
  readonly run: (fire: (ids: ReadonlyArray<string>) => Effect.Effect<void>) => Effect.Effect<never>
}

interface Due {
  readonly at: number
  readonly id: string
}

// The machine's clock can be set, and its timers stand still while the machine is suspended: without a look at the clock
// now and then, a laptop that slept over a slot would sleep on for as long as the timer had left.
const recheck = 60_000

/** @internal */
export const makeTimer = (): Timer => {
  const due = new SortedMap<Due, true>((a, b) => compareNumbers(a.at, b.at) || compareStrings(a.id, b.id))
  const byId = new Map<string, Due>()
  const changed = Latch.makeUnsafe()
  let offset = 0
  let sleepingUntil = Number.POSITIVE_INFINITY

  const set: Timer["set"] = (id, at) => {
    const old = byId.get(id)
    if (old?.at === at) return
    if (old !== undefined) due.delete(old)
    if (at === undefined) {
      byId.delete(id)
    } else {
      const entry = { at, id }
      byId.set(id, entry)
      due.set(entry, true)
    }
    // Sooner than the sleep, or not at all any more.
    const head = due.firstKey()?.at
    if (head === undefined ? sleepingUntil !== Number.POSITIVE_INFINITY : head < sleepingUntil) changed.openUnsafe()
  }

  const takeDue = (now: number): ReadonlyArray<string> => {
    const ids: Array<string> = []
    for (let head = due.firstKey(); head !== undefined && head.at <= now; head = due.firstKey()) {
      due.delete(head)
      byId.delete(head.id)
      ids.push(head.id)
    }
    return ids
  }

  return {
    set,
    adjust: (next) => {
      // Each answer of a server measures the offset anew; only a real step needs a look at once.
      const step = next > offset + 100
      offset = next
      if (step) changed.openUnsafe()
    },
    at: (id) => byId.get(id)?.at,
    run: (fire) =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        // A clock that the program provides (a test's) is followed exactly: it cannot be suspended.
        const longest = clock === Context.get(Context.empty(), Clock.Clock) ? recheck : Number.POSITIVE_INFINITY
        while (true) {
          changed.closeUnsafe()
          const now = clock.currentTimeMillisUnsafe() + offset
          const ids = takeDue(now)
          if (ids.length > 0) {
            // Whatever is set meanwhile is looked at afterwards.
            sleepingUntil = Number.NEGATIVE_INFINITY
            yield* fire(ids)
            continue
          }
          const head = due.firstKey()
          sleepingUntil = head?.at ?? Number.POSITIVE_INFINITY
          yield* head === undefined
            ? changed.await
            : Effect.race(Effect.sleep(Math.min(head.at - now, longest)), changed.await)
        }
      })
  }
}
