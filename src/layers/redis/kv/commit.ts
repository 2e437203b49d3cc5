/** A commit through the script: one step on the server, one round trip. */
import * as Effect from "effect/Effect"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome, Mutation } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import type { ConnectionService } from "../connection.ts"
import { keysPerQueue, queueKeys } from "../queue/keys.ts"
import { parseToken, publicationArguments } from "../queue/records.ts"
import type { Arg, Reply } from "../wire.ts"
import { commitError } from "./error.ts"
import type { KvKeys } from "./keys.ts"
import type { CounterMutation } from "./outcomes.ts"
import { counterOverflow, fencedCommit, notACounter, otherSlot, rememberedOutcome } from "./outcomes.ts"
import { commitScript, joinedCommitScript } from "./scripts.ts"
import { bytesOf, expectedStamp, kindOf, stampOf, whole } from "./stamps.ts"

const letters = { Set: "s", Delete: "d", Sum: "+", Min: "<", Max: ">" } as const

export interface CommitOptions {
  readonly logLength: number
  /** Milliseconds in which the outcome of a commit can be asked for. */
  readonly remembered: number
}

type Ack = Extract<Mutation, { readonly _tag: "Ack" }>
type QueueMutation = Extract<Mutation, { readonly _tag: "Enqueue" | "Ack" }>

const queueOf = (mutation: QueueMutation): string =>
  mutation._tag === "Ack" ? mutation.queue : mutation.publication.message.queue

const isQueueMutation = (mutation: Mutation): mutation is QueueMutation =>
  mutation._tag === "Enqueue" || mutation._tag === "Ack"

export const makeScriptedCommit = (connection: ConnectionService, keys: KvKeys, options: CommitOptions) => {
  const { namespace, run, server, slots } = connection
  const uncounted = server.cluster ? 1 : 0

  return (commit: Commit): Effect.Effect<CommitOutcome, KvError> =>
    Effect.suspend(() => {
      const { checks, id, mutations } = commit
      const names: Array<Arg> = [
        keys.counter,
        keys.log,
        keys.index,
        keys.expiries,
        keys.swept,
        keys.scratch,
        keys.outcome(id)
      ]
      const places = new Map<string, number>()
      /** The index in KEYS, from 1, of a key's value; its stamp follows. */
      const placeOf = (key: Packed): number => {
        const known = places.get(key)
        if (known !== undefined) return known
        const place = names.push(keys.value(key), keys.stamp(key)) - 1
        places.set(key, place)
        return place
      }
      const args: Array<Arg> = [
        id,
        options.logLength,
        keys.channel,
        options.remembered,
        keys.prefixLength,
        checks.length,
        mutations.length
      ]
      for (const check of checks) args.push(placeOf(check.key) + 1, expectedStamp(check.versionstamp))
      const joined = mutations.some(isQueueMutation)
      if (joined && server.cluster && slots === "queue") return Effect.fail(otherSlot)
      const queues = new Map<string, number>()
      // The keys of queues come last, behind all of the Kv.
      for (const mutation of mutations) if (!isQueueMutation(mutation)) placeOf(mutation.key)
      for (const mutation of mutations) {
        if (!isQueueMutation(mutation)) {
          const place = placeOf(mutation.key)
          if (mutation._tag === "Set") {
            const { expireIn, value } = mutation
            args.push("s", place, kindOf(value), bytesOf(value), expireIn === undefined ? "" : whole(expireIn))
          } else if (mutation._tag === "Delete") args.push("d", place, "", "", "")
          else {
            const { expireIn, operand } = mutation
            const until = expireIn === undefined ? "" : whole(expireIn)
            args.push(letters[mutation._tag], place, "", operand.toString(), until)
          }
          continue
        }
        const queue = queueOf(mutation)
        let first = queues.get(queue)
        if (first === undefined) {
          first = names.push(...queueKeys(namespace, queue, slots)) - keysPerQueue + 1
          queues.set(queue, first)
        }
        if (mutation._tag === "Enqueue")
          args.push("enq", first, "", "", "", ...publicationArguments(mutation.publication))
        else {
          if (parseToken(mutation.token) === undefined) return Effect.succeed(lostAt(mutation))
          args.push("ack", first, "", "", "", `a${mutation.token}`, mutation.id)
        }
      }
      if (joined) args.push(uncounted)
      return Effect.flatMap(
        Effect.mapError(run(joined ? joinedCommitScript : commitScript, names, args), commitError(id)),
        (reply) => answer(commit, reply as ReadonlyArray<Reply>)
      )
    })
}

/** What the script says, as an outcome. */
const answer = (commit: Commit, reply: ReadonlyArray<Reply>): Effect.Effect<CommitOutcome, KvError> => {
  const [what, ...rest] = reply
  const mutation = () => commit.mutations[Number(rest[0])]!
  switch (String(what)) {
    case "C": {
      const outcome: CommitOutcome = { _tag: "Committed", versionstamp: stampOf(Number(rest[0]), commit.id) }
      const expired = rest[1] as ReadonlyArray<number>
      if (expired.every((n) => n === 0)) return Effect.succeed(outcome)
      const queues = commit.mutations.filter(isQueueMutation).map(queueOf)
      return Effect.as(
        Effect.forEach(expired, (n, i) => messageExpired(queues[i]!, n), { discard: true }),
        outcome
      )
    }
    case "F":
      return Effect.succeed({ _tag: "Conflict", failed: rest.map(Number) })
    case "L":
      return Effect.succeed(lostAt(mutation() as Ack))
    case "N":
      return Effect.fail(notACounter(mutation() as CounterMutation, String(rest[1])))
    case "O":
      return Effect.fail(counterOverflow(mutation() as CounterMutation, String(rest[1])))
    default: {
      const outcome = rememberedOutcome(String(rest[0]), commit.id)
      return outcome === "absent" ? Effect.fail(fencedCommit) : Effect.succeed(outcome)
    }
  }
}

const lostAt = ({ id, queue }: Ack): CommitOutcome => ({ _tag: "ClaimLost", queue, id })
