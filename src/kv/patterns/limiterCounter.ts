/**
 * One limit in the store. Requests of this process that come while a commit is under way share the next one, so that a crowd costs
 * few commits, and what it takes is decided in the order of asking.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { shielded } from "../../internal/shielded.ts"
import { contention } from "../contention.ts"
import { Conflict, KvError, Unavailable } from "../KvError.ts"
import { packKey } from "../list.ts"
import type { Key } from "../model.ts"
import type { Service } from "../service.ts"
import { checkStep, setStep, tryCommit } from "./lease.ts"
import type { Rule } from "./limiterRules.ts"

/**
 * What a limiter granted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  /** The date of the grant, in milliseconds since the epoch by the store's clock: not later than now. */
  readonly at: number
  /** How much more could be taken when this was decided. */
  readonly remaining: number
}

type Answer = Grant | { readonly retryAfter: number }

export interface Counter {
  /** Takes this much, waiting at most `most` milliseconds; else it takes nothing and says when it could. */
  readonly take: (cost: number, most: number) => Effect.Effect<Answer, KvError>
  /** Takes what is there at once, at most this much; 0, and when to ask again, when nothing is. */
  readonly takeSome: (
    most: number
  ) => Effect.Effect<{ readonly cost: number; readonly at: number; readonly retryAfter: number }, KvError>
  /** Gives back a part of what was taken at once and is not used. */
  readonly giveBack: (cost: number, at: number) => Effect.Effect<void, KvError>
  readonly peek: Effect.Effect<{ readonly available: number; readonly retryAfter: number }, KvError>
  readonly reset: Effect.Effect<void, KvError>
}

interface Request {
  readonly cost: number
  readonly most: number
  readonly done: Deferred.Deferred<Answer, KvError>
  granted: Grant | undefined
  /** When it was decided, by the store's clock. */
  decided: number
  joined: boolean
  /** Nobody waits for it any more. */
  given: boolean
}

/** Beyond what it says: a clock that is set back by less finds it still there. */
const margin = 60_000
const largestBatch = 500

