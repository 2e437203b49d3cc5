/** Entries as the policy reads them: by their keys, and in ranges. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { successor } from "../../../kv/list.ts"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Driver, Range, Stored } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeEntry } from "../native.ts"
import { nativeLimits } from "../native.ts"
import { untouched } from "./between.ts"
import type { Foreign, Found } from "./envelope.ts"
import { decodeEnvelope, decodeTail, stampOfFound, storedOf } from "./envelope.ts"
import { foreignEntry, kvError, reservedKey, unavailable } from "./error.ts"
import { isOwn, nativeKey, packedKey, tailKey } from "./keys.ts"
import { chunksOf, parallelReads } from "./looking.ts"
import { isLive } from "./plan.ts"
import { selectorOf } from "./ranges.ts"
import type { Place } from "./stamps.ts"
import { cursorOf, positionOf } from "./stamps.ts"
import type { BumpedSnapshot, Store } from "./store.ts"
import { readable, readableBumped } from "./store.ts"

/** From so many keys on a list is tried first. */
const worthAList = 28
/** How often several reads are repeated until they show one state. */
const tries = 20

export interface Reads {
  readonly getMany: Driver["getMany"]
  readonly list: Driver["list"]
  /** Entries of these keys, at this moment or later; each by itself. */
  readonly current: (keys: ReadonlyArray<Packed>) => Effect.Effect<ReadonlyMap<Packed, Stored>, NativeFault | KvError>
}

