/**
 * Lists. The index gives the keys and a second command their values, so a page is read in two steps: which keys, then keys and values in
 * one snapshot. If the keys are still the same the page is one consistent read; else it is read again. Where keys come and go without a
 * pause a script reads all at once; it touches keys that it cannot declare, which not every server allows.
 */
import * as Effect from "effect/Effect"
import type { Packed } from "../../../internal/keyCodec.ts"
import { fromBytes } from "../../../internal/keyCodec.ts"
import type { Driver, Range, Stored } from "../../../kv/driver.ts"
import type { ConnectionService, ReadCommand } from "../connection.ts"
import { RedisFault } from "../faults.ts"
import type { Script } from "../script.ts"
import { script } from "../script.ts"
import type { Arg, Reply } from "../wire.ts"
import { kvError } from "./error.ts"
import type { KvKeys } from "./keys.ts"
import { cursorOf, entryId, storedOf } from "./stamps.ts"

/** How often a page is read again because keys came or went between the two steps. */
const attempts = 200
/** After so many of them a script reads the page, where there are scripts. */
const patience = 8

/**
 * KEYS: index, counter, log. ARGV: command, its two bounds, how many, what begins the names of values and of stamps. Answers what the
 * snapshot does.
 */
const pageScript: Script = script(
  "page",
  `
local members = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local values, stamps = {}, {}
for i = 1, #members do
  values[i] = redis.call('GET', ARGV[5] .. members[i])
  stamps[i] = redis.call('GET', ARGV[6] .. members[i])
end
return { redis.call('GET', KEYS[2]), redis.call('LINDEX', KEYS[3], -1), members, values, stamps }
`
)

const bound = (open: "[" | "(", key: Packed): Arg => Buffer.from(open + key, "latin1")

const keysOf = (reply: Reply): Array<Packed> => (reply as ReadonlyArray<Buffer>).map(fromBytes)

export const makeList = (connection: ConnectionService, keys: KvKeys): Driver["list"] => {
  const { run, server, snapshot } = connection

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
      const at = members(range, count, reverse)
      const whole = server.scripts && attempt >= patience
      const replies = whole
        ? yield* run(
            pageScript,
            [keys.index, keys.counter, keys.log],
            [at.name, ...(at.args ?? []).slice(0, 2), count, keys.value("" as Packed), keys.stamp("" as Packed)]
          )
        : yield* snapshot([...head, at, ...values])
      const [counter, last, index, found = [], stamps = []] = replies as [
        Buffer | null,
        Buffer | null,
        ReadonlyArray<Buffer>,
        ReadonlyArray<Buffer | null>?,
        ReadonlyArray<Buffer | null>?
      ]
      const now = keysOf(index)
      if (!whole && (now.length !== wanted.length || now.some((key, i) => key !== wanted[i]))) {
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
