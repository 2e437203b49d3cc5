/**
 * Watching: the current state, then the change log, without a gap between the two.
 *
 * The head of the log is taken before the state is read, so every change since then stands behind it. What the state showed
 * already is recognised in the log and passed over: for ranges by the place each page was read at, for single keys by the
 * versionstamp; unless the store was set back meanwhile, and what it showed is not part of it any more: then it is read again. A line is reported only when it still is the latest of its key, which coalesces bursts; the latest line of a
 * key always is, so the final state is always seen. Memory is one page of lines, however slow the consumer: it pulls, and when
 * the log was trimmed meanwhile the state is read again, announced by `Reset`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import type { Packed } from "../internal/keyCodec.ts"
import { isKeyProblem, unpack } from "../internal/keyCodec.ts"
import type { Driver, LogLine, Range, Stored, Watched } from "./driver.ts"
import { Compacted, KvError } from "./KvError.ts"
import { packKey, successor } from "./list.ts"
import type { Change, Cursor, Key, Versionstamp, WatchOptions } from "./model.ts"
import { decodeEntry, formatPacked } from "./value.ts"

const pageSize = 256
/** A quiet watch hands out a fresh cursor after this many changes of other keys, or after this long. */
const progressWakes = 64
const progressMillis = 10_000
const reconnect = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]).pipe(
  Schedule.jittered
)

/** A page of the initial state: all keys up to `upto`, as they were at `at`. */
interface Shown {
  readonly upto: Packed
  readonly at: Cursor
}

interface Listing {
  readonly _tag: "Listing"
  readonly from: Packed
  readonly head: Cursor
  readonly shown: ReadonlyArray<Shown>
}

/** What the initial state showed already. */
interface Covered {
  readonly shows: (line: LogLine) => boolean
  /** The last place it was read at; or a later one. */
  readonly at: Cursor
}

interface Following {
  readonly _tag: "Following"
  readonly after: Cursor
  /** Until the first complete read of the log. */
  readonly covered: Covered | undefined
  /** `Synced` is still owed. */
  readonly syncing: boolean
  readonly told: Cursor
  readonly toldAt: number
  readonly wakes: number
}

type State = Listing | Following | { readonly _tag: "Start" } | { readonly _tag: "Restart" }

type Step = readonly [ReadonlyArray<Change>, Option.Option<State>]

interface Target {
  readonly watched: Watched
  /** The initial state, or the next part of it. */
  readonly initial: (driver: Driver, state: Listing) => Effect.Effect<Step, KvError>
  readonly first: Packed
}

export interface Watching {
  readonly driver: Driver
  readonly health: HealthRegistry
  /** Told of the deadline of every entry that is reported, so that its expiry is not left to the slow poll. */
  readonly seen: (expiresAt: number) => void
  /** False once the scope of the service is closed: an outage is then not waited out, since it has no end. */
  readonly isOpen: () => boolean
}

export const watchKeys = (
  watching: Watching,
  keys: ReadonlyArray<Key>,
  options: WatchOptions | undefined
): Stream.Stream<Change, KvError> => {
  const packed = new Set<Packed>()
  for (const key of keys) {
    const one = packKey(key)
    if (typeof one !== "string") return Stream.fail(one)
    packed.add(one)
  }
  const all = Array.from(packed)
  return watch(watching, options, {
    watched: { _tag: "Keys", keys: packed },
    first: "" as Packed,
    initial: (driver, state) =>
      Effect.gen(function* () {
        const found = yield* driver.getMany(all)
        const seen = new Map<Packed, Versionstamp>()
        const changes: Array<Change> = []
        for (const stored of found) {
          if (stored === undefined) continue
          seen.set(stored.key, stored.versionstamp)
          changes.push(yield* put(stored))
        }
        const shows = (line: LogLine) => {
          const shown = seen.get(line.key)
          return shown !== undefined && line.versionstamp <= shown
        }
        const at = driver.log.holds === undefined ? state.head : yield* driver.log.head
        return [changes, Option.some(yield* follow(state.head, { shows, at }, true))] as const
      })
  })
}

