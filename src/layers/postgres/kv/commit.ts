/** Commits and what became of them. A commit is one statement; with messages it is a transaction of a few. */
import * as Effect from "effect/Effect"
import type { Publication } from "../../../internal/envelope.ts"
import { toBytes } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome, Driver, Mutation, StoredValue } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import { PostgresFault } from "../faults.ts"
import { bigint, bigints, bytea, byteas, float, floats, ints, text, texts } from "../params.ts"
import type { Session } from "../session.ts"
import { commitError, kvError } from "./error.ts"
import { counterOverflow, notACounter } from "./outcomes.ts"
import { operations, type Plan, planOf } from "./plan.ts"
import { stampOf, stampParts } from "./rows.ts"

/** How a commit enqueues and acks in its transaction, for a store that holds a queue as well. */
export interface SharedQueue {
  readonly enqueue: (
    query: Session["query"],
    publications: ReadonlyArray<Publication>
  ) => Effect.Effect<void, PostgresFault>
  /** False: the claim is lost. */
  readonly ack: (
    query: Session["query"],
    claim: { readonly queue: string; readonly id: string; readonly token: string }
  ) => Effect.Effect<boolean, PostgresFault>
}

type Ack = Extract<Mutation, { readonly _tag: "Ack" }>

/** Undoes the transaction of a commit. */
class ClaimGone {
  readonly _tag = "ClaimGone"
  readonly ack: Ack
  constructor(ack: Ack) {
    this.ack = ack
  }
}

const jsonOf = (value: StoredValue | undefined): string | null => (value?._tag === "Json" ? value.text : null)
const bytesOf = (value: StoredValue | undefined): Uint8Array | null => (value?._tag === "Bytes" ? value.bytes : null)
const counterOf = (value: StoredValue | undefined): bigint | null => (value?._tag === "Counter" ? value.value : null)

/** A commit that only sets one key goes the short way. */
const only = ({ checks, mutations }: Commit): Extract<Mutation, { readonly _tag: "Set" }> | undefined =>
  checks.length === 0 && mutations.length === 1 && mutations[0]!._tag === "Set" ? mutations[0] : undefined

export interface Committing {
  readonly commit: Driver["commit"]
  readonly outcome: Driver["outcome"]
}

