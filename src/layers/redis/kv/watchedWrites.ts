/**
 * What a transaction writes. The number of a commit is not known while its commands are put together: `BITOP OR` copies it into each stamp.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Arg } from "../wire.ts"
import { argOf, type KvKeys } from "./keys.ts"
import { logPart, unnumbered } from "./stamps.ts"
import type { Step } from "./watchedStage.ts"

export type Command = readonly [name: string, ...args: ReadonlyArray<Arg>]

/** The first command increments the counter: its reply is the number of the commit. */
export const writesOf = (
  keys: KvKeys,
  commitId: string,
  steps: ReadonlyArray<Step>,
  remembered: number
): ReadonlyArray<Command> => {
  const commands: Array<Command> = [["incr", keys.counter]]
  let entry = commitId
  for (const { after, before, key } of steps) {
    const member = argOf(key)
    if (after.value === undefined) {
      const leftover = before!.leftover
      if (before!.value === undefined && !leftover) continue
      entry += logPart(leftover ? "e" : "d", key)
      commands.push(
        ["del", keys.value(key), keys.stamp(key)],
        ["zrem", keys.index, member],
        ["zrem", keys.expiries, member]
      )
      if (leftover) commands.push(["incr", keys.swept])
      continue
    }
    const { deadline, kind, value } = after
    entry += logPart("p", key)
    commands.push(
      ["set", keys.value(key), value],
      ["set", keys.stamp(key), unnumbered(commitId, kind, deadline)],
      ["bitop", "OR", keys.stamp(key), keys.counter, keys.stamp(key)]
    )
    if (before?.value === undefined) commands.push(["zadd", keys.index, 0, member])
    if (deadline !== undefined) {
      // A native key is alive at its deadline and ours is not: one millisecond less.
      commands.push(
        ["pexpireat", keys.value(key), deadline - 1],
        ["pexpireat", keys.stamp(key), deadline - 1],
        ["zadd", keys.expiries, deadline, member]
      )
    } else if (before?.value === undefined || before.deadline !== undefined) {
      commands.push(["zrem", keys.expiries, member])
    }
  }
  commands.push(
    ["rpush", keys.log, argOf(entry as Packed)],
    // The number has at most 16 digits, so the text is the number.
    ["bitop", "OR", keys.outcome(commitId), keys.counter],
    ["pexpire", keys.outcome(commitId), remembered]
  )
  return commands
}

/** The end of a transaction that changed something; `keep`: how many commits the log shall remember. */
export const closing = (keys: KvKeys, keep: number | undefined): ReadonlyArray<Command> => [
  ...(keep === undefined ? [] : [["ltrim", keys.log, -keep, -1] as const]),
  ["publish", keys.channel, ""]
]
