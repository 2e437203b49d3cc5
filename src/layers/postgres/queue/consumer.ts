import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Signal } from "../../../internal/signal.ts"
import type { Claimed, ClaimRequest, Consumer, Settlement } from "../../../queue/driver.ts"
import { soloAfter } from "../../../queue/driver.ts"
import type { ConnectionService } from "../connection.ts"
import type { QueueError } from "../../../queue/QueueError.ts"
import { lockNotAvailable, type PostgresFault } from "../faults.ts"
import { bigint, bigints, float, floats, texts, toKey, toText } from "../params.ts"
import type { Rows } from "../session.ts"
import { queueError } from "./error.ts"
import { Held } from "./held.ts"
import type { Marks } from "./marks.ts"
import type { Numbers } from "./numbers.ts"
import { byPlace, claimedOf, parseToken, type StepRow } from "./records.ts"

const noTexts = texts([])
const noFloats = floats([])

export interface ConsumerParts {
  readonly connection: ConnectionService
  readonly numbers: Numbers
  readonly marks: Marks
  readonly queue: string
  readonly lease: number
  /** Raised when the queue may have something for a claim. */
  readonly woken: Signal
}

const letters = { ack: "a", discard: "x", retry: "r", release: "l", deadLetter: "d" } as const

type Parsed = ReadonlyArray<ReturnType<typeof parseToken>>

/** A call that names messages and claims, and answers the places of those that are held. */
const touch = (
  operation: string,
  tokens: ReadonlyArray<string>,
  call: (
    seqs: ReadonlyArray<bigint>,
    claims: ReadonlyArray<bigint>,
    parsed: Parsed
  ) => Effect.Effect<Rows, PostgresFault>
): Effect.Effect<ReadonlyArray<"held" | "lost">, QueueError> =>
  tokens.length === 0
    ? Effect.succeed([])
    : Effect.suspend(() => {
        const parsed = tokens.map(parseToken)
        return call(seqsOf(parsed), claimsOf(parsed), parsed)
      }).pipe(
        Effect.map((rows) => {
          const those = new Set(rows[0]![0] as ReadonlyArray<number> | null)
          return tokens.map((_, i) => (those.has(i + 1) ? ("held" as const) : ("lost" as const)))
        }),
        Effect.mapError(queueError(operation))
      )

/** A token that is none of ours is answered like a lost claim. */
const seqsOf = (parsed: Parsed) => parsed.map((one) => BigInt(one?.seq ?? 0))
const claimsOf = (parsed: Parsed) => parsed.map((one) => BigInt(one?.claim ?? 0))

export const makeConsumer = (parts: ConsumerParts): Effect.Effect<Consumer, never, Scope.Scope> =>
  Effect.sync(() => {
    const { connection, lease, marks, numbers, queue, woken } = parts
    const { apart, hints, pollInterval, realClock, sql } = connection
    const stepSql = sql(
      "SELECT * FROM seams.step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    )
    const startSql = sql("SELECT seams.start($1, $2)")
    const extendSql = sql("SELECT seams.extend($1, $2, $3, $4)")
    const held = new Held()

    /** What is known since the last look: the signal's version then, and when time makes something claimable. */
    let looked = woken.version
    let soon = 0

    const step = (batch: ReadonlyArray<Settlement>, next: ClaimRequest) =>
      numbers.using(
        Effect.flatMap(numbers.of(queue), (q) => {
          const version = woken.version
          const look = marks.look(q)
          const parsed = batch.map(({ token }) => parseToken(token))
          const seqs = bigints(seqsOf(parsed))
          const claims = bigints(claimsOf(parsed))
          const acked = batch.every(({ outcome }) => outcome._tag === "ack")
          const over = held.over(parsed)
          const call = (careful: boolean) =>
            apart(stepSql, [
              q,
              seqs,
              claims,
              batch.length === 0 ? noTexts : texts(batch.map(({ id }) => toKey(id))),
              acked ? null : batch.map(({ outcome }) => letters[outcome._tag]).join(""),
              acked
                ? noFloats
                : floats(batch.map(({ outcome }) => ("delay" in outcome ? Math.ceil(outcome.delay) : 0))),
              acked
                ? noTexts
                : texts(batch.map(({ outcome }) => ("reason" in outcome ? toText(outcome.reason) : null))),
              acked
                ? noTexts
                : texts(
                    batch.map(({ outcome }) =>
                      "error" in outcome && outcome.error !== undefined ? toText(outcome.error) : null
                    )
                  ),
              bigints(over),
              next.max,
              next.start,
              float(lease),
              bigint(BigInt(look.above)),
              soloAfter,
              look.all,
              careful
            ])
          // Somebody has locked one of these messages, as a transaction that has acked it and does not end: the others are settled without it.
          const answered = Effect.catchIf(
            call(false),
            (fault) => fault.code === lockNotAvailable,
            () => call(true)
          )
          return Effect.flatMap(
            Effect.ensuring(
              answered,
              Effect.sync(() => marks.looked(q, look))
            ),
            (rows) => {
              const [rest, places] = rows[rows.length - 1]!.slice(7) as unknown as [
                readonly [claim: number | null, expired: number, wait: number | null],
                ReadonlyArray<number> | null
              ]
              const [claim, expired, wait] = rest
              const settled = new Set(places)
              const results = batch.map((_, i) => (settled.has(i + 1) ? ("settled" as const) : ("lost" as const)))
              held.settled(parsed)
              const claimed: Array<Claimed> = []
              let lowest = Number.POSITIVE_INFINITY
              if (claim !== null) {
                const found = (rows.slice(0, -1) as unknown as ReadonlyArray<StepRow>).toSorted(byPlace)
                for (const row of found) {
                  claimed.push(claimedOf(queue, claim, row))
                  held.add(claim, row[0])
                  if (row[7] === null && row[0] < lowest) lowest = row[0]
                }
                if (lowest !== Number.POSITIVE_INFINITY) marks.found(q, look, lowest)
              }
              if (next.max > 0) {
                looked = version
                soon = wait === null ? Number.POSITIVE_INFINITY : realClock.currentTimeMillisUnsafe() + wait
              }
              // What comes back, or lets a line move on, may be for another worker.
              if (
                batch.some(
                  ({ claimed: one, outcome }) =>
                    outcome._tag === "retry" || outcome._tag === "release" || one?.message.group !== undefined
                )
              )
                hints.tell(String(q))
              const answer = { results, claimed }
              return expired === 0 ? Effect.succeed(answer) : Effect.as(messageExpired(queue, expired), answer)
            }
          )
        })
      )

    const ready: Effect.Effect<void> = Effect.suspend(() => {
      const wait = Math.max(0, Math.min(soon - realClock.currentTimeMillisUnsafe(), pollInterval()))
      return Effect.asVoid(Effect.timeoutOption(woken.after(looked), wait))
    }).pipe(Effect.provideService(Clock.Clock, realClock))

    return {
      claim: (request) =>
        Effect.mapError(
          Effect.map(step([], request), ({ claimed }) => claimed),
          queueError("claim")
        ),
      ready,
      forget: (token, how) => {
        const parsed = parseToken(token)
        if (parsed !== undefined) held.forget(parsed, how)
      },
      settle: (batch, next) => Effect.mapError(step(batch, next), queueError("settle")),
      start: (tokens) => touch("start", tokens, (seqs, claims) => apart(startSql, [bigints(seqs), bigints(claims)])),
      extend: (tokens) =>
        touch("extend", tokens, (seqs, claims, parsed) =>
          apart(extendSql, [bigints(seqs), bigints(claims), float(lease), bigints(held.apart(parsed))])
        )
    }
  })
