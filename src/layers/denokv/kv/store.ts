/**
 * Reads and the generation. Every read looks at the generation in the same snapshot: while a large commit is being applied, the reader
 * carries it out first, so that nobody sees the half of it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { ConnectionService } from "../connection.ts"
import { NativeFault } from "../faults.ts"
import type { NativeEntry, NativeKey } from "../native.ts"
import { nativeLimits } from "../native.ts"
import type { Generation } from "./generation.ts"
import { openGeneration, readGeneration, setGeneration } from "./generation.ts"
import { bumpKey, generationKey } from "./keys.ts"
import { Known } from "./known.ts"
import { again, readAgain } from "./again.ts"
import { apply } from "./redo.ts"
import type { Place } from "./stamps.ts"
import { firstPosition } from "./stamps.ts"

export interface Snapshot {
  readonly generation: Generation
  readonly entries: ReadonlyArray<NativeEntry>
}

export interface BumpedSnapshot extends Snapshot {
  /** Everything up to it is to be seen in this snapshot, and nothing behind it. */
  readonly position: string
}

/** Keys of the program in one snapshot, beside the generation; and beside the bump key too. */
export const readable: number = nativeLimits.read - 1
export const readableBumped: number = nativeLimits.read - 2

/** How long a large commit may hold the store without a step that others see. */
const patience = { local: 2_000, remote: 5_000 }

export interface Last {
  generation: Generation | undefined
  /** A commit, and the generation it was part of or that was there when it was the last one. */
  place: Place | undefined
  /** Commits ever, when they were last counted, and those of this process since. */
  count: number
  commits: number
}

export interface Store {
  readonly connection: ConnectionService
  readonly known: Known
  /** What this process last saw; older than the store at most. */
  readonly last: Last
  /** Like those of the connection; a fault of a remote store that passes in time is waited out. */
  readonly getMany: ConnectionService["getMany"]
  readonly list: ConnectionService["list"]
  readonly read: (keys: ReadonlyArray<NativeKey>) => Effect.Effect<Snapshot, NativeFault>
  readonly readBumped: (keys: ReadonlyArray<NativeKey>) => Effect.Effect<BumpedSnapshot, NativeFault>
  /** An open generation: the last one seen, or `fresh` from the store. Waits while a large commit holds the store. */
  readonly open: (fresh: boolean) => Effect.Effect<Generation, NativeFault>
  /** Opens the next generation unless somebody else did: whatever checks the given one can no longer be applied then. */
  readonly fence: (generation: Generation) => Effect.Effect<void, NativeFault>
}

const gone = new NativeFault(
  "refused",
  "the records of the store are gone or damaged: was it deleted while it was open?"
)

export const makeStore = (connection: ConnectionService): Store => {
  const { kind, realClock } = connection
  const getMany: Store["getMany"] = (keys) => readAgain(connection, connection.getMany(keys))
  const list: Store["list"] = (selector, options) => readAgain(connection, connection.list(selector, options))
  const last: Last = { generation: undefined, place: undefined, count: 0, commits: 0 }

  const saw = (generation: Generation) => {
    if (last.generation === undefined || generation.versionstamp >= last.generation.versionstamp)
      last.generation = generation
  }

  const sawBump = (entry: NativeEntry, generation: Generation): string => {
    const position = entry.versionstamp ?? firstPosition
    if (last.place === undefined || position >= last.place.position) {
      last.place = { position, generation: generation.number }
      const count = (entry.value as { readonly value?: unknown } | null)?.value
      if (typeof count === "bigint") last.count = Number(count)
      last.commits = 0
    }
    return position
  }

  const settled = (entry: NativeEntry): Effect.Effect<Generation | undefined, NativeFault> => {
    const generation = readGeneration(entry)
    if (generation === undefined) return Effect.fail(gone)
    if (generation.state === "applying") return Effect.as(apply(connection, generation), undefined)
    saw(generation)
    return Effect.succeed(generation)
  }

  const read: Store["read"] = (keys) =>
    Effect.flatMap(getMany([generationKey, ...keys]), ([first, ...entries]) =>
      Effect.flatMap(settled(first!), (generation) =>
        generation === undefined ? read(keys) : Effect.succeed({ generation, entries })
      )
    )

  const readBumped: Store["readBumped"] = (keys) =>
    Effect.flatMap(getMany([generationKey, bumpKey, ...keys]), ([first, bump, ...entries]) =>
      Effect.flatMap(settled(first!), (generation) =>
        generation === undefined
          ? readBumped(keys)
          : Effect.succeed({ generation, entries, position: sawBump(bump!, generation) })
      )
    )

  const fence: Store["fence"] = (generation) =>
    Effect.asVoid(
      again(connection, {
        checks: [{ key: generationKey, versionstamp: generation.versionstamp }],
        mutations: [setGeneration(openGeneration(generation.number + 1, generation.base))],
        bump: false
      })
    )

  const wait = (held: Generation): Effect.Effect<Generation, NativeFault> =>
    Effect.gen(function* () {
      let since = realClock.currentTimeMillisUnsafe()
      let current = held
      while (current.state !== "open") {
        yield* Effect.sleep(2 + 8 * (yield* Random.next))
        const { generation } = yield* read([])
        const now = realClock.currentTimeMillisUnsafe()
        if (generation.versionstamp !== current.versionstamp) since = now
        // Its process was killed, or stands still. If it goes on, it finds that the store is not its own any more.
        else if (
          now - since >
          (kind === "remote" ? patience.remote : patience.local) * 2 ** Math.min(generation.parts, 5)
        )
          yield* fence(generation)
        current = generation
      }
      return current
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  return {
    connection,
    known: new Known(),
    last,
    getMany,
    list,
    read,
    readBumped,
    open: (fresh) =>
      Effect.suspend(() => {
        const seen = last.generation
        if (seen !== undefined && !fresh) return seen.state === "open" ? Effect.succeed(seen) : wait(seen)
        return Effect.flatMap(read([]), ({ generation }) =>
          generation.state === "open" ? Effect.succeed(generation) : wait(generation)
        )
      }),
    fence
  }
}
