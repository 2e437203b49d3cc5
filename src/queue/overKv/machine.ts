/**
 * The life of a message, without effects: from one state to the next, and from two states to what a commit writes. `undefined` is
 * the state of a message that has ended.
 */
import type { Key } from "../../kv/model.ts"
import type { Step } from "../../kv/op.ts"
import type { Outcome } from "../driver.ts"
import { soloAfter } from "../driver.ts"
import type { QueueKeys } from "./keys.ts"
import type { MessageRecord } from "./records.ts"
import { attemptOf, note } from "./records.ts"

export const setStep = (key: Key, value: unknown, expireIn?: number): Step => ({
  _tag: "Set",
  key,
  value: { _tag: "Json", text: JSON.stringify(value) },
  expireIn
})

export const deleteStep = (key: Key): Step => ({ _tag: "Delete", key })

/** Where a message goes that nobody holds. */
export const enter = (message: MessageRecord, now: number): MessageRecord | undefined => {
  const free: MessageRecord = message.claim === undefined ? message : { ...message, claim: undefined }
  if (free.expiresAt !== undefined && free.expiresAt <= now) return undefined
  if (free.due > now) return { ...free, place: "delayed" }
  // One that holds its line never left it.
  return { ...free, place: free.group === undefined || free.held ? "ready" : "blocked" }
}

/**
 * What time has made of a message by now; the message itself when it has done nothing. `lost`: whether the end of its lease counts
 * as the loss of its claim.
 */
export const advance = (message: MessageRecord, now: number, lost: boolean): MessageRecord | undefined => {
  const { claim } = message
  if (claim !== undefined) {
    if (claim.deadline > now || !lost) return message
    return enter(
      claim.started
        ? { ...message, lostStarted: message.lostStarted + 1 }
        : { ...message, lostUnstarted: message.lostUnstarted + 1 },
      now
    )
  }
  if (message.expiresAt !== undefined && message.expiresAt <= now) return undefined
  return message.place === "delayed" && message.due <= now ? enter(message, now) : message
}

/** A claim; `mayStart`: a handler is free for it. */
export const claim = (
  message: MessageRecord,
  options: { readonly token: string; readonly lease: number; readonly now: number; readonly mayStart: boolean }
): MessageRecord & { readonly claim: { readonly started: boolean } } => ({
  ...message,
  place: "claimed",
  held: true,
  deliveries: message.deliveries + 1,
  claim: {
    token: options.token,
    lease: options.lease,
    deadline: options.now + options.lease,
    started: options.mayStart && message.lostStarted < soloAfter
  }
})

/** Whether a token still is the right to settle a message. */
export const holds = (message: MessageRecord | undefined, token: string, now: number): message is MessageRecord =>
  message?.claim !== undefined && message.claim.token === token && message.claim.deadline > now

/** The state after a settle that ends nothing for good, `undefined` after one that does. */
export const settled = (message: MessageRecord, outcome: Outcome, now: number): MessageRecord | undefined => {
  switch (outcome._tag) {
    case "retry":
      return enter(
        {
          ...message,
          retries: message.retries + 1,
          error: outcome.error === undefined ? message.error : note(outcome.error),
          due: now + outcome.delay
        },
        now
      )
    case "release":
      return enter(outcome.delay > 0 ? { ...message, due: now + outcome.delay } : message, now)
    default:
      return undefined
  }
}

/** What a dead letter leaves behind: its record in order of death, and the way to it by id. */
export const buried = (
  keys: QueueKeys,
  message: MessageRecord,
  idText: string,
  outcome: Extract<Outcome, { readonly _tag: "deadLetter" }>,
  now: number,
  seq: string
): ReadonlyArray<Step> => {
  const { body, deliveries, enqueuedAt, expiresAt, group, id, notBefore, priority } = message
  const error = outcome.error ?? message.error
  const record = {
    seq,
    id,
    body,
    priority,
    enqueuedAt,
    notBefore,
    expiresAt,
    group,
    attempt: attemptOf(message),
    deliveries,
    reason: note(outcome.reason),
    error: error === undefined ? undefined : note(error),
    diedAt: now
  }
  return [setStep(keys.dead(now, seq), record), setStep(keys.deadId(idText, now, seq), 1)]
}

/** The index entries that follow from a state. */
const indexOf = (keys: QueueKeys, message: MessageRecord | undefined): ReadonlyArray<readonly [Key, unknown]> => {
  if (message === undefined) return []
  const { body, claim: held, due, expiresAt, group, place, priority, seq } = message
  // With the length of the lease: who cannot trust the deadline of another clock measures it.
  if (held !== undefined) return [[keys.timer(held.deadline, "l", seq), held.lease]]
  const entries: Array<readonly [Key, unknown]> = []
  // Who claims reads the body together with the state.
  const where = body === seq ? 1 : body
  if (place === "delayed") entries.push([keys.timer(due, "d", seq), 1])
  else if (place === "ready") entries.push([keys.ready(priority, due, seq), where])
  else if (group !== undefined) entries.push([keys.waiting(group, due, seq), where])
  if (expiresAt !== undefined) entries.push([keys.timer(expiresAt, "x", seq), 1])
  return entries
}

/** Whether an index entry follows from a state. */
export const isIndexed = (keys: QueueKeys, message: MessageRecord | undefined, key: Key): boolean => {
  const name = JSON.stringify(key)
  return indexOf(keys, message).some(([own]) => JSON.stringify(own) === name)
}

/** The mutations that take a message from one state to another, without those of its body. */
export const transition = (
  keys: QueueKeys,
  before: MessageRecord | undefined,
  after: MessageRecord | undefined
): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  const kept = new Map(indexOf(keys, after).map(([key, value]) => [JSON.stringify(key), [key, value] as const]))
  for (const [key] of indexOf(keys, before)) {
    const name = JSON.stringify(key)
    if (!kept.delete(name)) steps.push(deleteStep(key))
  }
  for (const [key, value] of kept.values()) steps.push(setStep(key, value))
  if (after !== undefined) steps.push(setStep(keys.message(after.seq), after))
  else if (before !== undefined) steps.push(deleteStep(keys.message(before.seq)))
  return steps
}

/** Whether the line of a message must be looked at after a change: somebody joined it, or its head may have left. */
export const disturbsLine = (before: MessageRecord | undefined, after: MessageRecord | undefined): boolean => {
  if ((after ?? before)?.group === undefined) return false
  if (after === undefined) return before !== undefined && (before.held || before.place !== "delayed")
  if (after.held) return false
  // Also a message whose content is replaced while it is blocked: a ranking writes the record it has read.
  if (after.place === "blocked") return true
  return after.place === "delayed" && before !== undefined && before.place !== "delayed"
}
