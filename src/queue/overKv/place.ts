/** One queue in the Kv, as a driver sees it: its parts, and how they are read. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Semaphore from "effect/Semaphore"
import type { Entry, Key, KeyPart, Page, PageCursor, Versionstamp } from "../../kv/model.ts"
import type { QueueError } from "../QueueError.ts"
import { type Change, type Committing, queueError } from "./changes.ts"
import { disturbsLine, setStep, transition } from "./machine.ts"
import type { MessageRecord } from "./records.ts"
import type { Signal } from "../../internal/signal.ts"

/** A queue as one driver sees it. */
export interface QueuePlace extends Committing {
  readonly signal: Signal
  /** Ids of claims and orders of acceptance. */
  readonly nextToken: () => string
  readonly nextSeq: (now: number) => string
  /** Claims of one process take turns, or they would only take each other's messages away. */
  readonly claiming: Semaphore.Semaphore
  /** Leases of other processes whose clocks cannot be compared; `undefined` where the store has a clock. */
  readonly observed: Map<string, Observed> | undefined
  /** How many of the last claims met others at the same messages. */
  readonly contention: { level: number }
  /** Milliseconds that the last counting took. */
  readonly counting: { took: number }
}

/** A claim that stands still before the eyes of this process; times are of its monotonic clock. */
export interface Observed {
  readonly since: number
  /** Nobody asks for it any more: an extended claim has another name. */
  readonly forget: number
}

/** A message as it was read. */
export interface Found {
  readonly message: MessageRecord | undefined
  readonly check: { readonly key: Key; readonly versionstamp: Versionstamp | null }
}

export const nowOf = (place: QueuePlace, operation: string): Effect.Effect<number, QueueError> =>
  Effect.mapError(place.kv.now, queueError(place.queue, place.kv, operation))

export const readMany = (
  place: QueuePlace,
  operation: string,
  keys: ReadonlyArray<Key>
): Effect.Effect<ReadonlyArray<Option.Option<Entry>>, QueueError> =>
  Effect.mapError(place.kv.getMany(keys), queueError(place.queue, place.kv, operation))

export const readPage = (
  place: QueuePlace,
  operation: string,
  prefix: ReadonlyArray<KeyPart>,
  options: { readonly limit: number; readonly cursor?: PageCursor | undefined; readonly reverse?: boolean }
): Effect.Effect<Page, QueueError> =>
  Effect.mapError(place.kv.page({ prefix }, options), queueError(place.queue, place.kv, operation))

export const foundOf = (key: Key, entry: Option.Option<Entry> | undefined): Found =>
  entry === undefined || Option.isNone(entry)
    ? { message: undefined, check: { key, versionstamp: null } }
    : { message: entry.value.value as MessageRecord, check: { key, versionstamp: entry.value.versionstamp } }

export const readMessages = (
  place: QueuePlace,
  operation: string,
  seqs: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Found>, QueueError> => {
  const keys = seqs.map(place.keys.message)
  return Effect.map(readMany(place, operation, keys), (entries) => keys.map((key, i) => foundOf(key, entries[i])))
}

/** What a change does about the line it disturbs, in place of marking it. */
export interface Ranked {
  readonly checks: Change["checks"]
  readonly steps: Change["steps"]
  /** Somebody else may claim what it made ready. */
  readonly wakes: boolean
}

/** From one state of a message to the next; `more`: what belongs to it. */
export const changeOf = (
  place: QueuePlace,
  found: Found,
  after: MessageRecord | undefined,
  options: {
    readonly wakes: boolean
    readonly counts?: boolean
    readonly more?: Change["steps"]
    readonly ranked?: Ranked | undefined
  }
): Change => {
  const { keys } = place
  const { ranked } = options
  const group = disturbsLine(found.message, after) ? (after ?? found.message)?.group : undefined
  const marked = group === undefined || ranked !== undefined ? [] : [setStep(keys.dirty(group), 1)]
  return {
    checks: [found.check, ...(ranked?.checks ?? [])],
    steps: [...transition(keys, found.message, after), ...(options.more ?? []), ...marked, ...(ranked?.steps ?? [])],
    counts: options.counts !== false,
    wakes: options.wakes || (ranked?.wakes ?? group !== undefined)
  }
}
