/** How commits are refused, in the words of the contract. */
import type { Mutation } from "../../../kv/driver.ts"
import { CounterOverflow, KvError, NotACounter } from "../../../kv/KvError.ts"
import { formatPacked } from "../../../kv/value.ts"

export type CounterMutation = Extract<Mutation, { readonly operand: bigint }>

export const notACounter = ({ _tag, key }: CounterMutation, met: string): KvError =>
  new KvError({
    reason: new NotACounter({ key: formatPacked(key), detail: `${_tag.toLowerCase()} met ${met}` })
  })

export const counterOverflow = ({ _tag, key, operand }: CounterMutation, held: string): KvError =>
  new KvError({
    reason: new CounterOverflow({
      key: formatPacked(key),
      detail: `${_tag.toLowerCase()} of ${operand} on ${held}`
    })
  })
