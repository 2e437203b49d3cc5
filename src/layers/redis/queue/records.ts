/** The body and the state of a message as the scripts keep them, to and from the message record. See `lua/records.ts`. */
import type { Envelope, Publication } from "../../../internal/envelope.ts"
import { encodeRest, type Rest, restFields } from "../../../internal/envelopeRest.ts"
import type { Claimed, DeadMessage } from "../../../queue/driver.ts"

const size = (text: string): number => Buffer.byteLength(text)

const rankOf = (priority: number): string => String(0 - priority)

const moment = (relative: number | undefined, absolute: number | undefined): string =>
  relative !== undefined ? `+${whole(relative)}` : absolute === undefined ? "" : `@${whole(absolute)}`

const whole = (millis: number): number => Math.min(Math.ceil(millis), Number.MAX_SAFE_INTEGER)

/** The three arguments of a message for `publish`. */
export const publicationArguments = (publication: Publication): readonly [string, string, string] => {
  const { message } = publication
  const { dedupe, group, id, name, payload } = message
  const key = dedupe === undefined ? "" : JSON.stringify(dedupe)
  const head = encodeRest(message) ?? ""
  const rank = rankOf(message.priority)
  const lengths = `${rank}|${size(id)}|${group === undefined ? "" : size(group)}|${size(name)}|${size(key)}|${size(head)}|`
  return [lengths + id + (group ?? "") + name + key + head + payload, id, optionsOf(publication, rank)]
}

const optionsOf = ({ delay, message, requeued, ttl }: Publication, rank: string): string => {
  const due = moment(delay, message.notBefore)
  const expiry = moment(ttl, message.expiresAt)
  const { dedupe, group } = message
  const mark =
    requeued === true
      ? "R"
      : dedupe === undefined
        ? ""
        : `${dedupe.onDuplicate === "replace" ? "r" : "k"}${whole(dedupe.window)}|${dedupe.key}`
  if (due === "" && expiry === "" && rank === "0" && group === undefined && mark === "") return ""
  return `${due}|${expiry}|${rank}|${group === undefined ? "0" : "1"}|${mark}`
}

const bar = 0x7c

/** Reads the fields before the n-th bar; answers them and where the rest begins. */
const fields = (
  record: Buffer,
  from: number,
  count: number
): { readonly values: Array<string>; readonly at: number } => {
  const values: Array<string> = []
  let at = from
  for (let i = 0; i < count; i++) {
    const end = record.indexOf(bar, at)
    values.push(record.toString("latin1", at, end))
    at = end + 1
  }
  return { values, at }
}

const optional = (text: string): number | undefined => (text === "" ? undefined : Number(text))

const noRest: Rest = {}

export const envelopeOf = (queue: string, body: Buffer, from = 0): Envelope => {
  const { at, values } = fields(body, from, 10)
  const [enqueued, , expires, notBefore, rank, idSize, groupSize, nameSize, keySize, headSize] = values as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string
  ]
  let place = at
  const text = (length: string): string => {
    const start = place
    place += Number(length)
    return body.toString("utf8", start, place)
  }
  const id = text(idSize)
  const group = groupSize === "" ? undefined : text(groupSize)
  const name = text(nameSize)
  const key = text(keySize)
  const headText = text(headSize)
  return {
    ...restFields(headText === "" ? noRest : (JSON.parse(headText) as Rest)),
    id,
    queue,
    name,
    payload: body.toString("utf8", place, body.length),
    encoding: "json",
    enqueuedAt: Number(enqueued),
    notBefore: optional(notBefore),
    expiresAt: optional(expires),
    priority: 0 - Number(rank),
    group,
    dedupe: key === "" ? undefined : (JSON.parse(key) as NonNullable<Envelope["dedupe"]>)
  }
}

export const claimedOf = (queue: string, seq: string, claim: string, body: Buffer, state: Buffer): Claimed => {
  const { values } = fields(state, 0, 7)
  const [, , , deliveries, retries, lostStarted, lostUnstarted] = values.map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number
  ]
  return {
    message: envelopeOf(queue, body),
    token: `${seq}.${claim}`,
    deliveryCount: deliveries,
    attempt: 1 + retries + lostStarted,
    lostStarted,
    lostUnstarted
  }
}

/** `undefined`: not one of our tokens. */
export const parseToken = (token: string): { readonly seq: string; readonly claim: string } | undefined =>
  /^\d{16}\.[0-9a-f]+$/.test(token) ? { seq: token.slice(0, 16), claim: token.slice(17) } : undefined

export const deadOf = (queue: string, record: Buffer): DeadMessage => {
  const { at, values } = fields(record, 0, 5)
  const [attempt, deliveries, died, reasonSize, errorSize] = values as [string, string, string, string, string]
  const reasonEnd = at + Number(reasonSize)
  const errorEnd = reasonEnd + Number(errorSize)
  return {
    message: envelopeOf(queue, record, errorEnd),
    attempt: Number(attempt),
    deliveryCount: Number(deliveries),
    reason: record.toString("utf8", at, reasonEnd),
    error: errorSize === "" ? undefined : record.toString("utf8", reasonEnd, errorEnd),
    diedAt: Number(died)
  }
}
