/**
 * The logical record of a message, the same for every backend. Drivers map its fields natively (columns, properties,
 * headers) and carry `payload` byte for byte: it is the JSON text made once at enqueue, never parsed or re-encoded on the way.
 */

/** The version of the record's layout; a reader refuses a greater one instead of guessing. */
export const envelopeVersion = 1

/**
 * A dedupe key as drivers see it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Dedupe {
  readonly key: string
  /** Milliseconds from acceptance in which the key is remembered. */
  readonly window: number
  readonly onDuplicate: "keep" | "replace"
}

/**
 * A message as drivers carry it. Times are milliseconds since the epoch by the store's clock.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Envelope {
  readonly v: number
  readonly id: string
  readonly queue: string
  /** Which of a definition's messages it is; `""` for a definition with one payload. */
  readonly name: string
  readonly payload: string
  readonly encoding: "json"
  readonly schemaVersion?: number | undefined
  /** Acceptance, milliseconds by the store's clock; drivers set it. */
  readonly enqueuedAt: number
  /** Not claimable before, milliseconds by the store's clock. */
  readonly notBefore?: number | undefined
  /** Dropped (and metered) from then on if it is not being handled. */
  readonly expiresAt?: number | undefined
  /** Higher first; default 0. */
  readonly priority: number
  readonly group?: string | undefined
  readonly dedupe?: Dedupe | undefined
  /** Milliseconds a handler may take; wins over the worker's option. */
  readonly timeout?: number | undefined
  readonly headers: Readonly<Record<string, string>>
  /** Flat strings to find a message by. */
  readonly meta: Readonly<Record<string, string>>
  /** Where a requeued or relayed message came from. */
  readonly origin?: string | undefined
  /** Attributes of later versions and of foreign producers, kept as they came. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

/**
 * What a producer hands to a driver. Delay and time to live are relative so that only the store's clock takes part; an
 * absolute `notBefore` or `expiresAt` may stand in the message instead.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Publication {
  readonly message: Envelope
  /** Milliseconds from acceptance until the message may be claimed. */
  readonly delay?: number | undefined
  /** Milliseconds from acceptance until the message is dropped. */
  readonly ttl?: number | undefined
  /** A dead letter that comes back: neither its id nor its dedupe key is compared, and it joins its group at the tail. */
  readonly requeued?: boolean | undefined
}

/** The record as one JSON text, for stores that keep it whole (outbox entries, dead letters over a Kv). */
export const encodeEnvelope = (envelope: Envelope): string => JSON.stringify(envelope)

export class EnvelopeProblem {
  readonly _tag = "EnvelopeProblem"
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

const isStrings = (u: unknown): u is Record<string, string> =>
  typeof u === "object" && u !== null && Object.values(u).every((v) => typeof v === "string")

const known = new Set(
  "v,id,queue,name,payload,encoding,schemaVersion,enqueuedAt,notBefore,expiresAt,priority,group,dedupe,timeout,headers,meta,origin,extra".split(
    ","
  )
)

/** Reads {@link encodeEnvelope}'s text. Attributes it does not know are kept in `extra`. */
export const decodeEnvelope = (text: string): Envelope | EnvelopeProblem => {
  const parsed = parse(text)
  if (parsed === undefined) return new EnvelopeProblem("it is not a JSON object")
  const { v, id, queue, name, payload } = parsed
  if (typeof v !== "number") return new EnvelopeProblem(`it has no version`)
  if (v > envelopeVersion)
    return new EnvelopeProblem(`it has version ${v}, this library reads up to ${envelopeVersion}: upgrade effect-seams`)
  if (typeof id !== "string" || typeof queue !== "string" || typeof name !== "string" || typeof payload !== "string")
    return new EnvelopeProblem("id, queue, name or payload is not a text")
  if (typeof parsed["enqueuedAt"] !== "number") return new EnvelopeProblem("enqueuedAt is not a number")
  if (!isStrings(parsed["headers"] ?? {}) || !isStrings(parsed["meta"] ?? {}))
    return new EnvelopeProblem("headers or meta hold something else than texts")
  const extra: Record<string, unknown> = { ...(parsed["extra"] as object | undefined) }
  for (const key of Object.keys(parsed)) if (!known.has(key)) extra[key] = parsed[key]
  const envelope = { priority: 0, headers: {}, meta: {}, encoding: "json", ...parsed } as Record<string, unknown>
  for (const key of Object.keys(extra)) delete envelope[key]
  if (Object.keys(extra).length > 0) envelope["extra"] = extra
  return envelope as unknown as Envelope
}

const parse = (text: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
