/**
 * Lists. The index gives the keys and a second command their values, so a page is read in two steps: which keys, then keys and values in
 * one snapshot. If the keys are still the same the page is one consistent read; else it is read again.
 */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes } from "../../../internal/keyCodec.ts"
import type { Driver, Range, Stored } from "../../../kv/driver.ts"
import type { ConnectionService, ReadCommand } from "../connection.ts"
import { RedisFault } from "../faults.ts"
import type { Arg, Reply } from "../wire.ts"
import { kvError } from "./error.ts"
import type { KvKeys } from "./keys.ts"
import { cursorOf, entryId, storedOf } from "./stamps.ts"

/** How often a page is read again because keys came or went between the two steps. */
const attempts = 200

const bound = (open: "[" | "(", key: Packed): Arg => Buffer.from(open + key, "latin1")

const keysOf = (reply: Reply): Array<Packed> => (reply as ReadonlyArray<Buffer>).map(fromBytes)

export const makeList = (connection: ConnectionService, keys: KvKeys): Driver["list"] => {
  const { snapshot } = connection

  const members = ({ end, start }: Range, count: number, reverse: boolean): ReadCommand => {
    const low = bound("[", start)
    const high = bound("(", end)
    return reverse
      ? { name: "zrevrangebylex", keys: [keys.index], args: [high, low, "LIMIT", 0, count] }
      : { name: "zrangebylex", keys: [keys.index], args: [low, high, "LIMIT", 0, count] }
  }
  const head: ReadonlyArray<ReadCommand> = [
    { name: "get", keys: [keys.counter] },
    { name: "lindex", keys: [keys.log], args: [-1] }
  ]

  const read = Effect.fnUntraced(function* (range: Range, limit: number, reverse: boolean) {
    let count = limit
    let [guess] = yield* Effect.map(snapshot([members(range, count, reverse)]), (replies) => replies.map(keysOf))
    for (let attempt = 0; attempt < attempts; attempt++) {
      const wanted: ReadonlyArray<Packed> = guess ?? []
      const values: ReadonlyArray<ReadCommand> =
        wanted.length === 0
          ? []
          : [
              { name: "mget", keys: wanted.map(keys.value) },
              { name: "mget", keys: wanted.map(keys.stamp) }
            ]
      const replies = yield* snapshot([...head, members(range, count, reverse), ...values])
      const [counter, last, index, found = [], stamps = []] = replies as [
        Buffer | null,
        Buffer | null,
        ReadonlyArray<Buffer>,
        ReadonlyArray<Buffer | null>?,
        ReadonlyArray<Buffer | null>?
      ]
      const now = keysOf(index)
      if (now.length !== wanted.length || now.some((key, i) => key !== wanted[i])) {
        guess = now
        continue
      }
      const entries: Array<Stored> = []
      for (const [i, key] of now.entries()) {
        const stored = storedOf(key, found[i] ?? null, stamps[i] ?? null)
        if (stored !== undefined && entries.length < limit) entries.push(stored)
      }
      if (entries.length < limit && now.length === count) {
        // Leftovers of expired keys take places in the index.
        count *= 2
        guess = undefined
        continue
      }
      return { entries, at: cursorOf(Number(counter ?? 0), last === null ? "" : entryId(last)) }
    }
    return yield* Effect.fail(
      new RedisFault("refused", "keys of this range came and went too fast for a consistent page")
    )
  })

  return (range, { limit, reverse }) => Effect.mapError(read(range, limit, reverse), kvError("list"))
}
