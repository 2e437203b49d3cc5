import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Claimed, ClaimRequest, Consumer, Settlement } from "../../../queue/driver.ts"
import type { QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import { Signal } from "../../../internal/signal.ts"
import type { Arg, Reply } from "../wire.ts"
import { queueError } from "./error.ts"
import type { WakeUps } from "./wakeUps.ts"
import { claimedOf, parseToken } from "./records.ts"
import { leaveScript, stepScript, touchScript } from "./scripts.ts"

/** An idle worker looks by itself this often, in case a wake-up was lost; more often without a line for wake-ups. */
const safetyPoll = 10_000
const unhintedPoll = 500
/** How long a worker that is closed may take to say so. */
const leaving = 250

export interface ConsumerParts {
  readonly connection: ConnectionService
  readonly wakeUps: WakeUps
  readonly queue: string
  readonly keys: ReadonlyArray<string>
  readonly lease: number
  readonly retention: { readonly count: number; readonly age: number }
  readonly nextClaim: () => string
}

interface Step {
  readonly results: ReadonlyArray<"settled" | "lost">
  readonly claimed: ReadonlyArray<Claimed>
}

const failure = (error: string | undefined): string => (error === undefined ? "" : `e${error}`)

const settlementArguments = ({ id, outcome, token }: Settlement): ReadonlyArray<Arg> => {
  // A token that is none of ours is answered like a lost claim.
  const claim = parseToken(token) === undefined ? `${"0".repeat(16)}.` : token
  switch (outcome._tag) {
    case "ack":
      return [`a${claim}`, id]
    case "discard":
      return [`x${claim}`, id]
    case "retry":
      return [`r${claim}`, id, Math.ceil(outcome.delay), failure(outcome.error)]
    case "release":
      return [`l${claim}`, id, Math.ceil(outcome.delay), ""]
    case "deadLetter":
      return [`d${claim}`, id, outcome.reason, failure(outcome.error)]
  }
}

export const makeConsumer = (parts: ConsumerParts): Effect.Effect<Consumer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { connection, keys, lease, nextClaim, queue, retention, wakeUps } = parts
    const { hints, realClock, run, server } = connection
    const uncounted = server.cluster ? 1 : 0
    const woken = new Signal()
    const entry = yield* wakeUps.enter(woken)

    /** What is known since the last look: the signal's version then, and when time makes something claimable. */
    let looked = woken.version
    let soon = 0
    let waits = false

    const step = (batch: ReadonlyArray<Settlement>, next: ClaimRequest): Effect.Effect<Step, RedisFault> =>
      Effect.suspend(() => {
        const version = woken.version
        const claim = nextClaim()
        const args: Array<Arg> = [
          uncounted,
          retention.count,
          retention.age,
          claim,
          lease,
          next.max,
          next.start,
          entry,
          safetyPoll,
          batch.length
        ]
        for (const one of batch) args.push(...settlementArguments(one))
        return Effect.flatMap(run(stepScript, keys, args), (reply) => {
          const [expired, wait, results, found] = reply as readonly [
            number,
            Buffer,
            ReadonlyArray<Buffer>,
            ReadonlyArray<Buffer>
          ]
          const claimed: Array<Claimed> = []
          for (let i = 0; i < found.length; i += 3)
            claimed.push(claimedOf(queue, found[i]!.toString(), claim, found[i + 1]!, found[i + 2]!))
          if (next.max > 0) {
            waits = claimed.length === 0
            looked = version
            soon =
              wait.length === 0
                ? Number.POSITIVE_INFINITY
                : realClock.currentTimeMillisUnsafe() + Number(wait.toString())
          }
          const answer: Step = {
            results: results.map((one) => (one[0] === 0x31 ? ("settled" as const) : ("lost" as const))),
            claimed
          }
          return expired === 0 ? Effect.succeed(answer) : Effect.as(messageExpired(queue, expired), answer)
        })
      })

    const ready: Effect.Effect<void, QueueError> = Effect.suspend(() => {
      const now = realClock.currentTimeMillisUnsafe()
      const most = hints.live(wakeUps.channel) ? safetyPoll : unhintedPoll
      return Effect.asVoid(Effect.timeoutOption(woken.after(looked), Math.max(0, Math.min(soon - now, most))))
    }).pipe(Effect.provideService(Clock.Clock, realClock))

    const touch =
      (operation: string, given: number | "") =>
      (tokens: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<"held" | "lost">, QueueError> =>
        tokens.length === 0
          ? Effect.succeed([])
          : run(touchScript, keys, [
              given,
              tokens.length,
              ...tokens.flatMap((token) => {
                const parsed = parseToken(token)
                return parsed === undefined ? ["0", ""] : [parsed.seq, parsed.claim]
              })
            ]).pipe(
              Effect.map((reply: Reply) =>
                (reply as ReadonlyArray<Buffer>).map((one) => (one[0] === 0x31 ? ("held" as const) : ("lost" as const)))
              ),
              Effect.mapError(queueError(operation))
            )

    // What it was woken for, and did not look at, is for another.
    yield* Effect.addFinalizer(() =>
      waits
        ? run(leaveScript, keys, [uncounted, entry]).pipe(
            // A server that does not answer is not waited for: whoever else waits looks by himself.
            Effect.timeoutOption(leaving),
            Effect.ignore,
            Effect.provideService(Clock.Clock, realClock)
          )
        : Effect.void
    )

    return {
      claim: (request) =>
        Effect.mapError(
          Effect.map(step([], request), ({ claimed }) => claimed),
          queueError("claim")
        ),
      ready,
      settle: (batch, next) => Effect.mapError(step(batch, next), queueError("settle")),
      start: touch("start", ""),
      extend: touch("extend", lease)
    }
  })
