/** How commits end, in the words of the contract; the same with scripts and without. */
import type { CommitOutcome, Mutation } from "../../../kv/driver.ts"
import { CounterOverflow, KvError, NotACounter, Unavailable, Unsupported } from "../../../kv/KvError.ts"
import { formatPacked } from "../../../kv/value.ts"
import { backend } from "../capabilities.ts"
import { stampOf } from "./stamps.ts"

export type CounterMutation = Extract<Mutation, { readonly operand: bigint }>

/** Instead of the number of a commit: it is refused when it arrives. */
export const fence = "fenced"

/** What is remembered of a commit id. */
export const rememberedOutcome = (found: string, commitId: string): CommitOutcome | "absent" =>
  found === fence ? "absent" : { _tag: "Committed", versionstamp: stampOf(Number(found), commitId) }

export const fencedCommit: KvError = new KvError({
  reason: new Unavailable({
    backend,
    operation: "commit",
    detail: "its outcome was asked for before it arrived, so it was refused"
  })
})

export const otherSlot: KvError = new KvError({
  reason: new Unsupported({
    feature: "An enqueue or ack step in a commit",
    detail:
      'in this Cluster a queue lies in another slot than the Kv. Pass slots: "namespace" to every layer of this namespace, or use Kv.outbox'
  })
})

export const unscripted: KvError = new KvError({
  reason: new Unsupported({
    feature: "An enqueue or ack step in a commit",
    detail: "this server runs no scripts for this user. Allow EVAL and EVALSHA, or use Kv.outbox"
  })
})

export const notACounter = ({ _tag, key }: CounterMutation, kind: string): KvError =>
  new KvError({
    reason: new NotACounter({
      key: formatPacked(key),
      detail: `${_tag.toLowerCase()} met ${kind === "j" ? "a JSON value" : "bytes"}`
    })
  })

export const counterOverflow = ({ _tag, key, operand }: CounterMutation, held: string): KvError =>
  new KvError({
    reason: new CounterOverflow({
      key: formatPacked(key),
      detail: `${_tag.toLowerCase()} of ${operand} on ${held}`
    })
  })