/** The counters of one service; requests for one key find each other here. */
export const makeCounters = (kv: Service, rule: Rule<unknown>): ((key: Key) => Counter) => {
  const lines = new Map<string, Array<Request>>()

  const time = Effect.map(kv.now, Math.floor)
  const read = (key: Key) =>
    Effect.gen(function* () {
      const [entry, early] = yield* Effect.all([kv.get(key), time], { concurrency: 2 })
      const state = (Option.isSome(entry) ? rule.decode(entry.value.value) : undefined) ?? rule.empty
      // The two may have been read in either order: what was decided meanwhile must not look like a clock that was set back.
      const now = early < rule.decided(state) ? yield* time : early
      return { entry, now, state }
    })

  /** Reads, decides and commits, until nobody else was quicker. */
  const change = <A>(
    key: Key,
    decide: (state: unknown, now: number) => { readonly state: unknown; readonly changed: boolean; readonly result: A }
  ): Effect.Effect<A, KvError> =>
    Effect.gen(function* () {
      const { entry, now, state } = yield* read(key)
      const { changed, result, state: next } = decide(state, now)
      if (!changed) return result
      const lasts = Math.max(0, rule.lasts(next, now))
      const committed = yield* tryCommit(kv, [
        checkStep(key, entry),
        setStep(key, rule.encode(next), Math.ceil(2 * lasts) + margin)
      ])
      return committed instanceof Conflict ? yield* committed : result
    }).pipe(
      Effect.retry({ schedule: contention, while: (error) => error instanceof Conflict }),
      Effect.catchTag("Conflict", (conflict) => {
        const { backend } = kv.capabilities
        const detail = "too many others take from this limit at the same time"
        return Effect.fail(
          new KvError({ reason: new Unavailable({ backend, operation: "take", detail, cause: conflict }) })
        )
      })
    )

  const decide = (key: Key, requests: ReadonlyArray<Request>): Effect.Effect<ReadonlyArray<Answer>, KvError> =>
    change(key, (before, now) => {
      let state = before
      let changed = false
      const result = requests.map((request): Answer => {
        request.decided = now
        const at = rule.next(state, request.cost, now)
        if (request.given || at - now > request.most) return { retryAfter: at - now }
        state = rule.grant(state, request.cost, at, now)
        changed = true
        return { at, remaining: rule.available(state, now) }
      })
      return { state, changed, result }
    })

  const giveBack = (key: Key, request: Request): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { cost, granted } = request
      if (granted === undefined) return Effect.void
      request.granted = undefined
      const without = (state: unknown) => ({
        state: rule.giveBack(state, cost, granted.at),
        changed: true,
        result: undefined
      })
      return Effect.ignore(shielded(change(key, without)))
    })

  /** Decides what has come, until nothing has; then the line is over. */
  const serve = (packed: string, key: Key, line: Array<Request>): Effect.Effect<void> =>
    Effect.gen(function* () {
      while (true) {
        if (line.length === 0) return void lines.delete(packed)
        const batch = line.splice(0, largestBatch)
        const answers = yield* Effect.result(decide(key, batch))
        for (const [i, request] of batch.entries()) {
          if (Result.isFailure(answers)) {
            Deferred.doneUnsafe(request.done, Effect.fail(answers.failure))
            continue
          }
          const answer = answers.success[i]!
          if ("at" in answer) request.granted = answer
          Deferred.doneUnsafe(request.done, Effect.succeed(answer))
        }
      }
    })

  /** The work of a line goes on when the one who began it is interrupted. */
  const join = (packed: string, key: Key, request: Request): Effect.Effect<void> =>
    Effect.suspend(() => {
      request.joined = true
      const known = lines.get(packed)
      if (known !== undefined) {
        known.push(request)
        return Effect.void
      }
      const line = [request]
      lines.set(packed, line)
      return Effect.asVoid(Effect.forkDetach(serve(packed, key, line), { startImmediately: true }))
    })

  /**
   * Returns a grant when the store's clock has come to it; one of the past at once. Where that clock was set back meanwhile, by more
   * than the request would wait, there is no grant.
   */
  const due = (key: Key, request: Request, grant: Answer): Effect.Effect<Answer, KvError> =>
    Effect.gen(function* () {
      if (!("at" in grant)) return grant
      let rest = grant.at - request.decided
      while (rest > 0) {
        yield* Effect.sleep(rest)
        rest = grant.at - (yield* time)
        if (rest <= request.most) continue
        yield* giveBack(key, request)
        return { retryAfter: rest }
      }
      return grant
    })

  return (key) => {
    const packed = packKey(key)
    return {
      take: (cost, most) =>
        Effect.suspend(() => {
          if (packed instanceof KvError) return Effect.fail(packed)
          const done = Deferred.makeUnsafe<Answer, KvError>()
          const request: Request = { cost, most, done, granted: undefined, decided: 0, joined: false, given: false }
          return Effect.andThen(join(packed, key, request), Deferred.await(done)).pipe(
            Effect.flatMap((answer) => due(key, request, answer)),
            Effect.onError(() => {
              request.given = true
              // What is under way comes to its end first.
              const outcome = request.joined ? Effect.exit(Deferred.await(done)) : Effect.void
              return Effect.andThen(outcome, giveBack(key, request))
            })
          )
        }),
      takeSome: (most) =>
        shielded(
          change(key, (state, now) => {
            const cost = Math.min(most, rule.available(state, now))
            const retryAfter = rule.next(state, 1, now) - now
            return cost === 0
              ? { state, changed: false, result: { cost, at: now, retryAfter } }
              : { state: rule.grant(state, cost, now, now), changed: true, result: { cost, at: now, retryAfter: 0 } }
          })
        ),
      giveBack: (cost, at) =>
        shielded(change(key, (state) => ({ state: rule.giveBack(state, cost, at), changed: true, result: undefined }))),
      peek: Effect.map(
        Effect.suspend(() => read(key)),
        ({ now, state }) => ({ available: rule.available(state, now), retryAfter: rule.next(state, 1, now) - now })
      ),
      reset: Effect.asVoid(Effect.suspend(() => kv.delete(key)))
    }
  }
}
