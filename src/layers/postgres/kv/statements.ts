/** The calls that commit: one key set, one commit of any kind, a group of commits; and what their rows say. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { toBytes } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome, Mutation, StoredValue } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { bigint, bigints, booleans, bytea, byteas, float, floats, ints, text, texts } from "../params.ts"
import type { Session } from "../session.ts"
import type { Grouped, Request } from "./group.ts"
import { counterOverflow, notACounter } from "./outcomes.ts"
import { operations, type Plan } from "./plan.ts"
import { stampOf, stampParts } from "./rows.ts"

/** How a commit ends when the server answers. */
export type Answer = CommitOutcome | KvError

export interface Statements {
  /** `channel`: told of it at the commit, inside a transaction of the program. */
  readonly alone: (
    run: Session["query"],
    request: Request,
    channel: string | null
  ) => Effect.Effect<Answer, PostgresFault>
  readonly together: (
    run: Session["query"],
    requests: ReadonlyArray<Request>
  ) => Effect.Effect<ReadonlyArray<Grouped<Answer>>, PostgresFault>
}

const jsonOf = (value: StoredValue | undefined): string | null => (value?._tag === "Json" ? value.text : null)
const bytesOf = (value: StoredValue | undefined): Uint8Array | null => (value?._tag === "Bytes" ? value.bytes : null)
const counterOf = (value: StoredValue | undefined): bigint | null => (value?._tag === "Counter" ? value.value : null)

const keyParams = ({ finals, keys, locks, ttls, values }: Omit<Plan, "steps" | "doomed">) => [
  byteas(keys.map(toBytes)),
  ints(locks),
  ints(finals),
  texts(values.map(jsonOf)),
  byteas(values.map(bytesOf)),
  bigints(values.map(counterOf)),
  floats(ttls)
]

const checkParams = (checks: Commit["checks"]) => {
  const expected = checks.map(({ versionstamp }) => (versionstamp === null ? undefined : stampParts(versionstamp)))
  return [
    byteas(checks.map(({ key }) => toBytes(key))),
    bigints(expected.map((stamp) => stamp?.n ?? null)),
    texts(expected.map((stamp) => stamp?.cid ?? null))
  ]
}

const stepParams = (steps: Plan["steps"]) => [
  ints(steps.map(({ at }) => at)),
  ints(steps.map(({ mutation }) => operations[mutation._tag])),
  bigints(steps.map(({ mutation }) => mutation.operand)),
  floats(steps.map(({ mutation }) => mutation.expireIn ?? null))
]

/** Where the parts of each request end, laid one behind the other. */
const endsOf = (lengths: ReadonlyArray<number>) => {
  let end = 0
  return ints(lengths.map((length) => (end += length)))
}

type OutcomeRow = readonly [what: string, n: bigint, places: ReadonlyArray<number>, place: number, detail: string]

/** `undefined`: it would have had to wait. */
const answerOf = ({ commit, plan }: Request, [what, n, places, place, detail]: OutcomeRow): Answer | undefined => {
  switch (what) {
    case "C":
      return { _tag: "Committed", versionstamp: stampOf(n, commit.id) }
    case "F":
      return { _tag: "Conflict", failed: places }
    case "N":
      return notACounter(plan.steps[place]!.mutation, detail)
    case "O":
      return counterOverflow(plan.steps[place]!.mutation, detail)
    case "D":
      return plan.doomed
    default:
      return undefined
  }
}

/** A commit that only sets one key goes a shorter way. */
const only = ({ checks, mutations }: Commit): Extract<Mutation, { readonly _tag: "Set" }> | undefined =>
  checks.length === 0 && mutations.length === 1 && mutations[0]!._tag === "Set" ? mutations[0] : undefined

export const makeStatements = ({ sql }: ConnectionService): Statements => {
  const setSql = sql("SELECT seams.kv_set($1, $2, $3, $4, $5, $6, $7)")
  const commitSql = sql(
    "SELECT what, number, places, place, detail FROM seams.kv_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
  )
  const groupSql = sql(
    "SELECT what, number, places, place, detail FROM seams.kv_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
  )
  return {
    alone: (run, request, channel) => {
      const { commit, plan } = request
      const set = only(commit)
      if (set === undefined)
        return Effect.map(
          run(commitSql, [
            text(commit.id),
            ...keyParams(plan),
            ...checkParams(commit.checks),
            ...stepParams(plan.steps),
            plan.doomed !== undefined,
            text(channel)
          ]),
          ([row]) => answerOf(request, row as unknown as OutcomeRow)!
        )
      const { expireIn, key, value } = set
      return Effect.map(
        run(setSql, [
          text(commit.id),
          bytea(toBytes(key)),
          text(jsonOf(value)),
          bytea(bytesOf(value)),
          bigint(counterOf(value)),
          float(expireIn ?? null),
          text(channel)
        ]),
        ([row]) => ({ _tag: "Committed", versionstamp: stampOf(row![0] as bigint, commit.id) })
      )
    },
    together: (run, requests) => {
      const plans = requests.map(({ plan }) => plan)
      const checks = requests.map(({ commit }) => commit.checks)
      return Effect.map(
        run(groupSql, [
          texts(requests.map(({ commit }) => commit.id)),
          endsOf(plans.map(({ keys }) => keys.length)),
          ...keyParams({
            keys: plans.flatMap(({ keys }) => keys),
            locks: plans.flatMap(({ locks }) => locks),
            finals: plans.flatMap(({ finals }) => finals),
            values: plans.flatMap(({ values }) => values),
            ttls: plans.flatMap(({ ttls }) => ttls)
          }),
          endsOf(checks.map(({ length }) => length)),
          ...checkParams(checks.flat()),
          endsOf(plans.map(({ steps }) => steps.length)),
          ...stepParams(plans.flatMap(({ steps }) => steps)),
          booleans(plans.map(({ doomed }) => doomed !== undefined))
        ]),
        (rows) =>
          requests.map((request, i): Grouped<Answer> => {
            const answer = answerOf(request, rows[i] as unknown as OutcomeRow)
            return answer === undefined ? { _tag: "wait" } : { _tag: "done", exit: Exit.succeed(answer) }
          })
      )
    }
  }
}
