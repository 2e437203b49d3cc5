/**
 * Commits that Deno KV does not take in one write: with too many bytes, mutations or checks, such as one that counts many counters. The
 * commit takes the store for itself, writes down what it is going to do, and is decided by one write; then it is carried out, by its own
 * process or by whoever comes. `README.md` says why this is safe.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Semaphore from "effect/Semaphore"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome } from "../../../kv/driver.ts"
import { KvError } from "../../../kv/KvError.ts"
import { NativeFault } from "../faults.ts"
import type { NativeWrite } from "../native.ts"
import { put } from "../native.ts"
import { again } from "./again.ts"
import { failing } from "./checks.ts"
import { compose } from "./compose.ts"
import type { Doubts } from "./doubt.ts"
import { commitUnknown, kvError } from "./error.ts"
import type { Generation, GenerationDraft } from "./generation.ts"
import { setGeneration } from "./generation.ts"
import { generationKey, lineKey, ownKeySize, redoKey } from "./keys.ts"
import { readLine, stampOfLine } from "./lines.ts"
import { lookAt } from "./looking.ts"
import { lookedAt, stage } from "./plan.ts"
import { apply, batches, encodeRedo } from "./redo.ts"
import { stampOf } from "./stamps.ts"
import type { Store } from "./store.ts"

/** What a hold comes to. `lost`: somebody else opened the next generation meanwhile. */
type Held = CommitOutcome | KvError | "lost"

export const makeExclusive = (
  store: Store,
  doubts: Doubts
): ((commit: Commit) => Effect.Effect<CommitOutcome, KvError>) => {
  const { connection } = store
  const turn = Semaphore.makeUnsafe(1)

  /** Deno's client sends a write again by itself: a check that failed may be the second time of one that went through. */
  const became = (wanted: GenerationDraft): Effect.Effect<Generation | undefined, NativeFault> =>
    Effect.map(store.read([]), ({ generation }) =>
      generation.state === wanted.state && generation.by === wanted.by && generation.number === wanted.number
        ? generation
        : undefined
    )

  const hold = (commitId: string, tries: number): Effect.Effect<Generation | undefined, NativeFault> =>
    Effect.gen(function* () {
      const open = yield* store.open(true)
      const draft: GenerationDraft = {
        number: open.number + 1,
        base: open.base,
        state: "held",
        by: commitId,
        // Others have more patience with one that was driven out before.
        parts: tries
      }
      doubts.sending(commitId, open, open.number + 2)
      const versionstamp = yield* again(connection, {
        checks: [{ key: generationKey, versionstamp: open.versionstamp }],
        mutations: [setGeneration(draft)],
        bump: false
      })
      const held = versionstamp === undefined ? yield* became(draft) : { ...draft, versionstamp }
      if (held !== undefined) doubts.sending(commitId, held, held.number + 1)
      return held
    })

  const underHold = (commit: Commit, held: Generation): Effect.Effect<Held, NativeFault> =>
    Effect.gen(function* () {
      const keys = new Set<Packed>([...commit.checks.map(({ key }) => key), ...lookedAt(commit)])
      const { generations, lookups } = yield* lookAt(store, Array.from(keys))
      if (generations.some(({ versionstamp }) => versionstamp !== held.versionstamp)) return "lost"
      const now = connection.now()
      const failed = failing(commit.checks, lookups, now)
      if (failed.length > 0) return { _tag: "Conflict", failed }
      const staged = stage(commit, lookups, now)
      if (staged instanceof KvError) return staged
      const checks: NativeWrite["checks"] = [{ key: generationKey, versionstamp: held.versionstamp }]
      const parts = encodeRedo(compose(commit.id, staged, lookups, store.known))
      const records = parts.map((part, i) => ({
        ...put(redoKey(commit.id, i), part),
        size: part.length + ownKeySize,
        keySize: ownKeySize
      }))
      for (const mutations of batches(records)) {
        if ((yield* again(connection, { checks, mutations, bump: false })) === undefined) return "lost"
      }
      for (const key of staged.keys()) store.known.forget(key)
      const draft: GenerationDraft = {
        number: held.number + 1,
        base: held.base,
        state: "applying",
        by: commit.id,
        parts: parts.length
      }
      const decided = yield* again(connection, { checks, mutations: [setGeneration(draft)], bump: false })
      if (decided === undefined) return yield* decidedAfterAll(commit.id, draft.number)
      // It is decided: who reads carries it out, if this process cannot.
      yield* Effect.ignore(apply(connection, { ...draft, versionstamp: decided }))
      return { _tag: "Committed", versionstamp: stampOf(decided, draft.number, commit.id) }
    })

  /** The line is there as soon as somebody read, for a reader carries out what is decided. */
  const decidedAfterAll = (commitId: string, number: number): Effect.Effect<Held, NativeFault> =>
    Effect.map(store.read([lineKey(number, commitId, 0)]), ({ entries }) => {
      const line = readLine(entries[0]!)
      return line === undefined ? "lost" : { _tag: "Committed", versionstamp: stampOfLine(line) }
    })

  const run = (commit: Commit): Effect.Effect<CommitOutcome, NativeFault | KvError> =>
    Effect.gen(function* () {
      for (let tries = 0; ; tries++) {
        const held = yield* hold(commit.id, tries)
        if (held === undefined) continue
        const outcome = yield* underHold(commit, held).pipe(
          // After a fault or an interruption it is for "outcome", or for others, to open the next one.
          Effect.onExit((exit) =>
            Exit.isSuccess(exit) && exit.value !== "lost" && !isCommitted(exit.value)
              ? Effect.ignore(store.fence(held))
              : Effect.void
          )
        )
        if (outcome === "lost") continue
        return outcome instanceof KvError ? yield* outcome : outcome
      }
    })

  return (commit) =>
    turn.withPermits(1)(
      run(commit).pipe(
        Effect.tap(() => Effect.sync(() => doubts.resolved(commit.id))),
        Effect.mapError((error) => {
          if (error instanceof NativeFault && error.kind === "unknown") return commitUnknown(commit.id, error)
          doubts.resolved(commit.id)
          return error instanceof NativeFault ? kvError("commit")(error) : error
        })
      )
    )
}

const isCommitted = (outcome: CommitOutcome | KvError): boolean =>
  !(outcome instanceof KvError) && outcome._tag === "Committed"
