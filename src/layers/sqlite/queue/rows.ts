/** Rows of `seams_message` and `seams_dead`, to and from the message record. */
import type { Dedupe, Envelope, Publication } from "../../../internal/envelope.ts"
import { encodeRest, type Rest, restFields } from "../../../internal/envelopeRest.ts"
import type { Claimed, DeadMessage } from "../../../queue/driver.ts"

/** The columns a message is made of, in every table that holds one. */
export const recordColumns = "rank, expires, grp, id, name, enqueued, head, payload"

export interface RecordRow {
  readonly rank: number
  readonly expires: number | null
  readonly grp: string | null
  readonly id: string
  readonly name: string
  readonly enqueued: number
  readonly head: string | null
  readonly payload: string
}

export interface ClaimRow extends RecordRow {
  readonly seq: number
  readonly due: number
  readonly deliveries: number
  readonly retries: number
  readonly lost_started: number
  readonly lost_unstarted: number
}

export interface DeadRow extends RecordRow {
  readonly n: number
  readonly attempt: number
  readonly deliveries: number
  readonly reason: string
  readonly error: string | null
  readonly died: number
}

/** What has no column. */
interface Head extends Rest {
  readonly notBefore?: number | undefined
  readonly dedupe?: Dedupe | undefined
}

export const headOf = (message: Envelope, notBefore: number | undefined): string | null => {
  const { dedupe } = message
  const more = notBefore === undefined && dedupe === undefined ? undefined : { notBefore, dedupe }
  return encodeRest(message, more) ?? null
}

/** The head of a dead letter that comes back: due now, without its old time to live. */
export const revivedHead = (head: string | null): string | null => {
  if (head === null) return null
  const { notBefore: _, ...rest } = JSON.parse(head) as Head
  return JSON.stringify(rest)
}

/** The head of a message whose content is replaced: its dedupe key stays. */
export const replacedHead = (old: string | null, message: Envelope, notBefore: number | undefined): string | null => {
  const dedupe = old === null ? undefined : (JSON.parse(old) as Head).dedupe
  return headOf({ ...message, dedupe }, notBefore)
}

const noHead: Head = {}

export const envelopeOf = (queue: string, row: RecordRow): Envelope => {
  const head = row.head === null ? noHead : (JSON.parse(row.head) as Head)
  return {
    ...restFields(head),
    id: row.id,
    queue,
    name: row.name,
    payload: row.payload,
    encoding: "json",
    enqueuedAt: row.enqueued,
    notBefore: head.notBefore,
    expiresAt: row.expires ?? undefined,
    priority: 0 - row.rank,
    group: row.grp ?? undefined,
    dedupe: head.dedupe
  }
}

export const tokenOf = (seq: number, claim: string): string => `${seq}.${claim}`

/** `undefined`: not one of our tokens. */
export const parseToken = (token: string): { readonly seq: number; readonly claim: string } | undefined => {
  const dot = token.indexOf(".")
  const seq = Number(token.slice(0, dot))
  return dot > 0 && Number.isSafeInteger(seq) ? { seq, claim: token.slice(dot + 1) } : undefined
}

export const claimedOf = (queue: string, claim: string, row: ClaimRow): Claimed => ({
  message: envelopeOf(queue, row),
  token: tokenOf(row.seq, claim),
  deliveryCount: row.deliveries,
  attempt: 1 + row.retries + row.lost_started,
  lostStarted: row.lost_started,
  lostUnstarted: row.lost_unstarted
})

export const deadOf = (queue: string, row: DeadRow): DeadMessage => ({
  message: envelopeOf(queue, row),
  attempt: row.attempt,
  deliveryCount: row.deliveries,
  reason: row.reason,
  error: row.error ?? undefined,
  diedAt: row.died
})

/** When a publication may be claimed and when it is dropped, by the store's clock, in whole milliseconds and never early. */
export const timesOf = ({ delay, message, ttl }: Publication, now: number) => {
  const notBefore = delay === undefined ? message.notBefore : now + delay
  const expiresAt = ttl === undefined ? message.expiresAt : now + ttl
  return {
    notBefore: notBefore === undefined ? undefined : whole(notBefore),
    expires: expiresAt === undefined ? null : whole(expiresAt),
    // A time in the past counts as now: nobody gets in front of those who wait already.
    due: notBefore === undefined ? now : Math.max(now, whole(notBefore))
  }
}

export const whole = (millis: number): number => Math.min(Math.ceil(millis), Number.MAX_SAFE_INTEGER)
