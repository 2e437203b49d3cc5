/**
 * Commits. The usual one is a single write: the generation and the program's checks, the entries, the line of the log, the bump key. What
 * Deno KV does not take in one write goes the way of `exclusive.ts`.
 *
 * A write whose check failed is looked into: the line of the commit may be there, since an earlier attempt went through without an answer
 * coming back; the generation may be another; a check of the program may fail, which is its Conflict; or a key that only we check has
 * changed, and the commit is tried again.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome } from "../../../kv/driver.ts"
import { KvError } from "../../../kv/KvError.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeMutation, NativeWrite } from "../native.ts"
import { nativeLimits, put } from "../native.ts"
import { count } from "../initial.ts"
import { mayPass } from "./again.ts"
import { failing, holdsByKnown, isKnown, isOverwritten, nativeChecks, sizeOf } from "./checks.ts"
import { compose } from "./compose.ts"
import type { Doubts } from "./doubt.ts"
import { commitUnknown, kvError, unavailable } from "./error.ts"
import type { Foreign, Found } from "./envelope.ts"
import type { Generation } from "./generation.ts"
import { openGeneration, setGeneration } from "./generation.ts"
import { generationKey, headerKey, lineKey, nativeKey } from "./keys.ts"
import { Lanes } from "./lanes.ts"
import { readLine, stampOfLine } from "./lines.ts"
import { lookAt, noted } from "./looking.ts"
import { counterKeys, lookedAt, type Lookups, stage, type Staged } from "./plan.ts"
import { mutationsOf } from "./redo.ts"
import { stampOf } from "./stamps.ts"
import { readable, type Store } from "./store.ts"

/** How long a commit that others disturb is tried again. */
const patience = 10_000
/** A process looks how many commits there were after this many of its own. */
const recount = 32

export interface CommitOptions {
  /** Commits of one generation, about. */
  readonly perGeneration: number
  /** Called when a generation was renewed. */
  readonly renewed: Effect.Effect<void>
  readonly exclusive: (commit: Commit) => Effect.Effect<CommitOutcome, KvError>
}

type Sent =
  | { readonly _tag: "Done"; readonly outcome: CommitOutcome }
  | { readonly _tag: "Again"; readonly lookups: Lookups; readonly pause: boolean }
  | { readonly _tag: "TooLarge" }

