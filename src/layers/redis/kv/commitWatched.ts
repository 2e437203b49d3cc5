/**
 * A commit without scripts: watch and read (first round trip), decide here, write in `MULTI` (second). What is watched is what was read,
 * so a transaction that goes through saw the state it wrote upon; one that does not is tried again, later and later, with jitter.
 * The number of a commit is not known while its commands are put together: `BITOP OR` copies it into each stamp.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome, Mutation } from "../../../kv/driver.ts"
import { KvError, Unavailable } from "../../../kv/KvError.ts"
import { backend } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import { timeOf } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import type { Arg, Wire } from "../wire.ts"
import type { CommitOptions } from "./commit.ts"
import { commitError, kvError } from "./error.ts"
import { argOf, type KvKeys } from "./keys.ts"
import {
  counterOverflow,
  type CounterMutation,
  fencedCommit,
  notACounter,
  rememberedOutcome,
  unscripted
} from "./outcomes.ts"
import {
  bytesOf,
  checkedSize,
  expectedStamp,
  kindOf,
  logPart,
  readStamp,
  stampOf,
  unnumbered,
  whole
} from "./stamps.ts"

const largestCounter = 2n ** 63n - 1n

interface Held {
  readonly value: Buffer | null
  readonly stamp: Buffer | null
  /** Of a key that is gone by itself and not swept yet: its deadline. */
  readonly leftover: boolean
}

interface Staged {
  readonly value: Arg | undefined
  readonly kind: string
  readonly deadline: number | undefined
}

export type Command = readonly [name: string, ...args: ReadonlyArray<Arg>]

/** A log that is trimmed at every commit could not be read between two. */
const trimEvery = 64
/** How long a transaction that others disturb is tried again. */
const patience = 5_000

export const makeWatchedCommit = (connection: ConnectionService, keys: KvKeys, options: CommitOptions) => {
  const { realClock, session } = connection
  let commits = 0

  return (commit: Commit): Effect.Effect<CommitOutcome, KvError> =>
    Effect.suspend(() => {
      if (commit.mutations.some(({ _tag }) => _tag === "Enqueue" || _tag === "Ack")) return Effect.fail(unscripted)
      return session((wire) =>
        untilThrough(() => attempt(wire, keys, options, commit, ++commits % trimEvery === 0))
      ).pipe(
        Effect.catchTag("RedisFault", (fault) => Effect.fail(kvError("commit")(fault))),
        Effect.provideService(Clock.Clock, realClock)
      )
    })
}

/** Runs a transaction again while it answers `undefined`: somebody else wrote what it had read. */
export const untilThrough = <A, E>(run: () => Effect.Effect<A | undefined, E>): Effect.Effect<A, E | KvError> =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    for (let delay = 1; ; delay = Math.min(delay * 2, 64)) {
      const answer = yield* run()
      if (answer !== undefined) return answer
      if ((yield* Clock.currentTimeMillis) - start > patience) return yield* disturbed
      yield* Effect.sleep(delay * (0.5 + (yield* Random.next)))
    }
  })

const disturbed = new KvError({
  reason: new Unavailable({
    backend,
    operation: "commit",
    detail: `others kept writing the same keys for ${patience} ms; scripts, which this server does not run, would not be disturbed`
  })
})

const attempt = (
  wire: Wire,
  keys: KvKeys,
  options: CommitOptions,
  commit: Commit,
  trim: boolean
): Effect.Effect<CommitOutcome | undefined, KvError> =>
  Effect.gen(function* () {
    const { checks, id, mutations } = commit
    const outcomeKey = keys.outcome(id)
    const since = wire.connectionNumber()
    // Only what decides is watched: a blind write does not look, and so nobody disturbs it.
    const looked = new Set<Packed>()
    for (const { key } of checks) looked.add(key)
    for (const mutation of mutations) if ("key" in mutation && mutation._tag !== "Set") looked.add(mutation.key)
    const deletes = mutations.some(({ _tag }) => _tag === "Delete")
    const order = Array.from(looked)
    const [, remembered, time, found, leftovers] = yield* Effect.all(
      [
        wire.call("watch", [
          outcomeKey,
          ...order.flatMap((key) => [keys.value(key), keys.stamp(key)]),
          ...(deletes ? [keys.swept] : [])
        ]),
        wire.call("get", [outcomeKey]),
        wire.call("time", []),
        order.length === 0
          ? Effect.succeed([])
          : wire.call("mget", [...order.map(keys.value), ...order.map(keys.stamp)]),
        Effect.forEach(deletes ? order : [], (key) => wire.call("zscore", [keys.expiries, argOf(key)]), {
          concurrency: "unbounded"
        })
      ],
      { concurrency: "unbounded" }
    ).pipe(Effect.mapError(kvError("commit")))

    const stop = <A>(value: A) => Effect.as(Effect.ignore(wire.call("unwatch", [])), value)
    if (remembered !== null) {
      const outcome = rememberedOutcome(String(remembered), id)
      return yield* outcome === "absent" ? Effect.andThen(stop(undefined), Effect.fail(fencedCommit)) : stop(outcome)
    }
    const values = found as ReadonlyArray<Buffer | null>
    const held = new Map<Packed, Held>()
    for (const [i, key] of order.entries())
      held.set(key, {
        value: values[i] ?? null,
        stamp: values[order.length + i] ?? null,
        leftover: values[i] === null && leftovers[i] !== null && leftovers[i] !== undefined
      })
    const failed = checks.flatMap(({ key, versionstamp }, i) => {
      const first = held.get(key)!.stamp?.toString("latin1", 0, checkedSize) ?? ""
      return first === expectedStamp(versionstamp) ? [] : [i]
    })
    if (failed.length > 0) return yield* stop<CommitOutcome>({ _tag: "Conflict", failed })

    const now = timeOf(time)
    const staged = stageAll(mutations, held, now)
    if (staged instanceof KvError) return yield* Effect.andThen(stop(undefined), Effect.fail(staged))
    const commands = writesOf(keys, options, commit, staged, held, trim)
    const replies = yield* Effect.mapError(wire.multi(commands, since), (fault: RedisFault) => commitError(id)(fault))
    return replies === null
      ? undefined
      : ({ _tag: "Committed", versionstamp: stampOf(Number(replies[0]), id) } satisfies CommitOutcome)
  })

