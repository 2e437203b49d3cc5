/**
 * Removing what is expired: the index names it in the order of deadlines. Each commit of the sweep checks the entries it removes, so that
 * each is told of once, however many processes sweep. An entry of the index whose key was written meanwhile is only dropped.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { fromBytes, type Packed } from "../../../internal/keyCodec.ts"
import type { Driver } from "../../../kv/driver.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeEntry, NativeMutation } from "../native.ts"
import { put, remove } from "../native.ts"
import { clean } from "./clean.ts"
import type { Foreign, Found } from "./envelope.ts"
import { kvError } from "./error.ts"
import { allExpiries, deadlineOfExpiry, generationKey, keyOfExpiry, lineKey, nativeKey } from "./keys.ts"
import { encodeLines, lineValue } from "./lines.ts"
import { chunksOf, noted } from "./looking.ts"
import { isLive } from "./plan.ts"
import type { Store } from "./store.ts"

/** Entries of one commit: as many as it can check, beside the generation. */
const batch = 8
const page = 128
const parallel = 4

interface Due {
  readonly entry: NativeEntry
  readonly key: Packed
}

const dueOf = (entry: NativeEntry): Due => ({
  entry,
  key: keyOfExpiry(entry.key) ?? fromBytes(entry.value as Uint8Array)
})

export const makeSweep = (store: Store, nextId: () => string): Driver["sweep"] => {
  const { connection, known } = store
  const { now, realClock } = connection

  /** One batch; whatever somebody else changed meanwhile is found again by the next look at the index. */
  const sweepBatch = (due: ReadonlyArray<Due>): Effect.Effect<void, NativeFault> =>
    Effect.gen(function* () {
      const keys = Array.from(new Set(due.map(({ key }) => key)))
      const { entries, generation: seen } = yield* store.read(keys.map(nativeKey))
      const lookups = new Map<Packed, Found | Foreign | undefined>()
      noted(keys, entries, known, lookups)
      const generation = seen.state === "open" ? seen : yield* store.open(false)
      const time = now()
      const over = keys.flatMap((key) => {
        const found = lookups.get(key)
        return found?._tag === "Found" && !isLive(found.written.deadline, time) ? [found] : []
      })
      const isOver = new Set(over.map(({ key }) => key))
      const stale = due.filter(({ key }) => !isOver.has(key))
      if (over.length > 0) {
        const id = nextId()
        const mutations: Array<NativeMutation> = over.flatMap((found) => [
          remove(nativeKey(found.key)),
          ...due.flatMap(({ entry, key }) => (key === found.key ? [remove(entry.key)] : []))
        ])
        const lines = encodeLines(over.map(({ key }) => ({ op: "expire", key })))
        for (const [part, body] of lines.entries())
          mutations.push(put(lineKey(generation.number, id, part), lineValue(body, undefined)))
        const written = yield* connection.write({
          checks: [
            { key: generationKey, versionstamp: generation.versionstamp },
            ...over.map((found) => ({ key: nativeKey(found.key), versionstamp: found.native }))
          ],
          mutations,
          bump: true
        })
        for (const { key } of over) known.forget(key)
        if (written === undefined) yield* store.open(true)
        else store.last.commits++
      }
      if (stale.length > 0)
        // One that another process has written anew, by a clock that is behind ours, stays.
        yield* connection.write({
          checks: stale.map(({ entry }) => ({ key: entry.key, versionstamp: entry.versionstamp })),
          mutations: stale.map(({ entry }) => remove(entry.key)),
          bump: false
        })
    })

  let cleaned = Number.NEGATIVE_INFINITY

  return Effect.gen(function* () {
    const started = realClock.currentTimeMillisUnsafe()
    if (started - cleaned >= cleanEvery) {
      yield* clean(store)
      cleaned = started
    }
    while (true) {
      const entries = yield* store.list({ prefix: allExpiries }, { limit: page })
      const first = entries[0]
      const time = now()
      if (first === undefined) return undefined
      // The rest is for the next call, if this one has taken a good part of its time.
      const spent =
        connection.timeout !== undefined && realClock.currentTimeMillisUnsafe() - started > connection.timeout / 4
      if (spent || deadlineOfExpiry(first.key) > time) return deadlineOfExpiry(first.key)
      const due = entries.filter(({ key }) => deadlineOfExpiry(key) <= time).map(dueOf)
      yield* Effect.forEach(chunksOf(due, batch), sweepBatch, {
        concurrency: connection.kind === "remote" ? parallel : 1,
        discard: true
      })
    }
  }).pipe(Effect.mapError(kvError("sweep")), Effect.provideService(Clock.Clock, realClock))
}

/** How often what killed processes left behind is looked for. */
const cleanEvery = 600_000
