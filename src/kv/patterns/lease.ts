/**
 * A claim on a name, kept in a Kv by whoever works for it: the base of locks, idempotency keys and single flight.
 *
 * Two entries make a claim. The *fence* is written when the claim is taken and not touched after that, so its versionstamp names
 * this hold: a commit that checks it holds only while nobody else has taken over. The *beat* is written again by every heartbeat
 * and says that the holder lives. Who takes a claim over writes the fence, in a commit that checks both.
 *
 * Where the store has a clock, the beat expires by it. Where each process has its own, a deadline means nothing to another one:
 * there the beat has none, and its holder is dead when it stayed unchanged for its lease as this process's monotonic clock tells.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { makeCommitIds } from "../../internal/ids.ts"
import { shielded } from "../../internal/shielded.ts"
import { Conflict, type KvError } from "../KvError.ts"
import type { Entry, Key, Versionstamp } from "../model.ts"
import { Check, type Step, versionstampOf } from "../op.ts"
import type { Service } from "../service.ts"
import { monotonicMillis } from "./settings.ts"

/** Where a claim is kept, and how long one lasts. */
export interface Place {
  readonly kv: Service
  readonly fence: Key
  readonly beat: Key
  /** Milliseconds a claim taken here lasts without a heartbeat. */
  readonly lease: number
  /** No clock rules expiry for all processes: who lives is found out by watching. */
  readonly observed: boolean
}

export const placeOf = (kv: Service, room: string, key: Key, lease: number): Place => ({
  kv,
  fence: [room, "fence", ...key],
  beat: [room, "beat", ...key],
  lease,
  observed: kv.capabilities.clock === "process" && kv.capabilities.shared
})

/** What is stored of a claim, as one snapshot saw it, with further keys that were asked for. */
export interface Look {
  readonly fence: Option.Option<Entry>
  readonly beat: Option.Option<Entry>
  readonly others: ReadonlyArray<Option.Option<Entry>>
}

export const look = (place: Place, others: ReadonlyArray<Key> = []): Effect.Effect<Look, KvError> =>
  Effect.map(place.kv.getMany([place.fence, place.beat, ...others]), ([fence, beat, ...rest]) => ({
    fence: fence ?? Option.none(),
    beat: beat ?? Option.none(),
    others: rest
  }))

/** One hold of a claim. */
export interface Held {
  readonly owner: string
  readonly fence: Versionstamp
  /** By the monotonic clock: from before the last commit that is known to have renewed it. */
  renewed: number
}

/** Grows from hold to hold: the counter of the commit that took the claim. */
export const tokenOf = (held: Held): bigint => BigInt(`0x${held.fence.slice(0, 16)}`)

export const checkOf = (place: Place, held: Held): Check => new Check(place.fence, held.fence)

export const checkStep = (key: Key, expected: Option.Option<Entry> | Versionstamp | null): Step => ({
  _tag: "Check",
  key,
  versionstamp: versionstampOf(expected)
})

export const setStep = (key: Key, value: unknown, expireIn?: number): Step => ({
  _tag: "Set",
  key,
  value: { _tag: "Json", text: JSON.stringify(value) },
  expireIn
})

export const deleteStep = (key: Key): Step => ({ _tag: "Delete", key })

/** Commits checks and mutations without an ack among them: `false` when a check did not hold. */
export const tryCommit = (kv: Service, steps: ReadonlyArray<Step>): Effect.Effect<Versionstamp | Conflict, KvError> =>
  Effect.catchTags(kv.commit(steps), {
    Conflict: (conflict) => Effect.succeed(conflict),
    ClaimLost: (lost) => Effect.die(lost)
  })

/** The entry that says the holder lives; its value tells others for how long it stands. */
export const beatStep = ({ beat, lease, observed }: Place, owner: string): Step =>
  setStep(beat, { owner, lease }, observed ? undefined : lease)

const ownerIn = (entry: Option.Option<Entry>): unknown =>
  Option.isSome(entry) ? (entry.value.value as { readonly owner?: unknown } | null)?.owner : undefined

/**
 * Takes a claim that was seen free or dead. `undefined`: somebody else was quicker, or one of the further checks did not hold. It
 * is to be called where it cannot be interrupted, so that a claim which was taken is known.
 */
export const take = (
  place: Place,
  seen: Look,
  further: ReadonlyArray<Step> = []
): Effect.Effect<Held | undefined, KvError> =>
  shielded(
    Effect.gen(function* () {
      const owner = (yield* makeCommitIds)()
      const renewed = yield* monotonicMillis
      const taken = yield* tryCommit(place.kv, [
        checkStep(place.fence, seen.fence),
        checkStep(place.beat, seen.beat),
        ...further,
        setStep(place.fence, { owner }),
        beatStep(place, owner)
      ]).pipe(
        Effect.catchIf(
          (error) => error.reason._tag === "CommitUnknown",
          (unknown) =>
            // What it wrote tells: nobody else has this owner's name.
            Effect.flatMap(place.kv.get(place.fence), (fence) =>
              Option.isSome(fence) && ownerIn(fence) === owner
                ? Effect.succeed(fence.value.versionstamp)
                : Effect.fail(unknown)
            )
        )
      )
      return taken instanceof Conflict ? undefined : { owner, fence: taken, renewed }
    })
  )

/** Says that the holder lives. `false`: the claim is somebody else's, or was given back. */
export const renew = (place: Place, held: Held): Effect.Effect<boolean, KvError> =>
  Effect.map(
    tryCommit(place.kv, [checkStep(place.fence, held.fence), beatStep(place, held.owner)]),
    (result) => !(result instanceof Conflict)
  )

/** The steps of a commit that gives the claim back, and holds only if it still is this hold's. */
export const giveBackSteps = (place: Place, held: Held): ReadonlyArray<Step> => [
  checkStep(place.fence, held.fence),
  deleteStep(place.fence),
  deleteStep(place.beat)
]

/** Gives the claim back. `false`: it was lost before. If the store cannot be reached the claim ends with its lease. */
export const giveBack = (place: Place, held: Held, further: ReadonlyArray<Step> = []): Effect.Effect<boolean> =>
  shielded(
    Effect.matchEffect(tryCommit(place.kv, [...giveBackSteps(place, held), ...further]), {
      onSuccess: (result) => Effect.succeed(!(result instanceof Conflict)),
      onFailure: (error) =>
        Effect.as(
          Effect.logWarning("effect-seams: a claim could not be given back and ends with its lease", error.message),
          true
        )
    })
  )

const leaseIn = (entry: Entry, fallback: number): number => {
  const lease = (entry.value as { readonly lease?: unknown } | null)?.lease
  return typeof lease === "number" && lease > 0 ? lease : fallback
}

/**
 * What one observer knows of an entry that somebody renews: how long it has stood as it is. Where the store's clock expires such
 * entries, one that is there is alive.
 */
export class Observer {
  readonly #place: Place
  #stamp: Versionstamp | undefined
  #since = 0
  constructor(place: Place) {
    this.#place = place
  }
  /** Milliseconds until the owner of the entry counts as dead if nothing changes; 0: it does. Infinity: the store will say. */
  rest(entry: Option.Option<Entry>, now: number): number {
    if (Option.isNone(entry)) return 0
    if (!this.#place.observed) return Infinity
    if (this.#stamp !== entry.value.versionstamp) {
      this.#stamp = entry.value.versionstamp
      this.#since = now
    }
    return Math.max(0, this.#since + leaseIn(entry.value, this.#place.lease) - now)
  }
}
