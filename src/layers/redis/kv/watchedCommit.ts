/**
 * Commits without scripts: watch and read (first round trip), decide here, write in `MULTI` (second). What is watched is what was read,
 * so a transaction that goes through saw the state it wrote upon; one that does not is tried again, later and later, with jitter.
 *
 * Commits that come while a transaction is under way go together into the next, each with its own number, outcome and line of the
 * log. So the commits of one process do not disturb each other, however many write the same counter.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome } from "../../../kv/driver.ts"
import { KvError, Unavailable } from "../../../kv/KvError.ts"
import { backend } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import { timeOf } from "../connection.ts"
import { RedisFault } from "../faults.ts"
import type { Wire } from "../wire.ts"
import type { CommitOptions } from "./commit.ts"
import { commitError, kvError } from "./error.ts"
import { argOf, type KvKeys } from "./keys.ts"
import { fencedCommit, rememberedOutcome, unscripted } from "./outcomes.ts"
import { stampOf } from "./stamps.ts"
import { type Held, heldOf, lookedAt, stage } from "./watchedStage.ts"
import { closing, type Command, writesOf } from "./watchedWrites.ts"

/** A log that is trimmed at every commit could not be read between two. */
const trimEvery = 64
/** How long a commit that others disturb is tried again. */
const patience = 5_000
/** More than a connection that is opened and one that gives no answer take together. */
const longest = 15_000
/** What goes into one transaction. */
const mostCommits = 128
const mostMutations = 1_000
const mostBytes = 1_048_576

interface Waiting {
  readonly commit: Commit
  readonly since: number
  readonly resume: (outcome: Effect.Effect<CommitOutcome, KvError>) => void
}

export const makeWatchedCommit = (
  connection: ConnectionService,
  keys: KvKeys,
  options: CommitOptions
): Effect.Effect<(commit: Commit) => Effect.Effect<CommitOutcome, KvError>> =>
  Effect.map(Effect.context(), (context) => {
    const { realClock, session } = connection
    const fork = Effect.runForkWith(context)
    let waiting: Array<Waiting> = []
    let busy = false
    let commits = 0

    const take = (): Array<Waiting> => {
      let mutations = 0
      let bytes = 0
      let n = 0
      for (const { commit } of waiting) {
        mutations += commit.mutations.length
        bytes += commit.size
        if (n > 0 && (n >= mostCommits || mutations > mostMutations || bytes > mostBytes)) break
        n++
      }
      return waiting.splice(0, n)
    }

    /** Every commit of the group gets its answer; those that others disturbed go first into the next. */
    const settle = (group: ReadonlyArray<Waiting>): Effect.Effect<boolean> => {
      commits += group.length
      const trim = commits >= trimEvery
      if (trim) commits = 0
      return session((wire) => attempt(wire, keys, options, group, trim)).pipe(
        // All later commits wait for this one: whatever happens to it, it ends.
        Effect.timeoutOrElse({
          duration: longest,
          orElse: () => Effect.fail(new GroupFault(new RedisFault("unknown", `no answer within ${longest} ms`)))
        }),
        Effect.map((disturbed) => {
          if (disturbed.length === 0) return false
          const now = realClock.currentTimeMillisUnsafe()
          const again = disturbed.filter(({ resume, since }) => {
            const tryAgain = now - since < patience
            if (!tryAgain) resume(Effect.fail(outOfPatience))
            return tryAgain
          })
          waiting = [...again, ...waiting]
          return true
        }),
        Effect.catch((fault) => {
          for (const { commit, resume } of group)
            resume(Effect.fail(fault._tag === "RedisFault" ? kvError("commit")(fault) : fault.of(commit.id)))
          return Effect.succeed(false)
        }),
        Effect.catchCause((cause) => {
          for (const { resume } of group) resume(Effect.failCause(cause as Cause.Cause<never>))
          return Effect.succeed(false)
        })
      )
    }

    const drain = Effect.gen(function* () {
      let delay = 1
      // Whoever commits in the same turn is part of the first group.
      yield* Effect.yieldNow
      while (waiting.length > 0) {
        if (!(yield* settle(take()))) {
          delay = 1
          continue
        }
        yield* Effect.sleep(delay * (0.5 + (yield* Random.next)))
        delay = Math.min(delay * 2, 64)
      }
      busy = false
    }).pipe(Effect.provideService(Clock.Clock, realClock))

    return (commit) =>
      commit.mutations.some(({ _tag }) => _tag === "Enqueue" || _tag === "Ack")
        ? Effect.fail(unscripted)
        : Effect.callback((resume) => {
            waiting.push({ commit, resume, since: realClock.currentTimeMillisUnsafe() })
            if (busy) return
            busy = true
            fork(drain)
          })
  })

