/** Forgetting old commits, whole generations at a time: the floor is raised first, which readers look at last, then the lines go. */
import * as Effect from "effect/Effect"
import { count, readCount } from "../initial.ts"
import type { NativeFault } from "../faults.ts"
import { nativeLimits, put, remove } from "../native.ts"
import { again } from "./again.ts"
import { allLines, floorKey, headerKey, headers, linesOf } from "./keys.ts"
import type { Store } from "./store.ts"

export const trim = (store: Store, logLength: number): Effect.Effect<void, NativeFault> =>
  Effect.gen(function* () {
    const { connection } = store
    const { entries } = yield* store.readBumped([floorKey])
    const floor = readCount(entries[0])
    const oldest = store.last.count - logLength
    // A generation whose successor began before the oldest line that is to be kept can go.
    const found = yield* store.list({ prefix: headers }, { limit: nativeLimits.list })
    let next = floor
    for (const header of found) {
      const generation = header.key[2] as number
      if (readCount(header) <= oldest && generation > next) next = generation
    }
    if (next > floor)
      yield* again(connection, {
        checks: [{ key: floorKey, versionstamp: entries[0]?.versionstamp ?? null }],
        mutations: [
          put(floorKey, count(next)),
          ...found.flatMap((header) =>
            (header.key[2] as number) < next ? [remove(headerKey(header.key[2] as number))] : []
          )
        ],
        bump: false
      })
    while (true) {
      const old = yield* store.list({ start: allLines, end: linesOf(next) }, { limit: nativeLimits.list })
      if (old.length > 0)
        yield* again(connection, { checks: [], mutations: old.map(({ key }) => remove(key)), bump: false })
      if (old.length < nativeLimits.list) return
    }
  })