export const makeReads = (store: Store): Reads => {
  const { known } = store
  const { now, realClock, storeId } = store.connection

  const note = (key: Packed, entry: NativeEntry): Found | Foreign | undefined => {
    const found = decodeEnvelope(key, entry)
    if (found?._tag === "Found") known.found(found)
    else known.forget(key)
    return found
  }

  /** The entries whole, tails included. `undefined`: one was replaced between its two reads. */
  const whole = (
    found: ReadonlyArray<Found | undefined>
  ): Effect.Effect<ReadonlyArray<Stored | undefined> | undefined, NativeFault> => {
    const split = found.filter((one) => one?.tail !== undefined) as ReadonlyArray<Found>
    if (split.length === 0) return Effect.succeed(found.map((one) => (one === undefined ? undefined : storedOf(one))))
    return Effect.map(
      Effect.forEach(
        chunksOf(split, nativeLimits.read),
        (chunk) => store.getMany(chunk.map((one) => tailKey(one.written.commitId, one.tail!))),
        { concurrency: parallelReads }
      ),
      (read) => {
        const tails = new Map<Found, Uint8Array>()
        for (const [i, entry] of read.flat().entries()) {
          const tail = decodeTail(entry.value)
          if (tail === undefined) return undefined
          tails.set(split[i]!, tail.bytes)
        }
        return found.map((one) => (one === undefined ? undefined : storedOf(one, tails.get(one))))
      }
    )
  }

  const oneSnapshot = (
    keys: ReadonlyArray<Packed>
  ): Effect.Effect<ReadonlyArray<Stored | undefined>, NativeFault | KvError> =>
    Effect.gen(function* () {
      while (true) {
        const { entries } = yield* store.read(keys.map(nativeKey))
        const time = now()
        const found = keys.map((key, i) => note(key, entries[i]!))
        const foreign = foreignIn(found)
        if (foreign !== undefined) return yield* foreignEntry(foreign.key)
        const stored = yield* whole(found.map((one) => alive(one, time)))
        if (stored !== undefined) return stored
      }
    })

  interface Collected {
    readonly found: ReadonlyArray<Found | Foreign | undefined>
    /** Of the oldest snapshot and of the newest. */
    readonly from: Place
    readonly upTo: Place
  }

  const collect = (keys: ReadonlyArray<Packed>): Effect.Effect<Collected, NativeFault> =>
    Effect.map(
      Effect.forEach(
        chunksOf(keys, readableBumped),
        (chunk) => Effect.map(store.readBumped(chunk.map(nativeKey)), (snapshot) => ({ chunk, snapshot })),
        { concurrency: parallelReads }
      ),
      (snapshots) => ({
        found: snapshots.flatMap(({ chunk, snapshot }) => chunk.map((key, i) => note(key, snapshot.entries[i]!))),
        ...spanOf(snapshots.map(({ snapshot }) => snapshot))
      })
    )

  /**
   * Several snapshots that show one state: no commit between the oldest and the newest of them touched these keys. Entries alone do not
   * tell: one that is missing in two rounds of reads may have been there in between.
   */
  const severalSnapshots = (
    keys: ReadonlyArray<Packed>
  ): Effect.Effect<ReadonlyArray<Stored | undefined>, NativeFault | KvError> =>
    Effect.gen(function* () {
      const asked = new Set(keys)
      for (let i = 0; i < tries; i++) {
        const read = yield* collect(keys)
        const time = now()
        if (yield* untouched(store, read, (key) => asked.has(key))) {
          const foreign = foreignIn(read.found)
          if (foreign !== undefined) return yield* foreignEntry(foreign.key)
          const stored = yield* whole(read.found.map((one) => alive(one, time)))
          if (stored !== undefined) return stored
        }
        if (i > 2) yield* Effect.sleep(i * (yield* Random.next))
      }
      return yield* unavailable(
        "getMany",
        `the keys change faster than they can be read together; ask for at most ${readable} keys at a time`
      )
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  const getMany: Driver["getMany"] = (keys) => {
    for (const key of keys) if (isOwn(key)) return Effect.fail(reservedKey(key))
    const unique = Array.from(new Set(keys))
    const read = unique.length <= readable ? oneSnapshot(unique) : severalSnapshots(unique)
    return Effect.map(failing("getMany", read), (found) => {
      if (unique.length === keys.length) return found
      const at = new Map(unique.map((key, i) => [key, found[i]]))
      const given = new Set<Packed>()
      return keys.map((key) => {
        const stored = at.get(key)
        if (stored === undefined || !given.has(key)) {
          given.add(key)
          return stored
        }
        return copyOf(stored)
      })
    })
  }

  const current: Reads["current"] = (keys) =>
    keys.length < worthAList
      ? looked(keys)
      : Effect.flatMap(neighbours(keys), ({ entries, left }) =>
          Effect.map(looked(left), (others) => new Map([...entries, ...others]))
        )

  /** Many keys are often neighbours: one list shows hundreds of them. `left`: those that it did not reach. */
  const neighbours = (
    keys: ReadonlyArray<Packed>
  ): Effect.Effect<
    { readonly entries: ReadonlyMap<Packed, Stored>; readonly left: ReadonlyArray<Packed> },
    NativeFault | KvError
  > =>
    Effect.gen(function* () {
      const sorted = keys.toSorted()
      const end = successor(sorted.at(-1)!)
      const limit = Math.min(nativeLimits.list - 1, keys.length * 2)
      const nothing = { entries: new Map<Packed, Stored>(), left: keys }
      const before = yield* seen
      const { found, lists } = yield* listed({ start: sorted[0]!, end }, limit, false)
      const { generation } = yield* store.read([])
      const foreign = foreignIn(found)
      if (lists > 1 || foreign !== undefined || generation.versionstamp !== before.checked) return nothing
      const stored = yield* whole(found as ReadonlyArray<Found>)
      if (stored === undefined) return nothing
      const reached = found.length < limit ? end : found.at(-1)!.key
      const wanted = new Set(keys)
      const entries = new Map<Packed, Stored>()
      for (const one of stored) if (one !== undefined && wanted.has(one.key)) entries.set(one.key, one)
      return { entries, left: sorted.filter((key) => key > reached) }
    })

  const looked: Reads["current"] = (keys) =>
    Effect.map(
      Effect.forEach(chunksOf(keys, readable), (chunk) => oneSnapshot(chunk), { concurrency: parallelReads }),
      (chunks) => {
        const entries = new Map<Packed, Stored>()
        for (const stored of chunks.flat()) if (stored !== undefined) entries.set(stored.key, stored)
        return entries
      }
    )

  interface Part {
    readonly found: ReadonlyArray<Found | Foreign>
    /** How often Deno KV was asked: one list is one snapshot. */
    readonly lists: number
  }

  /** The living entries of a range, as many as wanted, in as few lists as possible. */
  const listed = (range: Range, limit: number, reverse: boolean): Effect.Effect<Part, NativeFault> =>
    Effect.gen(function* () {
      const time = now()
      const found: Array<Found | Foreign> = []
      let lists = 0
      let rest = range
      while (found.length < limit) {
        const selector = selectorOf(rest)
        if (selector === undefined) break
        // One more than wanted: the selection may hold one key before the range.
        const most = Math.min(nativeLimits.list, limit - found.length + 1)
        const entries = yield* store.list(selector, { limit: most, reverse })
        lists++
        let last: Packed | undefined
        for (const entry of entries) {
          const key = packedKey(entry.key)
          last = key
          if (key < rest.start || key >= rest.end) continue
          const one = note(key, entry)
          if (
            found.length < limit &&
            one !== undefined &&
            (one._tag === "Foreign" || isLive(one.written.deadline, time))
          )
            found.push(one)
        }
        if (entries.length < most || last === undefined) break
        rest = reverse ? { start: rest.start, end: last } : { start: successor(last), end: rest.end }
      }
      return { found, lists }
    })

  const list: Driver["list"] = (range, { limit, reverse }) => {
    const read = Effect.gen(function* () {
      let state = yield* seen
      for (let i = 0; i < tries; i++) {
        const { found, lists } = yield* listed(range, limit, reverse)
        const after = yield* store.readBumped([])
        const one =
          after.generation.versionstamp === state.checked &&
          (lists <= 1 || (yield* unchanged(reached(range, found, { limit, reverse }), state, stateOf(after))))
        if (one) {
          const foreign = foreignIn(found)
          if (foreign !== undefined) return yield* foreignEntry(foreign.key)
          const stored = yield* whole(found as ReadonlyArray<Found>)
          if (stored !== undefined)
            return {
              entries: stored as ReadonlyArray<Stored>,
              at: cursorOf(storeId, { ...state.place, position: shownAt(state.place.position, found) })
            }
        }
        state = stateOf(after)
      }
      return yield* unavailable(
        "list",
        `the range changes faster than ${limit} entries can be read in one state; ask for less than ${nativeLimits.list} at a time`
      )
    })
    return limit <= 0
      ? Effect.map(failing("list", seen), (state) => ({
          entries: [],
          at: cursorOf(storeId, state.place)
        }))
      : failing("list", read)
  }

  const unchanged = ({ end, start }: Range, { place: from }: State, { place: upTo }: State) =>
    untouched(store, { from, upTo }, (key) => key >= start && key < end)

  /** What was seen last, which is what the store was at some time before now. */
  const seen: Effect.Effect<State, NativeFault> = Effect.suspend(() => {
    const { generation, place } = store.last
    return generation === undefined || place === undefined
      ? Effect.map(store.readBumped([]), stateOf)
      : Effect.succeed({ checked: generation.versionstamp, place })
  })

  return { getMany, list, current }
}

/** Bytes go to whoever asked, to do with as they like. */
const copyOf = (stored: Stored): Stored =>
  stored.value._tag === "Bytes"
    ? { ...stored, value: { _tag: "Bytes", bytes: new Uint8Array(stored.value.bytes) } }
    : stored

/** The store at one moment: as long as the generation is the same, no large commit was applied. */
interface State {
  readonly checked: string
  readonly place: Place
}

const stateOf = ({ generation, position }: BumpedSnapshot): State => ({
  checked: generation.versionstamp,
  place: { position, generation: generation.number }
})

/** A read shows every commit up to the newest entry that it gives. */
const shownAt = (position: string, found: ReadonlyArray<Found | Foreign>): string => {
  let shown = position
  for (const one of found) {
    if (one._tag === "Foreign") continue
    const at = positionOf(stampOfFound(one))
    if (at > shown) shown = at
  }
  return shown
}

/** From the oldest of several snapshots to the newest. */
const spanOf = (snapshots: ReadonlyArray<BumpedSnapshot>): { readonly from: Place; readonly upTo: Place } => {
  let { place: from } = stateOf(snapshots[0]!)
  let upTo = from
  for (const snapshot of snapshots) {
    const { place } = stateOf(snapshot)
    if (place.position < from.position) from = place
    if (place.position > upTo.position) upTo = place
  }
  return { from, upTo }
}

/** The part of a range that a list came to look at. */
const reached = (
  range: Range,
  found: ReadonlyArray<Found | Foreign>,
  { limit, reverse }: { readonly limit: number; readonly reverse: boolean }
): Range => {
  const last = found.at(-1)?.key
  if (last === undefined || found.length < limit) return range
  return reverse ? { start: last, end: range.end } : { start: range.start, end: successor(last) }
}

const failing = <A>(operation: string, effect: Effect.Effect<A, NativeFault | KvError>): Effect.Effect<A, KvError> =>
  Effect.catchTag(effect, "NativeFault", (fault) => Effect.fail(kvError(operation)(fault)))

const alive = (found: Found | Foreign | undefined, time: number): Found | undefined =>
  found?._tag === "Found" && isLive(found.written.deadline, time) ? found : undefined

const foreignIn = (found: ReadonlyArray<Found | Foreign | undefined>): Foreign | undefined =>
  found.find((one) => one?._tag === "Foreign")