/** The whole commit, before the first write. */
const stageAll = (
  mutations: ReadonlyArray<Mutation>,
  held: ReadonlyMap<Packed, Held>,
  now: number
): ReadonlyMap<Packed, Staged> | KvError => {
  const staged = new Map<Packed, Staged>()
  const until = (expireIn: number | undefined) =>
    expireIn === undefined ? undefined : Math.min(now + whole(expireIn), Number.MAX_SAFE_INTEGER)
  for (const mutation of mutations) {
    if (!("key" in mutation)) continue
    const { key } = mutation
    if (mutation._tag === "Set") {
      staged.set(key, {
        value: bytesOf(mutation.value),
        kind: kindOf(mutation.value),
        deadline: until(mutation.expireIn)
      })
    } else if (mutation._tag === "Delete") {
      staged.set(key, { value: undefined, kind: "", deadline: undefined })
    } else {
      const old = staged.get(key) ?? fromHeld(held.get(key)!)
      const next = count(mutation, old)
      if (next instanceof KvError) return next
      staged.set(key, {
        value: next.toString(),
        kind: "n",
        deadline: old.value === undefined ? until(mutation.expireIn) : old.deadline
      })
    }
  }
  return staged
}

const fromHeld = ({ stamp, value }: Held): Staged => {
  if (stamp === null || value === null) return { value: undefined, kind: "", deadline: undefined }
  const { deadline, kind } = readStamp(stamp)
  return { value, kind, deadline }
}

const count = (mutation: CounterMutation, old: Staged): bigint | KvError => {
  const { _tag, operand } = mutation
  if (old.value === undefined) return operand
  if (old.kind !== "n") return notACounter(mutation, old.kind)
  const current = BigInt(String(old.value))
  if (_tag === "Min") return operand < current ? operand : current
  if (_tag === "Max") return operand > current ? operand : current
  const sum = current + operand
  return sum > largestCounter ? counterOverflow(mutation, String(current)) : sum
}

const writesOf = (
  keys: KvKeys,
  options: CommitOptions,
  commit: Commit,
  staged: ReadonlyMap<Packed, Staged>,
  held: ReadonlyMap<Packed, Held>,
  trim: boolean
): ReadonlyArray<Command> => {
  const commands: Array<Command> = [["incr", keys.counter]]
  let entry = commit.id
  for (const [key, { deadline, kind, value }] of staged) {
    const member = argOf(key)
    if (value === undefined) {
      const { leftover, value: old } = held.get(key)!
      if (old === null && !leftover) continue
      entry += logPart(leftover ? "e" : "d", key)
      commands.push(
        ["del", keys.value(key), keys.stamp(key)],
        ["zrem", keys.index, member],
        ["zrem", keys.expiries, member]
      )
      if (leftover) commands.push(["incr", keys.swept])
      continue
    }
    entry += logPart("p", key)
    commands.push(
      ["set", keys.value(key), value],
      ["set", keys.stamp(key), unnumbered(commit.id, kind, deadline)],
      ["bitop", "OR", keys.stamp(key), keys.counter, keys.stamp(key)],
      ["zadd", keys.index, 0, member]
    )
    if (deadline === undefined) commands.push(["zrem", keys.expiries, member])
    else {
      // A native key is alive at its deadline and ours is not: one millisecond less.
      commands.push(
        ["pexpireat", keys.value(key), deadline - 1],
        ["pexpireat", keys.stamp(key), deadline - 1],
        ["zadd", keys.expiries, deadline, member]
      )
    }
  }
  commands.push(...loggingOf(keys, entry, trim ? options.logLength : undefined))
  // The number has at most 16 digits, so the text is the number.
  commands.push(["bitop", "OR", keys.outcome(commit.id), keys.counter])
  commands.push(["pexpire", keys.outcome(commit.id), options.remembered])
  return commands
}

/** The end of every transaction that changes something; `keep`: how many commits the log shall remember. */
export const loggingOf = (keys: KvKeys, entry: string, keep: number | undefined): ReadonlyArray<Command> => [
  ["rpush", keys.log, argOf(entry as Packed)],
  ...(keep === undefined ? [] : [["ltrim", keys.log, -keep, -1] as const]),
  ["publish", keys.channel, ""]
]
