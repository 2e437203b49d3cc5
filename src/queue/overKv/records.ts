/** What the entries of a queue hold: the state of a message, its body, a dead letter, a dedupe mark. */
import type { Dedupe, Envelope, Publication } from "../../internal/envelope.ts"
import type { Claimed, DeadMessage } from "../driver.ts"

export type Place = "delayed" | "blocked" | "ready" | "claimed"

/** The right to settle one delivery. */
export interface ClaimRecord {
  readonly token: string
  /** Milliseconds that an extension gives. */
  readonly lease: number
  readonly deadline: number
  readonly started: boolean
}

/**
 * The state of a message: all that changes in its life. Every index entry of a message follows from it, so a commit that checks
 * its versionstamp may write them without checks of their own.
 */
export interface MessageRecord {
  /** Order of acceptance. */
  readonly seq: string
  readonly id: string
  /** The seq under which the body was written first: a requeued dead letter keeps it. */
  readonly body: string
  readonly due: number
  readonly priority: number
  readonly enqueuedAt: number
  readonly notBefore?: number | undefined
  readonly expiresAt?: number | undefined
  /** The group as part of keys. */
  readonly group?: string | undefined
  readonly place: Place
  /** It was claimed and has not ended: if it has a group, it holds the line. */
  readonly held: boolean
  readonly deliveries: number
  readonly retries: number
  readonly lostStarted: number
  readonly lostUnstarted: number
  readonly error?: string | undefined
  readonly claim?: ClaimRecord | undefined
}

export interface DeadRecord {
  readonly seq: string
  readonly id: string
  readonly body: string
  readonly priority: number
  readonly enqueuedAt: number
  readonly notBefore?: number | undefined
  readonly expiresAt?: number | undefined
  readonly group?: string | undefined
  readonly attempt: number
  readonly deliveries: number
  readonly reason: string
  readonly error?: string | undefined
  readonly diedAt: number
}

/** Which message a dedupe key stands for. */
export interface DedupeRecord {
  readonly id: string
  readonly seq: string
}

export const attemptOf = (message: MessageRecord): number => 1 + message.retries + message.lostStarted

/** What of a message is written once. */
interface Header {
  readonly v: number
  readonly name: string
  readonly schemaVersion?: number | undefined
  readonly group?: string | undefined
  readonly dedupe?: Dedupe | undefined
  readonly timeout?: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly meta: Readonly<Record<string, string>>
  readonly origin?: string | undefined
  readonly extra?: Readonly<Record<string, unknown>> | undefined
  /** A payload that UTF-8 cannot carry, since it has half of a surrogate pair. */
  readonly payload?: string | undefined
}

const utf8 = new TextEncoder()
const text = new TextDecoder()
const lineBreak = 10

/** The header as JSON, a line break, and the payload as it is. */
export const encodeBody = (message: Envelope): Uint8Array => {
  const { dedupe, extra, group, headers, meta, name, origin, payload, schemaVersion, timeout, v } = message
  const whole = !/\p{Surrogate}/u.test(payload)
  const header: Header = {
    v,
    name,
    schemaVersion,
    group,
    dedupe,
    timeout,
    headers,
    meta,
    origin,
    extra,
    payload: whole ? undefined : payload
  }
  return utf8.encode(`${JSON.stringify(header)}\n${whole ? payload : ""}`)
}

/** `undefined` for what is no body. */
export const decodeBody = (value: unknown): { readonly header: Header; readonly payload: string } | undefined => {
  if (!(value instanceof Uint8Array)) return undefined
  const end = value.indexOf(lineBreak)
  const header = end < 0 ? undefined : parseHeader(text.decode(value.subarray(0, end)))
  return header === undefined ? undefined : { header, payload: header.payload ?? text.decode(value.subarray(end + 1)) }
}

const parseHeader = (json: string): Header | undefined => {
  try {
    return JSON.parse(json) as Header
  } catch {
    return undefined
  }
}

export type Body = NonNullable<ReturnType<typeof decodeBody>>

type Kept = Pick<MessageRecord, "id" | "enqueuedAt" | "notBefore" | "expiresAt" | "priority">

export const envelopeOf = (queue: string, record: Kept, { header, payload }: Body): Envelope => ({
  v: header.v,
  id: record.id,
  queue,
  name: header.name,
  payload,
  encoding: "json",
  schemaVersion: header.schemaVersion,
  enqueuedAt: record.enqueuedAt,
  notBefore: record.notBefore,
  expiresAt: record.expiresAt,
  priority: record.priority,
  group: header.group,
  dedupe: header.dedupe,
  timeout: header.timeout,
  headers: header.headers,
  meta: header.meta,
  origin: header.origin,
  extra: header.extra
})

export const claimedOf = (queue: string, message: MessageRecord, token: string, body: Body): Claimed => ({
  message: envelopeOf(queue, message, body),
  token,
  deliveryCount: message.deliveries,
  attempt: attemptOf(message),
  lostStarted: message.lostStarted,
  lostUnstarted: message.lostUnstarted
})

export const deadMessageOf = (queue: string, dead: DeadRecord, body: Body): DeadMessage => ({
  message: envelopeOf(queue, dead, body),
  attempt: dead.attempt,
  deliveryCount: dead.deliveries,
  reason: dead.reason,
  error: dead.error,
  diedAt: dead.diedAt
})

/** Of a time far beyond any, since JSON has no infinity. */
const whole = (millis: number): number => Math.min(millis, Number.MAX_SAFE_INTEGER)

/** When a publication may be claimed and when it is dropped, by the store's clock. */
export const timesOf = ({ delay, message, ttl }: Publication, now: number) => {
  const notBefore = delay === undefined ? message.notBefore : now + delay
  const expiresAt = ttl === undefined ? message.expiresAt : now + ttl
  return {
    notBefore: notBefore === undefined ? undefined : whole(notBefore),
    expiresAt: expiresAt === undefined ? undefined : whole(expiresAt),
    // A time in the past counts as now: nobody gets in front of those who wait already.
    due: notBefore === undefined ? now : Math.max(now, whole(notBefore))
  }
}

const longestNote = 4_096

/** A reason or an error as it is kept: a long one is cut, so that a letter always fits an entry. */
export const note = (given: string): string =>
  given.length <= longestNote ? given : `${given.slice(0, longestNote)}... (cut, ${given.length} characters)`