export const makeCommitting = (
  connection: ConnectionService,
  sharedQueue: SharedQueue | undefined,
  written: Effect.Effect<void>
): Effect.Effect<Committing> =>
  Effect.gen(function* () {
    const { apart, hints, joined, query, sql, transaction } = connection
    const setSql = sql("SELECT seams.kv_set($1, $2, $3, $4, $5, $6, $7)")
    const commitSql = sql(
      "SELECT what, number, places, place, detail FROM seams.kv_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    )
    const outcomeSql = sql("SELECT number, floor FROM seams.kv_outcome($1)")
    const lastSql = sql("SELECT last_value FROM seams.kv_stamp")

    /** The highest number that this process knows to be given out: a commit that is sent now gets a higher one. */
    let known = yield* Effect.match(apart(lastSql, []), {
      onFailure: () => 0n,
      onSuccess: ([row]) => row![0] as bigint
    })
    /** Commits without an answer, with what was known when they were sent. */
    const doubtful = new Map<string, bigint>()

    const committed = (n: bigint, cid: string): CommitOutcome => {
      if (n > known) known = n
      return { _tag: "Committed", versionstamp: stampOf(n, cid) }
    }

    const planned = (
      run: Session["query"],
      { checks, id }: Commit,
      plan: Plan,
      channel: string | null
    ): Effect.Effect<CommitOutcome, PostgresFault | KvError> => {
      const { doomed, finals, keys, locks, steps, ttls, values } = plan
      const expected = checks.map(({ versionstamp }) => (versionstamp === null ? undefined : stampParts(versionstamp)))
      return Effect.flatMap(
        run(commitSql, [
          text(id),
          byteas(keys.map(toBytes)),
          ints(locks),
          ints(finals),
          texts(values.map(jsonOf)),
          byteas(values.map(bytesOf)),
          bigints(values.map(counterOf)),
          floats(ttls),
          byteas(checks.map(({ key }) => toBytes(key))),
          bigints(expected.map((stamp) => stamp?.n ?? null)),
          texts(expected.map((stamp) => stamp?.cid ?? null)),
          ints(steps.map(({ at }) => at)),
          ints(steps.map(({ mutation }) => operations[mutation._tag])),
          bigints(steps.map(({ mutation }) => mutation.operand)),
          floats(steps.map(({ mutation }) => mutation.expireIn ?? null)),
          doomed !== undefined,
          text(channel)
        ]),
        ([row]) => {
          const [what, n, places, place, detail] = row as unknown as [
            string,
            bigint,
            ReadonlyArray<number>,
            number,
            string
          ]
          switch (what) {
            case "C":
              return Effect.succeed(committed(n, id))
            case "F":
              return Effect.succeed<CommitOutcome>({ _tag: "Conflict", failed: places })
            case "N":
              return Effect.fail(notACounter(steps[place]!.mutation, detail))
            case "O":
              return Effect.fail(counterOverflow(steps[place]!.mutation, detail))
            default:
              return Effect.fail(doomed!)
          }
        }
      )
    }

    const write = (
      run: Session["query"],
      request: Commit,
      channel: string | null
    ): Effect.Effect<CommitOutcome, PostgresFault | KvError> => {
      const set = only(request)
      if (set === undefined) return planned(run, request, planOf(request), channel)
      const { expireIn, key, value } = set
      return Effect.map(
        run(setSql, [
          text(request.id),
          bytea(toBytes(key)),
          text(jsonOf(value)),
          bytea(bytesOf(value)),
          bigint(counterOf(value)),
          float(expireIn ?? null),
          text(channel)
        ]),
        ([row]) => committed(row![0] as bigint, request.id)
      )
    }

    /** With messages: they and the entries go together or not at all. */
    const withMessages = (
      shared: SharedQueue,
      request: Commit,
      channel: string | null
    ): Effect.Effect<CommitOutcome, PostgresFault | KvError> =>
      transaction((run) =>
        Effect.gen(function* () {
          const outcome = yield* write(run, request, channel)
          if (outcome._tag !== "Committed") return outcome
          for (const mutation of request.mutations) {
            if (mutation._tag !== "Ack") continue
            const { id, queue, token } = mutation
            if (!(yield* shared.ack(run, { queue, id, token }))) return yield* Effect.fail(new ClaimGone(mutation))
          }
          const publications = request.mutations.flatMap((one) => (one._tag === "Enqueue" ? [one.publication] : []))
          if (publications.length > 0) yield* shared.enqueue(run, publications)
          return outcome
        })
      ).pipe(
        Effect.catchIf(
          (error) => error instanceof ClaimGone,
          ({ ack }) => Effect.succeed<CommitOutcome>({ _tag: "ClaimLost", queue: ack.queue, id: ack.id })
        )
      )

    const commit: Driver["commit"] = (request) =>
      Effect.flatMap(joined, (inside) => {
        const before = known
        const channel = inside ? hints.channel : null
        const messages = request.mutations.some(({ _tag }) => _tag === "Enqueue" || _tag === "Ack")
        const sent =
          messages && sharedQueue !== undefined
            ? withMessages(sharedQueue, request, channel)
            : write(query, request, channel)
        return sent.pipe(
          Effect.tap((outcome) => {
            if (outcome._tag !== "Committed") return Effect.void
            if (!inside) hints.tell("kv")
            return written
          }),
          Effect.mapError((error) => {
            if (!(error instanceof PostgresFault)) return error
            if (error.kind === "unknown") doubtful.set(request.id, before)
            return commitError(request.id)(error)
          })
        )
      })

    const outcome: Driver["outcome"] = (commitId) =>
      Effect.map(apart(outcomeSql, [text(commitId)]), ([row]) => {
        const [n, floor] = row as unknown as [bigint | null, bigint]
        const before = doubtful.get(commitId)
        doubtful.delete(commitId)
        if (n !== null) return committed(n, commitId)
        // Its number was higher than what was known; the log has lost none of those.
        return before !== undefined && before >= floor ? ("absent" as const) : ("unknown" as const)
      }).pipe(Effect.mapError(kvError("outcome")))

    return { commit, outcome }
  })
