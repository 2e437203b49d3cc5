/** Commits and what became of them. A commit is one statement; with messages it is a transaction of a few. */
import * as Effect from "effect/Effect"
import type { Publication } from "../../../internal/envelope.ts"
import type { CommitOutcome, Driver, Mutation } from "../../../kv/driver.ts"
import { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { text } from "../params.ts"
import type { Session } from "../session.ts"
import { commitError, kvError } from "./error.ts"
import { makeGroups, type Request } from "./group.ts"
import { planOf } from "./plan.ts"
import { stampOf, stampParts } from "./rows.ts"
import { type Answer, makeStatements } from "./statements.ts"

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
    const { apart, client, commandTimeout, hints, joined, query, realClock, sql, transaction } = connection
    const { alone, together } = makeStatements(connection)
    const outcomeSql = sql("SELECT number, floor FROM seams.kv_outcome($1)")
    const lastSql = sql("SELECT coalesce(pg_sequence_last_value('seams.kv_stamp'), 0)")

    /** The highest number that this process knows to be given out: a commit that is sent now gets a higher one. */
    let known = yield* Effect.match(apart(lastSql, []), {
      onFailure: () => 0n,
      onSuccess: ([row]) => row![0] as bigint
    })
    /** Commits without an answer, with what was known when they were sent. */
    const doubtful = new Map<string, bigint>()

    const learn = (n: bigint) => {
      if (n > known) known = n
    }

    const grouped = yield* makeGroups<Answer>(
      {
        alone: (request) => alone(apart, request, null),
        together: (requests) => together(apart, requests)
      },
      (client.config as { readonly maxConnections?: number | undefined }).maxConnections ?? 10,
      commandTimeout,
      realClock
    )

    /** With messages: they and the entries go together or not at all. */
    const withMessages = (
      shared: SharedQueue,
      request: Request,
      channel: string | null
    ): Effect.Effect<Answer, PostgresFault> =>
      transaction((run) =>
        Effect.gen(function* () {
          const answer = yield* alone(run, request, channel)
          if (answer._tag !== "Committed") return answer
          const { mutations } = request.commit
          for (const mutation of mutations) {
            if (mutation._tag !== "Ack") continue
            const { id, queue, token } = mutation
            if (!(yield* shared.ack(run, { queue, id, token }))) return yield* Effect.fail(new ClaimGone(mutation))
          }
          const publications = mutations.flatMap((one) => (one._tag === "Enqueue" ? [one.publication] : []))
          if (publications.length > 0) yield* shared.enqueue(run, publications)
          return answer
        })
      ).pipe(
        Effect.catchIf(
          (error) => error instanceof ClaimGone,
          ({ ack }) => Effect.succeed<CommitOutcome>({ _tag: "ClaimLost", queue: ack.queue, id: ack.id })
        )
      )

    const commit: Driver["commit"] = (asked) =>
      Effect.flatMap(joined, (inside) => {
        const before = known
        const channel = inside ? hints.channel : null
        const request: Request = { commit: asked, plan: planOf(asked) }
        const messages = asked.mutations.some(({ _tag }) => _tag === "Enqueue" || _tag === "Ack")
        const sent =
          messages && sharedQueue !== undefined
            ? withMessages(sharedQueue, request, channel)
            : inside
              ? alone(query, request, channel)
              : grouped(request)
        return Effect.matchEffect(sent, {
          onFailure: (fault) => {
            if (fault.kind === "unknown") doubtful.set(asked.id, before)
            return Effect.fail(commitError(asked.id)(fault))
          },
          onSuccess: (answer): Effect.Effect<CommitOutcome, KvError> => {
            if (answer instanceof KvError) return Effect.fail(answer)
            if (answer._tag !== "Committed") return Effect.succeed(answer)
            learn(stampParts(answer.versionstamp).n)
            if (!inside) hints.tell("kv")
            return Effect.as(written, answer)
          }
        })
      })

    const outcome: Driver["outcome"] = (commitId) =>
      Effect.map(apart(outcomeSql, [text(commitId)]), ([row]) => {
        const [n, floor] = row as unknown as [bigint | null, bigint]
        const before = doubtful.get(commitId)
        doubtful.delete(commitId)
        if (n !== null) return { _tag: "Committed" as const, versionstamp: stampOf(n, commitId) }
        // Its number was higher than what was known; the log has lost none of those.
        return before !== undefined && before >= floor ? ("absent" as const) : ("unknown" as const)
      }).pipe(Effect.mapError(kvError("outcome")))

    return { commit, outcome }
  })