export const watchRange = (
  watching: Watching,
  range: Range | KvError,
  options: WatchOptions | undefined
): Stream.Stream<Change, KvError> =>
  range instanceof KvError
    ? Stream.fail(range)
    : watch(watching, options, {
        watched: { _tag: "Range", range },
        first: range.start,
        initial: (driver, state) =>
          Effect.gen(function* () {
            const page = yield* driver.list({ start: state.from, end: range.end }, { limit: pageSize, reverse: false })
            const before = state.shown.at(-1)?.at ?? page.at
            if (before !== page.at && !(yield* holds(driver, before))) return again
            const changes: Array<Change> = []
            for (const stored of page.entries) changes.push(yield* put(stored))
            const last = page.entries.at(-1)?.key
            const complete = last === undefined || page.entries.length < pageSize
            const shown = extend(state.shown, { upto: complete ? range.end : last, at: page.at })
            if (!complete) return [changes, Option.some({ ...state, from: successor(last), shown })] as const
            const shows = (line: LogLine) => {
              const at = placeOf(shown, line.key)
              return at !== undefined && driver.log.covers(at, line)
            }
            return [changes, Option.some(yield* follow(state.head, { shows, at: page.at }, true))] as const
          })
      })

/** The whole state anew. */
const again: Step = [[], Option.some({ _tag: "Restart" })]

const holds = (driver: Driver, at: Cursor): Effect.Effect<boolean, KvError> =>
  driver.log.holds?.(at) ?? Effect.succeed(true)

/** Pages read at one place are remembered as one. */
const extend = (shown: ReadonlyArray<Shown>, page: Shown): ReadonlyArray<Shown> =>
  shown.at(-1)?.at === page.at ? [...shown.slice(0, -1), page] : [...shown, page]

const placeOf = (shown: ReadonlyArray<Shown>, key: Packed): Cursor | undefined => {
  let low = 0
  let high = shown.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (shown[mid]!.upto < key) low = mid + 1
    else high = mid
  }
  return shown[low]?.at
}

const put = (stored: Stored): Effect.Effect<Change, KvError> => {
  const entry = decodeEntry(stored)
  return entry instanceof KvError ? Effect.fail(entry) : Effect.succeed({ _tag: "Put", entry })
}

const follow = (after: Cursor, covered: Covered | undefined, syncing: boolean): Effect.Effect<Following> =>
  Effect.map(Clock.currentTimeMillis, (now) => ({
    _tag: "Following",
    after,
    covered,
    syncing,
    told: after,
    toldAt: now,
    wakes: 0
  }))

const watch = (
  { driver, health, isOpen, seen }: Watching,
  options: WatchOptions | undefined,
  target: Target
): Stream.Stream<Change, KvError> => {
  const since = options?.since
  const initial = options?.initial ?? since === undefined

  const start: Effect.Effect<Step, KvError> = Effect.gen(function* () {
    if (since !== undefined) {
      const after = yield* resolveSince(driver, since)
      const probe = yield* driver.log.read({ after, watched: target.watched, limit: 1 })
      if (probe._tag === "Trimmed") return yield* new KvError({ reason: new Compacted({ detail: probe.detail }) })
      if (!initial) return [[], Option.some(yield* follow(after, undefined, false))] as const
    }
    const head = yield* driver.log.head
    if (initial) return [[], Option.some(listing(head, target.first))] as const
    return [[], Option.some(yield* follow(head, undefined, true))] as const
  })

  const step = (state: State): Effect.Effect<Step, KvError> => {
    switch (state._tag) {
      case "Start":
        return start
      case "Restart":
        return Effect.map(
          driver.log.head,
          (head) => [[{ _tag: "Reset" }], Option.some(listing(head, target.first))] as const
        )
      case "Listing":
        return target.initial(driver, state)
      case "Following":
        return advance(driver, target.watched, state)
    }
  }
  // An outage shows in the health and is waited out: nothing is missed, the log is read on from the same place.
  const patient = (part: PartHandle) => (state: State) =>
    step(state).pipe(
      Effect.tapError((error) => (error.isRetryable ? part.down(error.message) : Effect.void)),
      Effect.retry({ schedule: reconnect, while: (error) => error.isRetryable && isOpen() }),
      Effect.tap(([changes]) => {
        for (const change of changes)
          if (change._tag === "Put" && Option.isSome(change.entry.expiresAt)) seen(change.entry.expiresAt.value)
        return part.up
      })
    )

  return Stream.unwrap(
    Effect.map(health.part("kv watcher"), (part) =>
      Stream.paginate<State, Change, KvError>({ _tag: "Start" }, patient(part))
    )
  )
}

