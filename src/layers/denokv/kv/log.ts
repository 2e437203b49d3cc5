/**
 * The change log: a record for each commit, under its generation and its id. Ids have no order, so that no writer waits for another; the
 * order is that of Deno KV's versionstamps. Whoever reads takes the place of the last commit first, from the bump key, and the lines
 * then: up to that place all of them are there, and what lies behind it is left for the next time.
 */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Driver, LogLine, LogRead, Watched } from "../../../kv/driver.ts"
import { KvError } from "../../../kv/KvError.ts"
import type { Cursor } from "../../../kv/model.ts"
import { readCount } from "../initial.ts"
import type { NativeFault } from "../faults.ts"
import { linesBetween, recordsOf } from "./between.ts"
import { kvError } from "./error.ts"
import { floorKey, lineKey } from "./keys.ts"
import { positionOfLine, stampOfLine } from "./lines.ts"
import type { Reads } from "./reads.ts"
import type { Place } from "./stamps.ts"
import { cursorOf, cursorPosition, positionOf, readCursor, readStamp } from "./stamps.ts"
import type { Store } from "./store.ts"

/** Generations that were passed over in one read: most hold hundreds of commits, some none. */
const mostGenerations = 64

export const makeLog = (store: Store, reads: Reads): Driver["log"] => {
  const { connection } = store
  const { storeId, wake } = connection

  const cursor = (place: Place): Cursor => cursorOf(storeId, place)

  const place: Effect.Effect<Place, NativeFault> = Effect.map(store.readBumped([]), ({ generation, position }) => ({
    position,
    generation: generation.number
  }))

  const read = (from: Place, watched: Watched, limit: number): Effect.Effect<LogRead, NativeFault | KvError> =>
    Effect.gen(function* () {
      const upTo = yield* known(from)
      if (from.position > upTo.position || from.generation > upTo.generation)
        return trimmed("the position lies behind the store's last commit: it was set back")
      if (from.position === upTo.position) return { _tag: "Lines", lines: [], next: cursor(upTo), more: false }
      const ops: Array<Omit<LogLine, "entry">> = []
      let next = from
      let generation = from.generation
      let more = false
      for (let passed = 0; generation <= upTo.generation; generation++, passed++) {
        if (ops.length >= limit || passed >= mostGenerations) {
          more = true
          break
        }
        const lines = linesBetween(next, upTo.position, yield* recordsOf(store, generation))
        let full = false
        for (const line of lines) {
          if (ops.length >= limit) {
            full = true
            break
          }
          for (const { key, op } of line.ops)
            if (isWatched(watched, key)) ops.push({ key, op, versionstamp: stampOfLine(line) })
          next = { position: line.position, generation }
        }
        if (full) {
          more = true
          break
        }
        next = { position: next.position, generation }
      }
      if (!more) next = upTo
      const entries = yield* reads.current(Array.from(new Set(ops.map(({ key }) => key))))
      // What was read is whole only if none of it was trimmed meanwhile.
      const behind = yield* store.readBumped([floorKey])
      const floor = readCount(behind.entries[0])
      if (floor > from.generation)
        return trimmed(`the change log begins with generation ${floor} and the position is in ${from.generation}`)
      return {
        _tag: "Lines",
        lines: ops.map(({ key, op, versionstamp }) => ({ key, op, versionstamp, entry: entries.get(key) })),
        next: cursor(next),
        more
      }
    })

  /** The place of the last commit, as it is known already if that lies behind where the reader is. */
  const known = (from: Place): Effect.Effect<Place, NativeFault> =>
    Effect.suspend(() => {
      const seen = store.last.place
      return seen !== undefined && seen.position > from.position ? Effect.succeed(seen) : place
    })

  const grown: Driver["log"]["grown"] = (after) => {
    const look: Effect.Effect<void, NativeFault> = Effect.suspend(() => {
      const version = wake.version()
      return Effect.flatMap(place, (now) =>
        cursorPosition(after) !== now.position || !after.startsWith(`${storeId}.`)
          ? Effect.void
          : Effect.andThen(wake.wait(version), look)
      )
    })
    return Effect.mapError(look, kvError("watch"))
  }

  return {
    head: failing(Effect.map(place, cursor)),
    read: ({ after, limit, watched }) => {
      const from = readCursor(storeId, after)
      return from === undefined
        ? Effect.succeed(trimmed("the position belongs to another store"))
        : failing(read(from, watched, Math.max(1, limit)))
    },
    covers: (at, line) => positionOf(line.versionstamp) <= cursorPosition(at),
    locate: (versionstamp) => {
      const stamp = readStamp(versionstamp)
      if (stamp === undefined) return Effect.undefined
      return failing(
        Effect.map(store.read([lineKey(stamp.generation, stamp.commitId, 0), floorKey]), ({ entries: [line, floor] }) =>
          line !== undefined && positionOfLine(line) === stamp.position && readCount(floor) <= stamp.generation
            ? cursor({ position: stamp.position, generation: stamp.generation })
            : undefined
        )
      )
    },
    grown
  }
}

const failing = <A>(effect: Effect.Effect<A, NativeFault | KvError>): Effect.Effect<A, KvError> =>
  Effect.mapError(effect, (error) => (error instanceof KvError ? error : kvError("watch")(error)))

const trimmed = (detail: string): LogRead => ({ _tag: "Trimmed", detail })

const isWatched = (watched: Watched, key: Packed): boolean =>
  watched._tag === "Keys" ? watched.keys.has(key) : key >= watched.range.start && key < watched.range.end
