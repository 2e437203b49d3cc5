/**
 * A number of permits that all processes on one store share. One entry says how many each process has and until when it counts as
 * alive, by the store's clock; who has any renews that. What a process has is written as a whole each time, so that a commit
 * whose outcome is unknown is put right by the next one.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { makeCommitIds } from "../../internal/ids.ts"
import { shielded } from "../../internal/shielded.ts"
import { contention } from "../contention.ts"
import { Conflict, KvError, Unavailable } from "../KvError.ts"
import type { Key } from "../model.ts"
import type { Service } from "../service.ts"
import { checkStep, deleteStep, setStep, tryCommit } from "./lease.ts"

export interface Permits {
  /** Takes what is there, at most this many. */
  readonly takeSome: (most: number) => Effect.Effect<number, KvError>
  /** Gives back; what the store does not hear of now it hears with the next heartbeat. */
  readonly giveBack: (n: number) => Effect.Effect<void>
  /** How many are there. */
  readonly available: Effect.Effect<number, KvError>
  readonly key: Key
}

type Shares = Readonly<Record<string, readonly [count: number, until: number]>>

const sharesIn = (value: unknown): Shares =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Shares) : {}

/** The shares of those who live, without one's own. */
const others = (shares: Shares, own: string, now: number): Shares =>
  Object.fromEntries(Object.entries(shares).filter(([owner, [, until]]) => owner !== own && until > now))

const total = (shares: Shares): number => Object.values(shares).reduce((sum, [count]) => sum + count, 0)

/** Gives back what is left when the scope closes. */
export const makePermits = (
  kv: Service,
  key: Key,
  { lease, most }: { readonly lease: number; readonly most: number }
): Effect.Effect<Permits, never, Scope.Scope> =>
  Effect.gen(function* () {
    const own = (yield* makeCommitIds)()
    const turn = Semaphore.makeUnsafe(1)
    let mine = 0

    const read = Effect.map(Effect.all([kv.get(key), kv.now], { concurrency: 2 }), ([entry, now]) => ({
      entry,
      now,
      rest: others(Option.isSome(entry) ? sharesIn(entry.value.value) : {}, own, now)
    }))

    /** Writes what this process has, and up to so many more. Answers how many more. */
    const write = (wanted: number): Effect.Effect<number, KvError> =>
      Effect.gen(function* () {
        const { entry, now, rest } = yield* read
        const more = Math.max(0, Math.min(wanted, most - mine - total(rest)))
        if (more === 0 && wanted > 0) return 0
        const next: Shares = mine + more === 0 ? rest : { ...rest, [own]: [mine + more, now + lease] }
        const step =
          Object.keys(next).length === 0
            ? deleteStep(key)
            : // It outlives those who are named in it, and a clock that is set back a little.
              setStep(key, next, 2 * Math.max(...Object.values(next).map(([, until]) => until - now)) + 60_000)
        const committed = yield* tryCommit(kv, [checkStep(key, entry), step])
        if (committed instanceof Conflict) return yield* committed
        mine += more
        return more
      }).pipe(
        Effect.retry({ schedule: contention, while: (error) => error instanceof Conflict }),
        Effect.catchTag("Conflict", (conflict) => {
          const detail = "too many others take permits at the same time"
          const { backend } = kv.capabilities
          return Effect.fail(
            new KvError({ reason: new Unavailable({ backend, operation: "permits", detail, cause: conflict }) })
          )
        }),
        turn.withPermit,
        shielded
      )

    let last = yield* Clock.currentTimeMillis
    const renewing = Effect.gen(function* () {
      while (true) {
        yield* Effect.sleep(lease / 9)
        const now = yield* Clock.currentTimeMillis
        if (mine === 0 || now - last < lease / 3) continue
        // One that failed is tried again at once, a third of a third later.
        yield* Effect.matchEffect(write(0), {
          onSuccess: () => Effect.sync(() => void (last = now)),
          onFailure: (error) => Effect.logWarning("effect-seams: permits could not be renewed", error.message)
        })
      }
    })

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        if (mine === 0) return Effect.void
        mine = 0
        return Effect.ignore(write(0))
      })
    )
    yield* Effect.forkScoped(renewing)

    return {
      key,
      takeSome: (n) => write(n),
      giveBack: (n) =>
        Effect.suspend(() => {
          mine = Math.max(0, mine - n)
          return Effect.ignore(write(0))
        }),
      available: Effect.map(read, ({ rest }) => Math.max(0, most - mine - total(rest)))
    }
  })
