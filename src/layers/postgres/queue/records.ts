/** Rows of messages, to and from the message record. */
import type { Dedupe, Envelope, Publication } from "../../../internal/envelope.ts"
import { encodeRest, type Rest, restFields } from "../../../internal/envelopeRest.ts"
import type { Claimed, DeadMessage } from "../../../queue/driver.ts"
import { fromText, isShortened, toKey, toText } from "../params.ts"
import type { Row } from "../session.ts"

/** What has no column. */
interface Head extends Rest {
  readonly dedupe?: Dedupe | undefined
  /** Those that are too long for their columns. */
  readonly id?: string | undefined
  readonly group?: string | undefined
}

const noHead: Head = {}

/** As JSON it holds no NUL. */
export const headOf = (message: Envelope): string | null => {
  const { dedupe, group, id } = message
  const longId = isShortened(id)
  const longGroup = group !== undefined && isShortened(group)
  const more =
    dedupe === undefined && !longId && !longGroup
      ? undefined
      : { dedupe, id: longId ? id : undefined, group: longGroup ? group : undefined }
  return encodeRest(message, more) ?? null
}

/** A message whose place in `fresh` says all: due at once, no priority, group, time to live or dedupe key. */
export const isPlain = ({ delay, message, requeued, ttl }: Publication): boolean =>
  delay === undefined &&
  ttl === undefined &&
  requeued !== true &&
  message.priority === 0 &&
  message.dedupe === undefined &&
  message.group === undefined &&
  message.notBefore === undefined &&
  message.expiresAt === undefined

interface Parts {
  readonly queue: string
  readonly id: string
  readonly name: string
  readonly head: string | null
  readonly payload: string
  readonly rank: number
  readonly grp: string | null
  readonly enqueued: number
  readonly notBefore: number | null
  readonly expires: number | null
}

const envelopeOf = (parts: Parts): Envelope => {
  const head = parts.head === null ? noHead : (JSON.parse(parts.head) as Head)
  return {
    ...restFields(head),
    id: head.id ?? fromText(parts.id),
    queue: parts.queue,
    name: fromText(parts.name),
    payload: parts.payload,
    encoding: "json",
    enqueuedAt: parts.enqueued,
    notBefore: parts.notBefore ?? undefined,
    expiresAt: parts.expires ?? undefined,
    priority: 0 - parts.rank,
    group: head.group ?? (parts.grp === null ? undefined : fromText(parts.grp)),
    dedupe: head.dedupe
  }
}

/** A row of `step`; see there. */
export type StepRow = readonly [
  seq: number,
  due: number,
  id: string,
  name: string,
  head: string | null,
  payload: string,
  grp: string | null,
  rest: ReadonlyArray<number | null> | null
]

/** In the order of claims, which the server promises not to keep. It marks the first of them as started, so it must be the server's own. */
export const byPlace = (a: StepRow, b: StepRow): number => {
  const [here, there] = [a[7], b[7]]
  if (here === null || there === null) return a[0] - b[0]
  return (here[0] ?? 0) - (there[0] ?? 0) || (here[1] ?? 0) - (there[1] ?? 0) || a[0] - b[0]
}

const freshRest: ReadonlyArray<number | null> = [0, null, null, null, null, 0, 1, 0, 0]

export const claimedOf = (queue: string, claim: number, row: StepRow): Claimed => {
  const [seq, due, id, name, head, payload, grp, rest] = row
  const [rank, , enqueued, notBefore, expires, retries, deliveries, lostStarted, lostUnstarted] = (rest ??
    freshRest) as readonly [
    number,
    number | null,
    number | null,
    number | null,
    number | null,
    number,
    number,
    number,
    number
  ]
  return {
    message: envelopeOf({ queue, id, name, head, payload, rank, grp, enqueued: enqueued ?? due, notBefore, expires }),
    token: `${seq}.${claim}`,
    deliveryCount: deliveries,
    attempt: 1 + retries + lostStarted,
    lostStarted,
    lostUnstarted
  }
}

/** `undefined`: not one of our tokens. */
export const parseToken = (token: string): { readonly seq: number; readonly claim: number } | undefined => {
  if (!/^\d{1,16}\.\d{1,16}$/.test(token)) return undefined
  const [seq, claim] = token.split(".").map(Number) as [number, number]
  return Number.isSafeInteger(seq) && Number.isSafeInteger(claim) ? { seq, claim } : undefined
}

/** The columns of a dead letter, in the order in which `deadOf` reads them. */
export const deadColumns =
  "n::double precision, id, name, head, payload, rank, grp, seams.millis(enqueued), seams.millis(expires), attempt, deliveries, reason, error, seams.millis(died)"

export const deadOf = (queue: string, row: Row): DeadMessage => {
  const [, id, name, head, payload, rank, grp, enqueued, expires, attempt, deliveryCount, reason, error, diedAt] =
    row as unknown as [
      number,
      string,
      string,
      string | null,
      string,
      number,
      string | null,
      number,
      number | null,
      number,
      number,
      string,
      string | null,
      number
    ]
  return {
    message: envelopeOf({ queue, id, name, head, payload, rank, grp, enqueued, notBefore: null, expires }),
    attempt,
    deliveryCount,
    reason: fromText(reason),
    error: error === null ? undefined : fromText(error),
    diedAt
  }
}

/** Within what a date holds, and never early. */
const whole = (millis: number | undefined): number | null =>
  millis === undefined ? null : Math.min(Math.ceil(millis), 8_640_000_000_000_000)

/** The arguments of one message for `publish`, in its order from `_ids` on. */
export const publicationArguments = ({ delay, message, requeued, ttl }: Publication) => {
  const { dedupe, group } = message
  return {
    id: toKey(message.id),
    name: toText(message.name),
    head: headOf(message),
    payload: message.payload,
    rank: 0 - message.priority,
    grp: group === undefined ? null : toKey(group),
    delay: whole(delay),
    at: delay === undefined ? whole(message.notBefore) : null,
    ttl: whole(ttl),
    until: ttl === undefined ? whole(message.expiresAt) : null,
    key: dedupe === undefined ? null : toKey(dedupe.key),
    window: dedupe === undefined ? null : whole(dedupe.window),
    replace: dedupe?.onDuplicate === "replace",
    again: requeued === true
  }
}