const listing = (head: Cursor, from: Packed): Listing => ({ _tag: "Listing", from, head, shown: [] })

const resolveSince = (driver: Driver, since: Cursor | Versionstamp): Effect.Effect<Cursor, KvError> =>
  // A cursor holds a dot, a versionstamp is hexadecimal only.
  since.includes(".")
    ? Effect.succeed(since as Cursor)
    : Effect.filterOrFail(
        driver.log.locate(since as Versionstamp),
        (cursor) => cursor !== undefined,
        () =>
          new KvError({ reason: new Compacted({ detail: `the change log does not know the versionstamp ${since}` }) })
      )

/** Reads on, and waits when there is nothing to tell. */
const advance = (driver: Driver, watched: Watched, from: Following): Effect.Effect<Step, KvError> =>
  Effect.gen(function* () {
    let state = from
    while (true) {
      const read = yield* driver.log.read({ after: state.after, watched, limit: pageSize })
      if (read._tag === "Trimmed") return again
      const { covered } = state
      // Asked behind the read: what holds now held when the log was read, and its lines go on from there.
      const goesOn = covered === undefined || covered.at === state.after || covered.at === read.next
      if (!goesOn && !(yield* holds(driver, covered.at))) return again
      const changes: Array<Change> = []
      for (const line of read.lines) {
        if (covered?.shows(line) === true) continue
        const change = yield* changeOf(line)
        if (change !== undefined) changes.push(change)
      }
      const now = yield* Clock.currentTimeMillis
      if (!read.more && state.syncing) changes.push({ _tag: "Synced", cursor: read.next })
      else if (
        changes.length === 0 &&
        read.next !== state.told &&
        !state.syncing &&
        (state.wakes >= progressWakes || now - state.toldAt >= progressMillis)
      )
        changes.push({ _tag: "Progress", cursor: read.next })
      const told = changes.length > 0
      state = {
        _tag: "Following",
        after: read.next,
        covered: read.more ? covered : undefined,
        syncing: state.syncing && read.more,
        told: told ? read.next : state.told,
        toldAt: told ? now : state.toldAt,
        wakes: told ? 0 : state.wakes + 1
      }
      if (told) return [changes, Option.some<State>(state)]
      if (!read.more) yield* driver.log.grown(state.after)
    }
  })

const changeOf = (line: LogLine): Effect.Effect<Change | undefined, KvError> => {
  if (line.op === "put") return line.entry?.versionstamp === line.versionstamp ? put(line.entry) : Effect.undefined
  if (line.entry !== undefined) return Effect.undefined
  const key = unpack(line.key)
  if (isKeyProblem(key))
    return Effect.fail(
      new KvError({ reason: new Compacted({ detail: `the log holds a damaged key ${formatPacked(line.key)}` }) })
    )
  return Effect.succeed({ _tag: line.op === "delete" ? "Delete" : "Expire", key, versionstamp: line.versionstamp })
}
