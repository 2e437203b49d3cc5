/**
 * Getting a claim in the order of asking. Who finds it taken puts a ticket in a line, renews it like a claim, and waits for the
 * ticket before its own to go; who is first waits for the claim. So one ticket that goes wakes one waiter.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { makeMessageIds } from "../../internal/ids.ts"
import { shielded } from "../../internal/shielded.ts"
import type { KvError } from "../KvError.ts"
import type { Entry, Key } from "../model.ts"
import { checkStep, deleteStep, type Held, look, Observer, type Place, setStep, take, tryCommit } from "./lease.ts"
import { monotonicMillis } from "./settings.ts"
import { patiently, waitFor } from "./wait.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The claim, or `undefined` when it was not free within `wait` milliseconds. To be called where it cannot be interrupted. */
export const acquire = (
  place: Place,
  line: Key,
  wait: number,
  restore: Restore
): Effect.Effect<Held | undefined, KvError> =>
  Effect.gen(function* () {
    const observer = new Observer(place)
    const started = yield* monotonicMillis
    const [seen, first] = yield* restore(
      Effect.all(
        [look(place), wait === 0 ? Effect.succeed({ entries: [] }) : place.kv.page({ prefix: line }, { limit: 1 })],
        {
          concurrency: 2
        }
      )
    )
    const free = observer.rest(seen.beat, started) === 0
    if (free && first.entries.length === 0) {
      const held = yield* take(place, seen)
      if (held !== undefined) return held
    }
    return wait === 0 ? undefined : yield* queueUp(place, line, { observer, deadline: started + wait, restore })
  })

interface Waiting {
  readonly observer: Observer
  /** By the monotonic clock. */
  readonly deadline: number
  readonly restore: Restore
}

const queueUp = (
  place: Place,
  line: Key,
  { deadline, observer, restore }: Waiting
): Effect.Effect<Held | undefined, KvError> =>
  Effect.gen(function* () {
    const { kv, lease, observed } = place
    const id = (yield* makeMessageIds)(yield* restore(kv.now))
    const ticket: Key = [...line, id]
    const renewal = setStep(ticket, { lease }, observed ? undefined : lease)
    const before = new Observer(place)
    let renewed = -Infinity

    const turn: Effect.Effect<Held | undefined | "again", KvError> = Effect.gen(function* () {
      const now = yield* monotonicMillis
      if (now >= deadline) return undefined
      if (now >= renewed + lease / 3) {
        yield* restore(shielded(tryCommit(kv, [renewal])))
        renewed = now
      }
      const [seen, ahead] = yield* restore(
        Effect.all([look(place), kv.page({ prefix: line, end: ticket }, { limit: 1, reverse: true })], {
          concurrency: 2
        })
      )
      const next = ahead.entries[0]
      const most = Math.max(1, Math.min(deadline, renewed + lease / 3) - now)
      if (next !== undefined) {
        const rest = before.rest(Option.some(next), now)
        if (rest === 0) yield* dropTicket(place, next)
        else yield* restore(waitFor(kv, Math.min(most, rest), { gone: [next.key] }))
        return "again"
      }
      const rest = observer.rest(seen.beat, now)
      if (rest === 0) return (yield* take(place, seen, [deleteStep(ticket)])) ?? "again"
      yield* restore(waitFor(kv, Math.min(most, rest), { gone: [place.beat] }))
      return "again"
    })

    return yield* Effect.gen(function* () {
      while (true) {
        const result = yield* patiently(lease, turn)
        if (result !== "again") return result
      }
    }).pipe(
      Effect.tap((held) => (held === undefined ? leave(place, ticket) : Effect.void)),
      Effect.onError(() => leave(place, ticket))
    )
  })

/** Who gives up frees the way; a ticket that stays for want of a store ends with its lease. */
const leave = ({ kv }: Place, ticket: Key): Effect.Effect<void> =>
  Effect.ignore(shielded(tryCommit(kv, [deleteStep(ticket)])))

/** Of a waiter that gave no sign of life for its lease. */
const dropTicket = ({ kv }: Place, { key, versionstamp }: Entry): Effect.Effect<void, KvError> =>
  Effect.asVoid(tryCommit(kv, [checkStep(key, versionstamp), deleteStep(key)]))
