/** What can go wrong with the broker, before layers and queue put it into their own words. */
import { AuthRefused, RabbitMqError, TlsRefused, Unreachable, WrongServer } from "./errors.ts"

export class AmqpFault {
  readonly _tag = "AmqpFault"
  /**
   * `unsent`: there was no connection. `unknown`: sent, and connection or channel broke before the answer. `refused`: the broker answered
   * with an error, and did nothing. `closed`: the layer's scope is closed.
   */
  readonly kind: "unsent" | "unknown" | "refused" | "closed"
  readonly detail: string
  /** The reply code of AMQP, such as 404. */
  readonly code: number | undefined
  constructor(kind: AmqpFault["kind"], detail: string, code?: number) {
    this.kind = kind
    this.detail = detail
    this.code = code
  }
  /** It does not pass by itself: refused rights, another topology under the same name, an argument the broker does not take. */
  get lasting(): boolean {
    return this.kind === "closed" || (this.code !== undefined && lastingCodes.has(this.code))
  }
}

// https://www.rabbitmq.com/amqp-0-9-1-reference.html#constants
export const accessRefused = 403
export const notFound = 404
export const resourceLocked = 405
export const preconditionFailed = 406
const notAllowed = 530
const notImplemented = 540

const lastingCodes: ReadonlySet<number> = new Set([accessRefused, preconditionFailed, notAllowed, notImplemented])

export const closedFault: AmqpFault = new AmqpFault("closed", "the layer is closed")

const messageOf = (error: unknown): string =>
  // Of a connection that was tried on several addresses of one name the message is empty.
  error instanceof AggregateError && error.message === ""
    ? String((error.errors[0] as Error | undefined)?.message ?? error.name)
    : error instanceof Error
      ? error.message
      : String(error)

/** As part of a sentence of ours. */
const phrase = (text: string): string => text.replace(/\s+/g, " ").trim().replace(/\.$/, "")

const textOf = (error: unknown): string => phrase(messageOf(error))

/** What amqplib says of a broker's refusal, without its own words around it: `NOT_FOUND - no queue 'a' in vhost '/'`. */
const refusal = /\b(\d{3}) \([A-Z-]+\) with message "(.*)"/s

export const codeOf = (error: unknown): number | undefined => {
  const { code } = error as { readonly code?: unknown }
  return typeof code === "number" ? code : undefined
}

/** An answer that was awaited and did not come: refused by the broker, or lost with the channel. */
export const faultOf = (error: unknown): AmqpFault => {
  const text = textOf(error)
  const said = refusal.exec(text)
  const code = codeOf(error) ?? (said === null ? undefined : Number(said[1]))
  return code !== undefined && code >= 400 && code < 600 && code !== 504
    ? new AmqpFault("refused", phrase(said?.[2] ?? text), code)
    : new AmqpFault("unknown", text === "" ? "the connection broke" : text)
}

const tlsCode = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|EPROTO)/

/** Why no connection to this address came about. */
export const connectError = (
  { address, vhost }: { readonly address: string; readonly vhost: string },
  error: unknown
): RabbitMqError => {
  const detail = textOf(error)
  const { code } = error as { readonly code?: unknown }
  const name = typeof code === "string" ? code : ""
  const said = refusal.exec(detail)
  if (tlsCode.test(name) || /\bSSL\b|certificate|wrong version number/i.test(detail))
    return new RabbitMqError({ reason: new TlsRefused({ address, detail }) })
  if (said !== null && (Number(said[1]) === accessRefused || Number(said[1]) === notAllowed))
    return new RabbitMqError({ reason: new AuthRefused({ address, detail: phrase(said[2]!) }) })
  if (/mechanism/.test(detail)) return new RabbitMqError({ reason: new AuthRefused({ address, detail }) })
  // amqplib does not say why the broker closed the connection instead of opening the virtual host.
  if (/Expected ConnectionOpenOk; got <ConnectionClose/.test(detail))
    return new RabbitMqError({
      reason: new AuthRefused({
        address,
        detail: `the virtual host ${JSON.stringify(vhost)} is not there, or not for this user`
      })
    })
  // Something that is no frame, or another frame than the first of a broker.
  if (/frame|Expected|IllegalOperation|Invalid/i.test(detail) && name === "")
    return new RabbitMqError({
      reason: new WrongServer({ address, detail: `it does not speak AMQP 0-9-1 (${detail})` })
    })
  return new RabbitMqError({ reason: new Unreachable({ address, detail: detail === "" ? name : detail }) })
}
