/** Looking at keys for a commit. */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeEntry } from "../native.ts"
import type { Foreign, Found } from "./envelope.ts"
import { decodeEnvelope } from "./envelope.ts"
import type { Generation } from "./generation.ts"
import { nativeKey } from "./keys.ts"
import type { Known } from "./known.ts"
import type { Lookups } from "./plan.ts"
import { readable, type Store } from "./store.ts"

export const chunksOf = <A>(all: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> => {
  const chunks: Array<ReadonlyArray<A>> = []
  for (let i = 0; i < all.length; i += size) chunks.push(all.slice(i, i + size))
  return chunks
}

export const parallelReads = 8

/** What keys hold, and what is known of them from now on. */
export const noted = (
  keys: ReadonlyArray<Packed>,
  entries: ReadonlyArray<NativeEntry>,
  known: Known,
  into: Map<Packed, Found | Foreign | undefined>
): void => {
  for (const [i, key] of keys.entries()) {
    const found = decodeEnvelope(key, entries[i]!)
    into.set(key, found)
    if (found?._tag === "Found") known.found(found)
    else known.forget(key)
  }
}

export interface Looked {
  readonly lookups: Lookups
  /** The generation of each snapshot that was taken. */
  readonly generations: ReadonlyArray<Generation>
}

/** Any number of keys, as few as possible at a time. */
export const lookAt = (store: Store, keys: ReadonlyArray<Packed>): Effect.Effect<Looked, NativeFault> =>
  Effect.map(
    Effect.forEach(
      chunksOf(keys, readable),
      (chunk) => Effect.map(store.read(chunk.map(nativeKey)), (snapshot) => ({ chunk, snapshot })),
      { concurrency: parallelReads }
    ),
    (snapshots) => {
      const lookups = new Map<Packed, Found | Foreign | undefined>()
      for (const { chunk, snapshot } of snapshots) noted(chunk, snapshot.entries, store.known, lookups)
      return { lookups, generations: snapshots.map(({ snapshot }) => snapshot.generation) }
    }
  )
