/**
 * The change log: a list with one element for each commit, so that an element's place is the commit's number less the number of elements
 * that were trimmed. A place is resumed only while its own element is there with the same id.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Driver, Log, LogLine, LogRead, Stored, Watched } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { Cursor } from "../../../kv/model.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import { Signal } from "../../../internal/signal.ts"
import { kvError } from "./error.ts"
import type { KvKeys } from "./keys.ts"
import { cursorOf, entryId, numberOf, readCursor, readEntry } from "./stamps.ts"

/** Elements of one read. Each may hold a thousand keys. */
const most = 256
/** A watcher looks by itself this often, in case a hint was lost; more often without a line for hints. */
const safetyPoll = 10_000
const unhintedPoll = 500

interface Part {
  readonly counter: number
  readonly base: number
  /** The elements asked for; `first` is the number of the first one. */
  readonly first: number
  readonly entries: ReadonlyArray<Buffer>
}

export const makeLog = (
  connection: ConnectionService,
  keys: KvKeys,
  getMany: (keys: ReadonlyArray<Packed>) => Effect.Effect<ReadonlyArray<Stored | undefined>, RedisFault>
): Effect.Effect<Driver["log"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const { hints, realClock, snapshot } = connection
    const scope = yield* Effect.scope
    /** The number of elements trimmed, when last seen. */
    let trimmed = 0

    /** Elements from a number on. */
    const part = (first: number, count: number): Effect.Effect<Part, RedisFault> =>
      Effect.suspend(() => {
        const from = Math.max(0, first - trimmed - 1)
        return Effect.flatMap(
          snapshot([
            { name: "get", keys: [keys.counter] },
            { name: "llen", keys: [keys.log] },
            { name: "lrange", keys: [keys.log], args: [from, from + count - 1] }
          ]),
          ([found, length, entries]) => {
            const counter = Number(found ?? 0)
            const base = counter - Number(length)
            if (base !== trimmed) {
              trimmed = base
              return part(first, count)
            }
            return Effect.succeed({ counter, base, first: from + base + 1, entries: entries as ReadonlyArray<Buffer> })
          }
        )
      })

    const read = (after: Cursor, watched: Watched, limit: number): Effect.Effect<LogRead, RedisFault> =>
      Effect.gen(function* () {
        const place = readCursor(after)
        if (place === undefined) return gone("the position belongs to another store")
        const { base, counter, entries, first } = yield* part(
          // Behind a place without an id the first element is the next one.
          place.id === "" ? place.number + 1 : place.number,
          Math.min(most, limit + 1)
        )
        if (place.number > counter)
          return gone(`the position ${place.number} lies behind the store's last commit ${counter}: it was set back`)
        // Without an id: behind nothing, or behind all that a log had before it was evicted.
        const unnamed = place.id === ""
        if (unnamed ? place.number !== base : place.number <= base)
          return gone(`the change log begins behind commit ${base} and the position is ${place.number}`)
        if (!unnamed && (entries[0] === undefined || entryId(entries[0]) !== place.id))
          return gone(`commit ${place.number} is another one than that of the position: the store was set back`)
        const fresh = unnamed ? entries : entries.slice(1)
        const start = unnamed ? first : first + 1
        const lines: Array<Omit<LogLine, "entry">> = []
        for (const [i, entry] of fresh.entries())
          for (const line of readEntry(entry, start + i)) if (isWatched(watched, line.key)) lines.push(line)
        const last = fresh.at(-1)
        const upTo = start + fresh.length - 1
        const next = last === undefined ? after : cursorOf(upTo, entryId(last))
        const changed = Array.from(new Set(lines.map(({ key }) => key)))
        const found = changed.length === 0 ? [] : yield* getMany(changed)
        const entryOf = new Map(changed.map((key, i) => [key, found[i]]))
        return {
          _tag: "Lines",
          lines: lines.map(({ key, op, versionstamp }) => ({ key, op, versionstamp, entry: entryOf.get(key) })),
          next,
          more: last !== undefined && upTo < counter
        }
      })

    const heard = new Signal()
    let listening = false
    /** From the first watch on: every message costs each listener something. */
    const listen = Effect.suspend(() => {
      if (listening) return Effect.void
      listening = true
      return Scope.provide(
        hints.listen(keys.channel, () => heard.raise()),
        scope
      )
    })

    const head: Effect.Effect<Cursor, RedisFault> = Effect.map(
      snapshot([
        { name: "get", keys: [keys.counter] },
        { name: "lindex", keys: [keys.log], args: [-1] }
      ]),
      ([counter, last]) => cursorOf(Number(counter ?? 0), last === null ? "" : entryId(last as Buffer))
    )

    const grown: Log["grown"] = (after) => {
      const look: Effect.Effect<void, RedisFault> = Effect.suspend(() => {
        const { version } = heard
        // A store that was set back may have come to the same number again, with other commits.
        return Effect.flatMap(head, (now) =>
          now !== after
            ? Effect.void
            : Effect.andThen(
                Effect.timeoutOption(heard.after(version), hints.live(keys.channel) ? safetyPoll : unhintedPoll),
                look
              )
        )
      })
      return Effect.andThen(listen, look).pipe(
        Effect.mapError(kvError("watch")),
        Effect.provideService(Clock.Clock, realClock)
      )
    }

    return {
      head: failing(head),
      read: ({ after, limit, watched }) => failing(read(after, watched, limit)),
      holds: (at) => failing(Effect.map(read(at, nothing, 0), ({ _tag }) => _tag === "Lines")),
      covers: (at, line) => line.versionstamp.slice(0, 16) <= at.slice(0, 16),
      locate: (versionstamp) => {
        const number = numberOf(versionstamp)
        if (!Number.isSafeInteger(number) || number < 1) return Effect.undefined
        return failing(
          Effect.map(part(number, 1), ({ entries, first }) => {
            const entry = entries[0]
            const same = first === number && entry !== undefined && entryId(entry) === versionstamp.slice(16)
            return same ? cursorOf(number, versionstamp.slice(16)) : undefined
          })
        )
      },
      grown
    }
  })

const failing = <A>(effect: Effect.Effect<A, RedisFault>): Effect.Effect<A, KvError> =>
  Effect.mapError(effect, kvError("watch"))

const nothing: Watched = { _tag: "Keys", keys: new Set() }

const gone = (detail: string): LogRead => ({ _tag: "Trimmed", detail })

const isWatched = (watched: Watched, key: Packed): boolean =>
  watched._tag === "Keys" ? watched.keys.has(key) : key >= watched.range.start && key < watched.range.end