const outOfPatience = new KvError({
  reason: new Unavailable({
    backend,
    operation: "commit",
    detail: `others kept writing the same keys for ${patience} ms; scripts, which this server does not run, would not be disturbed`
  })
})

/** What became of the transaction of a whole group; each commit gets an error of its own. */
class GroupFault {
  readonly _tag = "GroupFault"
  readonly #fault: RedisFault
  constructor(fault: RedisFault) {
    this.#fault = fault
  }
  of(commitId: string): KvError {
    return commitError(commitId)(this.#fault)
  }
}

/** Answers the commits that others disturbed, all or none. */
const attempt = (
  wire: Wire,
  keys: KvKeys,
  options: CommitOptions,
  group: ReadonlyArray<Waiting>,
  trim: boolean
): Effect.Effect<ReadonlyArray<Waiting>, RedisFault | GroupFault> =>
  Effect.gen(function* () {
    const since = wire.connectionNumber()
    const looked = Array.from(new Set(group.flatMap(({ commit }) => lookedAt(commit))))
    const deletes = group.some(({ commit }) => commit.mutations.some(({ _tag }) => _tag === "Delete"))
    const outcomeKeys = group.map(({ commit }) => keys.outcome(commit.id))
    const [, remembered, time, found, leftovers] = yield* Effect.all(
      [
        wire.call("watch", [
          ...outcomeKeys,
          ...looked.flatMap((key) => [keys.value(key), keys.stamp(key)]),
          ...(deletes ? [keys.swept] : [])
        ]),
        wire.call("mget", outcomeKeys),
        wire.call("time", []),
        looked.length === 0
          ? Effect.succeed([])
          : wire.call("mget", [...looked.map(keys.value), ...looked.map(keys.stamp)]),
        Effect.forEach(deletes ? looked : [], (key) => wire.call("zscore", [keys.expiries, argOf(key)]), {
          concurrency: "unbounded"
        })
      ],
      { concurrency: "unbounded" }
    )
    const values = found as ReadonlyArray<Buffer | null>
    const overlay = new Map<Packed, Held>(
      looked.map((key, i) => {
        const value = values[i] ?? null
        const leftover = value === null && leftovers[i] !== null && leftovers[i] !== undefined
        return [key, heldOf(value, values[looked.length + i] ?? null, leftover)]
      })
    )
    const now = timeOf(time)
    const commands: Array<Command> = []
    const written: Array<{ readonly one: Waiting; readonly at: number }> = []
    const answers: Array<() => void> = []
    for (const [i, one] of group.entries()) {
      const { commit, resume } = one
      const known = (remembered as ReadonlyArray<Buffer | null>)[i]
      if (known !== null && known !== undefined) {
        const outcome = rememberedOutcome(known.toString(), commit.id)
        answers.push(() => resume(outcome === "absent" ? Effect.fail(fencedCommit) : Effect.succeed(outcome)))
        continue
      }
      const staged = stage(commit, overlay, now)
      if (staged instanceof KvError) answers.push(() => resume(Effect.fail(staged)))
      else if ("_tag" in staged) answers.push(() => resume(Effect.succeed(staged)))
      else {
        written.push({ one, at: commands.length })
        commands.push(...writesOf(keys, commit.id, staged, options.remembered))
      }
    }
    if (written.length === 0) {
      yield* Effect.ignore(wire.call("unwatch", []))
    } else {
      commands.push(...closing(keys, trim ? options.logLength : undefined))
      const replies = yield* Effect.mapError(wire.multi(commands, since), (fault) => new GroupFault(fault))
      // What was decided upon a state that nobody saw whole is decided again.
      if (replies === null) return group
      for (const { at, one } of written)
        one.resume(Effect.succeed({ _tag: "Committed", versionstamp: stampOf(Number(replies[at]), one.commit.id) }))
    }
    for (const answer of answers) answer()
    return []
  })
