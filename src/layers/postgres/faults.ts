/** What can go wrong with a statement, before Kv and Queue put it into their own words. */
import type { SqlError } from "effect/sql/SqlError"

export class PostgresFault {
  readonly _tag = "PostgresFault"
  /**
   * `unsent`: there was no connection. `unknown`: sent, and the connection broke or nobody answered in time. `refused`: the server answered
   * with an error, and did nothing. `closed`: the layer's scope is closed.
   */
  readonly kind: "unsent" | "unknown" | "refused" | "closed"
  readonly detail: string
  /** The server's SQLSTATE. */
  readonly code: string | undefined
  constructor(kind: PostgresFault["kind"], detail: string, code?: string) {
    this.kind = kind
    this.detail = detail
    this.code = code
  }
  /** It does not pass by itself. */
  get lasting(): boolean {
    return this.kind === "closed" || (this.code !== undefined && lastingCode.test(this.code))
  }
  /** The server undid it because of others who worked at the same time: the same statement may succeed now. */
  get contended(): boolean {
    return this.code === deadlock || this.code === serialization
  }
}

export const serialization = "40001"
export const deadlock = "40P01"
/** Not within `lock_timeout`. */
export const lockNotAvailable = "55P03"
/** Of our own functions: a queue's number is not known. */
export const unknownQueue = "SEQ01"

/** A missing or changed table, a missing right, a refused login. */
const lastingCode = /^(42|3F|28)/

const missing = "tables or functions of effect-seams are missing or changed; run the migration again"

const details: Readonly<Record<string, string>> = {
  "25006": "the server or the session is read-only; give the address of the primary",
  "3F000": missing,
  "42P01": missing,
  "42883": missing,
  "42703": missing,
  "42501": "this role may not do that; see the rights in docs/postgres.md",
  "53100": "the server's disk is full; make room",
  "53200": "the server is out of memory",
  "53300": "the server takes no more connections (max_connections); use fewer, a smaller maxConnections, or a pooler",
  "55P03": "a lock was not to be had within lock_timeout",
  "57014": "the statement was cancelled, by statement_timeout or by somebody",
  "57P01": "the connection was ended by an administrator",
  "57P02": "the server crashed, or was stopped at once",
  "57P03": "the server is starting up or shutting down",
  "40P01": "a deadlock with other transactions, again and again",
  "40001": "other transactions changed the same rows, again and again"
}

/** The connection ends with these; whether the statement was carried out before is not said. */
const ending = new Set(["57P01", "57P02", "57P03"])

interface ServerError {
  readonly code?: string
  readonly message?: string
  readonly severityUnlocalized?: string
}

/** The server's own answer in an error of the client. */
export const serverError = (error: SqlError): ServerError | undefined => {
  const cause = error.reason.cause as ServerError | undefined
  return typeof cause?.severityUnlocalized === "string" ? cause : undefined
}

/** A name with several addresses fails with the errors of all, and no text of its own. */
const causeText = (cause: unknown): string => {
  const { errors = [], message = "" } = (cause ?? {}) as {
    readonly message?: string
    readonly errors?: ReadonlyArray<Error>
  }
  return message === "" ? errors.map((error) => error.message).join(", ") : message
}

export const faultOf = (error: SqlError): PostgresFault => {
  const answer = serverError(error)
  const connecting = error.reason.operation === "connect"
  if (answer !== undefined) {
    const { code = "", message = "" } = answer
    const known = details[code]
    const detail = known === undefined ? `the server answered: ${message}` : `${known} (${code})`
    return new PostgresFault(connecting ? "unsent" : ending.has(code) ? "unknown" : "refused", detail, code)
  }
  const detail = causeText(error.reason.cause) || (error.reason.message ?? "")
  if (error.reason.operation === "commit") return new PostgresFault("refused", "the transaction had failed before")
  if (connecting) return new PostgresFault("unsent", `there is no connection to the server: ${detail}`)
  return new PostgresFault("unknown", `the connection broke before the answer: ${detail}`)
}

export const closedFault: PostgresFault = new PostgresFault("closed", "the layer that owns the connection is closed")
