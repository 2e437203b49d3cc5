/**
 * The message record as AMQP carries it. Payloads are the body, byte for byte; headers of the message are headers; what AMQP has a
 * property for is there; the rest are headers that begin with `seams-`, left out where they say nothing:
 *
 * - `messageId` the id, `type` the name, `contentType` application/json, `timestamp` the second of acceptance;
 * - `seams-not-before`, `seams-expires-at`: milliseconds since the epoch; `seams-enqueued-at` too, for an id that does not tell it;
 * - `seams-deliveries`, `seams-retries`, `seams-lost`: handings, counted retries and lost claims of earlier copies of this message;
 * - `seams-error`: the last failure; `seams-reason`, `seams-died-at`: of a dead letter;
 * - `seams-hop`: true on a message whose delay goes on after its arrival;
 * - `seams-rest`: one JSON text of what else the record holds, and of headers whose names the broker gives a meaning.
 */
import type { MessageProperties, Options } from "amqplib"
import { utf8Length } from "../../kv/value.ts"
import { messageIdTime } from "../../internal/ids.ts"
import { encodeRest, type Rest } from "../../internal/envelopeRest.ts"
import type { Envelope } from "../../queue/driver.ts"

/** What earlier copies of a message went through. The broker counts the handings of this copy. */
export interface Past {
  readonly deliveries: number
  readonly retries: number
  readonly lost: number
  readonly error: string | undefined
}

export const noPast: Past = { deliveries: 0, retries: 0, lost: 0, error: undefined }

export interface Death {
  readonly reason: string
  readonly diedAt: number
}

/** Headers travel in one frame, whose size the two sides agree on: 128 KiB, and no more than that is asked for. */
export const maxHeaders = 100_000
const maxError = 8_000

const names = {
  v: "seams-v",
  enqueuedAt: "seams-enqueued-at",
  notBefore: "seams-not-before",
  expiresAt: "seams-expires-at",
  deliveries: "seams-deliveries",
  retries: "seams-retries",
  lost: "seams-lost",
  error: "seams-error",
  reason: "seams-reason",
  diedAt: "seams-died-at",
  rest: "seams-rest",
  hop: "seams-hop"
} as const

/** Of a message whose delay is longer than what the broker can wait: its arrival is not its time yet. */
export const hopHeader = names.hop

/** Names to which the broker gives a meaning, or which it adds by itself. */
const ofBroker =
  /^(CC|BCC|x-death|x-(first|last)-death-.*|x-delivery-count|x-acquired-count|x-opt-.*|x-received-from|x-stream-offset|x-delay)$/
const ours = /^seams-/

/** A lone surrogate has no UTF-8. */
const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text)

const fits = (name: string, value: string): boolean =>
  !ofBroker.test(name) && !ours.test(name) && utf8Length(name) <= 128 && isWellFormed(name) && isWellFormed(value)

const shortened = (text: string): string => (text.length <= maxError ? text : `${text.slice(0, maxError)}…`)

type Headers = Record<string, unknown>

const noTexts: Readonly<Record<string, string>> = {}

/** How many bytes the headers take, at most. */
export const headerSize = (headers: Headers): number => {
  let size = 0
  for (const key of Object.keys(headers)) {
    const value = headers[key]
    size += key.length * 3 + 6 + (typeof value === "string" ? utf8Length(value) : 16)
  }
  return size
}

/**
 * The instant of acceptance: that of the id, where the library made it just before. Then it need not be told beside it, and a header
 * costs the broker a tenth of what a message costs.
 */
export const acceptedAt = (id: string, now: number): number => {
  const made = messageIdTime(id)
  return made !== undefined && made <= now && now - made < 1_000 ? made : now
}

/** The properties with which a record is published. `CC` and the like are the publisher's to add. */
export const propertiesOf = (message: Envelope, past: Past, death?: Death): Options.Publish & { headers: Headers } => {
  const headers: Headers = {}
  let hidden: Record<string, string> | undefined
  for (const name of Object.keys(message.headers)) {
    const value = message.headers[name]!
    if (fits(name, value)) headers[name] = value
    else (hidden ??= {})[name] = value
  }
  if (message.v !== 1) headers[names.v] = message.v
  if (messageIdTime(message.id) !== message.enqueuedAt) headers[names.enqueuedAt] = message.enqueuedAt
  if (message.notBefore !== undefined) headers[names.notBefore] = message.notBefore
  if (message.expiresAt !== undefined) headers[names.expiresAt] = message.expiresAt
  if (past.deliveries > 0) headers[names.deliveries] = past.deliveries
  if (past.retries > 0) headers[names.retries] = past.retries
  if (past.lost > 0) headers[names.lost] = past.lost
  if (past.error !== undefined) headers[names.error] = shortened(past.error)
  if (death !== undefined) {
    headers[names.reason] = shortened(death.reason)
    headers[names.diedAt] = death.diedAt
  }
  const rest = encodeRest(message, undefined, hidden ?? noTexts)
  if (rest !== undefined) headers[names.rest] = rest
  const properties: Options.Publish & { headers: Headers } = {
    mandatory: true,
    persistent: true,
    contentType: "application/json",
    messageId: message.id,
    timestamp: Math.floor(message.enqueuedAt / 1_000),
    headers
  }
  if (message.name !== "") properties.type = message.name
  return properties
}

