/** What killed processes and overwritten large values leave behind: records of large commits that were never decided, tails of values. */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeEntry, NativeKey } from "../native.ts"
import { nativeLimits, remove } from "../native.ts"
import { decodeEnvelope, decodeTail } from "./envelope.ts"
import { allRedo, allTails, commitOfRedo, firstBelow, generationKey, nativeKey } from "./keys.ts"
import { chunksOf } from "./looking.ts"
import type { Store } from "./store.ts"
import { readable } from "./store.ts"

const page = 256

export const clean = (store: Store): Effect.Effect<void, NativeFault> =>
  Effect.andThen(cleanRedo(store), cleanTails(store))

/** Those of a large commit under way belong to the generation that says so; with all others nobody will do anything. */
const cleanRedo = (store: Store): Effect.Effect<void, NativeFault> =>
  pages(store, allRedo, (records) =>
    Effect.gen(function* () {
      const { generation } = yield* store.read([])
      const left = records.filter(({ key }) => commitOfRedo(key) !== generation.by)
      if (left.length === 0) return
      yield* store.connection.write({
        checks: [{ key: generationKey, versionstamp: generation.versionstamp }],
        mutations: left.map(({ key }) => remove(key)),
        bump: false
      })
    })
  )

/** A tail and its value are written together and never change: once the key holds another commit's value, the tail is nobody's. */
const cleanTails = (store: Store): Effect.Effect<void, NativeFault> =>
  pages(store, allTails, (tails) =>
    Effect.forEach(
      chunksOf(tails, readable),
      (chunk) =>
        Effect.gen(function* () {
          const keys = chunk.map(({ value }) => decodeTail(value)?.key ?? ("" as Packed))
          const { entries } = yield* store.read(keys.map((key) => (key === "" ? generationKey : nativeKey(key))))
          const left = chunk.filter(({ key }, i) => {
            const found = decodeEnvelope(keys[i]!, entries[i]!)
            return !(found?._tag === "Found" && found.written.commitId === key[2] && found.tail === key[3])
          })
          if (left.length > 0)
            yield* store.connection.write({ checks: [], mutations: left.map(({ key }) => remove(key)), bump: false })
        }),
      { discard: true }
    )
  )

const pages = (
  store: Store,
  prefix: NativeKey,
  each: (records: ReadonlyArray<NativeEntry>) => Effect.Effect<void, NativeFault>
): Effect.Effect<void, NativeFault> =>
  Effect.gen(function* () {
    let start: NativeKey | undefined
    while (true) {
      const records = yield* store.list(start === undefined ? { prefix } : { prefix, start }, {
        limit: Math.min(page, nativeLimits.list)
      })
      if (records.length > 0) yield* each(records)
      if (records.length < page) return
      start = firstBelow(records.at(-1)!.key)
    }
  })
