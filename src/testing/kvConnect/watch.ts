/**
 * Watches: the state of some keys as a stream of messages, one at once and one after every change. Each has the state of all of them, also of those that do not exist. A client that reads slowly is sent the latest state and not every state before it.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Key } from "../../internal/keyCodec.ts"
import { Signal } from "../../internal/signal.ts"
import type { KvError } from "../../kv/KvError.ts"
import type { Change, Entry } from "../../kv/model.ts"
import type { Watch, WatchOutput } from "./datapath_pb.ts"
import { SnapshotReadStatus, WatchKeyOutputSchema, WatchOutputSchema } from "./datapath_pb.ts"
import type { Keyspace } from "./keyspace.ts"
import { maxWatched } from "./limits.ts"
import type { Reading } from "./read.ts"
import { wireEntry } from "./read.ts"
import { type Refusal, badRequest, isRefusal } from "./refusal.ts"

export const watch = (
  { keyspace, kv }: Reading,
  request: Watch
): Effect.Effect<Stream.Stream<WatchOutput, KvError>, Refusal> => {
  if (request.keys.length === 0) return Effect.fail(badRequest("The watch names no key: name at least one."))
  if (request.keys.length > maxWatched)
    return Effect.fail(
      badRequest(
        `The watch names ${request.keys.length} keys; at most ${maxWatched} are allowed. Open several watches.`
      )
    )
  const keys: Array<Key> = []
  for (const { key: bytes } of request.keys) {
    const key = keyspace.keyOf(bytes)
    if (isRefusal(key)) return Effect.fail(key)
    keys.push(key)
  }
  return Effect.succeed(
    Stream.suspend(() => {
      const view = new View(keyspace, keys)
      return kv.watch(keys).pipe(
        Stream.chunks,
        Stream.map((changes) => view.output(changes)),
        Stream.filter((output) => output !== undefined)
      )
    })
  )
}

/** The watches that are open. */
export class OpenWatches {
  #count = 0
  readonly #drop = new Signal()

  /** Runs a watch until it ends or all are dropped. */
  untilDropped<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<void, E> {
    return Effect.suspend(() => {
      this.#count++
      return Effect.ensuring(
        Effect.raceFirst(Effect.asVoid(effect), this.#drop.after(this.#drop.version)),
        Effect.sync(() => void this.#count--)
      )
    })
  }

  /** Answers how many there were. */
  drop(): number {
    const count = this.#count
    this.#drop.raise()
    return count
  }
}

/** What a client was told of its keys, and what there is to tell. */
class View {
  readonly #keyspace: Keyspace
  readonly #watched: ReadonlyArray<string>
  readonly #entries = new Map<string, Entry>()
  /** The versionstamp that was told of a key, `null` for none. */
  readonly #told = new Map<string, string | null>()
  #synced = false

  constructor(keyspace: Keyspace, keys: ReadonlyArray<Key>) {
    this.#keyspace = keyspace
    this.#watched = keys.map(keyspace.packedOf)
  }

  /** At most one message for what came together. */
  output(changes: ReadonlyArray<Change>): WatchOutput | undefined {
    for (const change of changes) this.#take(change)
    if (!this.#synced) return undefined
    let news = false
    for (const packed of this.#watched) {
      const stamp = this.#entries.get(packed)?.versionstamp ?? null
      if (this.#told.get(packed) !== stamp) news = true
      this.#told.set(packed, stamp)
    }
    if (!news) return undefined
    // All keys in every message: Deno 2.9 shows its program `null` for a key that a message calls unchanged.
    const keys = this.#watched.map((packed) => {
      const entry = this.#entries.get(packed)
      return entry === undefined
        ? create(WatchKeyOutputSchema, { changed: true })
        : create(WatchKeyOutputSchema, { changed: true, entryIfChanged: wireEntry(this.#keyspace, entry) })
    })
    return create(WatchOutputSchema, { status: SnapshotReadStatus.SR_SUCCESS, keys })
  }

  #take(change: Change): void {
    switch (change._tag) {
      case "Put":
        this.#entries.set(this.#keyspace.packedOf(change.entry.key), change.entry)
        break
      case "Delete":
      case "Expire":
        this.#entries.delete(this.#keyspace.packedOf(change.key))
        break
      case "Synced":
        this.#synced = true
        break
      case "Reset":
        // The whole state follows: until then nothing is known, and nothing told.
        this.#entries.clear()
        this.#synced = false
        break
      case "Progress":
    }
  }
}