export const makeCommit = (
  store: Store,
  doubts: Doubts,
  options: CommitOptions
): ((commit: Commit) => Effect.Effect<CommitOutcome, KvError>) => {
  const { connection, known, last } = store
  const { now, realClock, timeout } = connection
  const lanes = new Lanes()

  /** What became of a commit whose write did not go through, as far as the line of its last attempt and its own checks tell. */
  const resolve = (
    commit: Commit,
    line: number
  ): Effect.Effect<{ readonly done: CommitOutcome | undefined; readonly lookups: Lookups }, NativeFault> => {
    const checked = new Set(commit.checks.map(({ key }) => key))
    const all = new Set([...checked, ...lookedAt(commit)])
    // What the next attempt has to look at comes along if there is room.
    const keys = Array.from(all.size < readable ? all : checked)
    return Effect.map(store.read([lineKey(line, commit.id, 0), ...keys.map(nativeKey)]), ({ entries }) => {
      const lookups = new Map<Packed, Found | Foreign | undefined>()
      noted(keys, entries.slice(1), known, lookups)
      const found = readLine(entries[0]!)
      if (found !== undefined) return { done: { _tag: "Committed", versionstamp: stampOfLine(found) }, lookups }
      const failed = failing(commit.checks, lookups, now())
      return { done: failed.length > 0 ? { _tag: "Conflict", failed } : undefined, lookups }
    })
  }

  const attempt = (
    commit: Commit,
    before: Lookups,
    counters: ReadonlyArray<Packed>
  ): Effect.Effect<Sent, NativeFault | KvError> =>
    Effect.gen(function* () {
      const [only] = commit.checks
      if (commit.checks.length === 1 && isOverwritten(only!, known))
        return { _tag: "Done", outcome: { _tag: "Conflict", failed: [0] } } as const
      if (last.place === undefined || (last.commits >= recount && connection.kind !== "memory"))
        yield* store.readBumped([])
      const believed = new Map(before)
      for (const key of counters) {
        const found = believed.has(key) ? undefined : known.counter(key)
        if (found !== undefined) believed.set(key, found)
      }
      const wanted = toLookAt(commit, believed)
      const looked = wanted.length === 0 ? undefined : yield* lookAt(store, wanted)
      const lookups = looked === undefined ? believed : new Map([...believed, ...looked.lookups])
      const generation = yield* store.open(false)
      // What was known may be forgotten or overwritten since; from here on nothing waits.
      if (toLookAt(commit, lookups).length > 0) return { _tag: "Again", lookups, pause: false } as const
      const time = now()
      const again = (line: number, pause: boolean) =>
        Effect.map(resolve(commit, line), ({ done, lookups: seen }): Sent =>
          done === undefined ? { _tag: "Again", lookups: seen, pause } : { _tag: "Done", outcome: done }
        )
      if (
        failing(commit.checks, lookups, time).length > 0 ||
        commit.checks.some((check) => !lookups.has(check.key) && !holdsByKnown(check, known, time))
      )
        return yield* again(generation.number, false)
      const staged = stage(commit, lookups, time)
      if (staged instanceof KvError) {
        if (commit.checks.length === 0) return yield* staged
        const { done } = yield* resolve(commit, generation.number)
        return done === undefined ? yield* staged : ({ _tag: "Done", outcome: done } as const)
      }
      const write = writeOf(commit, staged, lookups, counters, generation)
      if (write === undefined) return { _tag: "TooLarge" } as const
      doubts.sending(commit.id, generation, write.generation)
      const versionstamp = yield* connection.write(write.write)
      if (versionstamp === undefined) {
        // What was believed of the counters may be no longer so.
        for (const key of counters) known.forget(key)
        const renewed = yield* again(write.generation, true)
        return renewed._tag === "Again" && last.generation?.versionstamp !== generation.versionstamp
          ? { ...renewed, pause: false }
          : renewed
      }
      committed(commit, staged, versionstamp, write, generation)
      if (write.generation !== generation.number) yield* options.renewed
      const outcome = {
        _tag: "Committed",
        versionstamp: stampOf(versionstamp, write.generation, commit.id)
      } as const
      return { _tag: "Done", outcome } as const
    })

  /** Keys that nobody looked at yet and that must be looked at. */
  const toLookAt = (commit: Commit, before: Lookups): ReadonlyArray<Packed> => {
    const keys = new Set<Packed>()
    for (const check of commit.checks) if (!isKnown(check, known)) keys.add(check.key)
    for (const key of lookedAt(commit)) keys.add(key)
    return Array.from(keys).filter((key) => !before.has(key))
  }

  interface Composed {
    readonly write: NativeWrite
    /** The generation that the commit is part of. */
    readonly generation: number
    readonly base: number
  }

  const writeOf = (
    commit: Commit,
    planned: ReadonlyMap<Packed, Staged>,
    lookups: Lookups,
    counters: ReadonlyArray<Packed>,
    generation: Generation
  ): Composed | undefined => {
    const commits = last.count + last.commits
    const renews = commits - generation.base >= options.perGeneration
    const number = renews ? generation.number + 1 : generation.number
    const read = counters.filter((key) => lookups.has(key))
    const plan = nativeChecks(commit, planned, read, lookups, known, lineKey(number, commit.id, 0))
    if (plan === undefined) return undefined
    const staged =
      plan.uncertain.size === 0
        ? planned
        : new Map(
            Array.from(planned, ([key, one]) => [
              key,
              plan.uncertain.has(key) ? { ...one, op: "delete" as const } : one
            ])
          )
    const items = compose(commit.id, staged, lookups, known)
    const sized = mutationsOf(items, { commitId: commit.id, generation: number, position: undefined })
    const { bytes, keyBytes } = sizeOf(sized)
    if (
      sized.length > nativeLimits.mutations - 4 ||
      bytes > nativeLimits.bytes - 4_096 ||
      keyBytes > nativeLimits.keyBytes - 512
    )
      return undefined
    const mutations: ReadonlyArray<NativeMutation> = renews
      ? [...sized, setGeneration(openGeneration(number, commits)), put(headerKey(number), count(commits))]
      : sized
    return {
      generation: number,
      base: renews ? commits : generation.base,
      write: {
        checks: [{ key: generationKey, versionstamp: generation.versionstamp }, ...plan.checks],
        mutations,
        bump: true
      }
    }
  }

  const committed = (
    commit: Commit,
    staged: ReadonlyMap<Packed, Staged>,
    versionstamp: string,
    { base, generation }: Composed,
    checked: Generation
  ): void => {
    if (last.place === undefined || versionstamp > last.place.position)
      last.place = { position: versionstamp, generation }
    last.commits++
    if (generation !== checked.number && last.generation?.versionstamp === checked.versionstamp)
      last.generation = { ...openGeneration(generation, base), versionstamp }
    const stamp = stampOf(versionstamp, generation, commit.id)
    for (const [key, { deadline, value }] of staged) {
      if (value === undefined) known.forget(key)
      else
        known.set(key, {
          versionstamp: stamp,
          native: versionstamp,
          deadline,
          counter: value._tag === "Counter" ? value.value : undefined
        })
    }
  }

  const run = (commit: Commit, counters: ReadonlyArray<Packed>): Effect.Effect<CommitOutcome, KvError> =>
    Effect.gen(function* () {
      const start = realClock.currentTimeMillisUnsafe()
      /** For attempts that were answered, and for those that were not: the rest is for asking what became of them. */
      const trying = timeout === undefined ? patience : timeout * 0.9
      const doubting = timeout === undefined ? patience : timeout / 2
      let lookups: Lookups = new Map()
      let pause = 1
      /** An attempt was sent and not answered. */
      let doubtful: NativeFault | undefined
      while (true) {
        const step =
          doubtful === undefined
            ? attempt(commit, lookups, counters)
            : Effect.flatMap(settled(commit), (found): Effect.Effect<Sent, NativeFault | KvError> =>
                found === undefined
                  ? attempt(commit, new Map(), counters)
                  : Effect.succeed({ _tag: "Done", outcome: found })
              )
        const sent = yield* Effect.result(step)
        if (sent._tag === "Success") {
          const result = sent.success
          if (result._tag === "Done") {
            doubts.resolved(commit.id)
            return result.outcome
          }
          doubtful = undefined
          if (result._tag === "TooLarge") return yield* options.exclusive(commit)
          lookups = result.lookups
          if (!result.pause) continue
        } else {
          const failure = sent.failure
          if (failure instanceof KvError) {
            doubts.resolved(commit.id)
            return yield* failure
          }
          if (failure.kind === "unknown") doubtful = failure
          if (!mayPass(connection, failure) || realClock.currentTimeMillisUnsafe() - start > doubting) {
            if (doubtful !== undefined) return yield* commitUnknown(commit.id, doubtful)
            doubts.resolved(commit.id)
            return yield* kvError("commit")(failure)
          }
          lookups = new Map()
          pause = Math.max(pause, 16)
        }
        if (realClock.currentTimeMillisUnsafe() - start > trying) {
          if (doubtful !== undefined) return yield* commitUnknown(commit.id, doubtful)
          doubts.resolved(commit.id)
          return yield* unavailable("commit", `others kept changing the same keys for ${trying} ms`)
        }
        yield* Effect.sleep(pause * (0.5 + (yield* Random.next)))
        pause = Math.min(pause * 2, 128)
      }
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  /** Fences the attempts that got no answer, and says whether one of them went through. */
  const settled = (commit: Commit): Effect.Effect<CommitOutcome | undefined, NativeFault> =>
    Effect.map(settle(store, doubts, commit.id), (outcome) => (typeof outcome === "string" ? undefined : outcome))

  return (commit) =>
    Effect.suspend(() => {
      const counters = counterKeys(commit)
      return counters.length === 0 || counters.length > 64
        ? run(commit, counters)
        : lanes.through(counters, run(commit, counters))
    })
}

/**
 * What became of a commit by its id. If its line is not there, the generation that its last attempt checks is left behind, so that the
 * attempt fails whenever it still arrives; then the line is looked for once more.
 */
export const settle = (
  store: Store,
  doubts: Doubts,
  commitId: string
): Effect.Effect<CommitOutcome | "absent" | "unknown", NativeFault> =>
  Effect.gen(function* () {
    while (true) {
      const doubt = doubts.get(commitId)
      if (doubt === undefined) return "unknown" as const
      const lines = Array.from(doubt.generations).toReversed().slice(0, 8)
      const { entries, generation } = yield* store.read(lines.map((number) => lineKey(number, commitId, 0)))
      for (const entry of entries) {
        const line = readLine(entry)
        if (line !== undefined) return { _tag: "Committed", versionstamp: stampOfLine(line) } as const
      }
      const holds = generation.state === "held" && generation.by === commitId
      if (!holds && generation.versionstamp !== doubt.checked) return "absent" as const
      yield* store.fence(generation)
    }
  })