const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : undefined

const textOf = (value: unknown): string =>
  typeof value === "string"
    ? value
    : Buffer.isBuffer(value)
      ? value.toString()
      : (JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "")

const restOf = (text: unknown): Rest => {
  if (typeof text !== "string") return {}
  try {
    const rest: unknown = JSON.parse(text)
    return typeof rest === "object" && rest !== null ? (rest as Rest) : {}
  } catch {
    return {}
  }
}

export interface Read {
  readonly message: Envelope
  readonly past: Past
  /** How often the broker says that it handed this copy out before; a classic queue does not count. */
  readonly brokerCount: number | undefined
  readonly death: Death | undefined
  /** Its delay goes on. */
  readonly hop: boolean
}

/**
 * Reads a message, also of a producer that knows nothing of us: its body is the payload, `messageId` its id (`fallbackId` without one),
 * `type` its name, its headers are headers.
 */
export const readMessage = (
  queue: string,
  properties: MessageProperties,
  content: Buffer,
  fallbackId: () => string,
  now: number
): Read => {
  const raw: Headers = properties.headers ?? {}
  const rest = restOf(raw[names.rest])
  const headers: Record<string, string> = {}
  for (const name of Object.keys(raw))
    if (!ours.test(name) && !ofBroker.test(name) && raw[name] !== undefined) headers[name] = textOf(raw[name])
  if (rest.headers !== undefined) Object.assign(headers, rest.headers)
  const id: unknown = properties.messageId
  const type: unknown = properties.type
  const error = raw[names.error]
  const message: Envelope = {
    v: numberOf(raw[names.v]) ?? 1,
    id: typeof id === "string" && id !== "" ? id : fallbackId(),
    queue,
    name: typeof type === "string" ? type : "",
    payload: content.toString(),
    encoding: "json",
    schemaVersion: rest.schemaVersion,
    enqueuedAt: numberOf(raw[names.enqueuedAt]) ?? enqueuedAtOf(id, numberOf(properties.timestamp)) ?? now,
    notBefore: numberOf(raw[names.notBefore]),
    expiresAt: numberOf(raw[names.expiresAt]),
    priority: 0,
    timeout: rest.timeout,
    headers,
    meta: rest.meta ?? {},
    origin: rest.origin,
    extra: rest.extra
  }
  return {
    message,
    past: {
      deliveries: numberOf(raw[names.deliveries]) ?? 0,
      retries: numberOf(raw[names.retries]) ?? 0,
      lost: numberOf(raw[names.lost]) ?? 0,
      error: error === undefined ? undefined : textOf(error)
    },
    brokerCount: numberOf(raw["x-delivery-count"]),
    death: deathOf(raw, now),
    hop: raw[names.hop] === true
  }
}

/** The millisecond is in the id, if that is of the second in the timestamp: an id of a foreign producer may be of another day. */
const enqueuedAtOf = (id: unknown, seconds: number | undefined): number | undefined => {
  if (seconds === undefined) return undefined
  const made = typeof id === "string" ? messageIdTime(id) : undefined
  return made !== undefined && Math.floor(made / 1_000) === seconds ? made : seconds * 1_000
}

/** What is in a dead-letter queue was put there by us, or by the broker: its own limits, or a policy of an operator. */
const deathOf = (raw: Headers, now: number): Death | undefined => {
  const reason = raw[names.reason]
  if (reason !== undefined) return { reason: textOf(reason), diedAt: numberOf(raw[names.diedAt]) ?? now }
  const [last] = (raw["x-death"] ?? []) as ReadonlyArray<{ readonly reason?: unknown; readonly time?: unknown }>
  if (last === undefined) return undefined
  // amqplib gives times as { "!": "timestamp", value: seconds }.
  const seconds = numberOf((last.time as { readonly value?: unknown } | undefined)?.value)
  return { reason: `broker: ${textOf(last.reason)}`, diedAt: seconds === undefined ? now : seconds * 1_000 }
}
