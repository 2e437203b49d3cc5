/** What can go wrong with a call, before Kv puts it into its own words. */

export class NativeFault {
  readonly _tag = "NativeFault"
  /**
   * `locked`: another process locks the file. `unsent`: no server took it. `refused`: the store said no. With these nothing was
   * written. `unknown`: it may have been. `closed`: the layer's scope is closed.
   */
  readonly kind: "locked" | "unsent" | "refused" | "unknown" | "closed"
  readonly detail: string
  readonly cause: unknown
  constructor(kind: NativeFault["kind"], detail: string, cause?: unknown) {
    this.kind = kind
    this.detail = detail
    this.cause = cause
  }
  /** It does not pass by itself. */
  get lasting(): boolean {
    return this.kind === "closed" || this.kind === "refused"
  }
}

export const closedFault: NativeFault = new NativeFault("closed", "the layer that owns the store is closed")

/** An outage of a read-only kind is told the same way as one of a write: only a write makes a difference between the two. */
export const unanswered = (millis: number): NativeFault => new NativeFault("unknown", `no answer within ${millis} ms`)

export const messageOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error)
  // Behind the first line stands a trace of the native part.
  return text.split("\n", 1)[0]!.slice(0, 300)
}

const causeCode = (error: unknown): string | undefined => {
  const cause = (error as { readonly cause?: { readonly code?: unknown } } | undefined)?.cause
  return typeof cause?.code === "string" ? cause.code : undefined
}

const unsentCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused"
])

export const isUnsent = (error: unknown): boolean => {
  const code = causeCode(error) ?? (error as { readonly code?: unknown } | undefined)?.code
  if (typeof code === "string" && unsentCodes.has(code)) return true
  return /client error \(Connect\)|Connection refused|bad port|Unable to connect/.test(describedWithCause(error))
}

export const isTls = (error: unknown): boolean =>
  /SSL|TLS|certificate|CERT_|InvalidContentType|UnknownIssuer|wrong version number/i.test(
    `${causeCode(error) ?? ""} ${describedWithCause(error)}`
  )

export const describedWithCause = (error: unknown): string => {
  const cause = (error as { readonly cause?: unknown } | undefined)?.cause
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`
}

/** Of an answer of a KV Connect server that the client passes on as text: its status, and behind it what the server says. */
const answer = /status:? (\d{3})[:\s]*(.*)$/su

/** The status of an answer of a KV Connect server. */
export const statusOf = (error: unknown): number | undefined => {
  const found = answer.exec(messageOf(error))
  return found === null ? undefined : Number(found[1])
}

/** So many characters of what a server says are passed on. */
const maxWords = 300

const wordsOf = (error: unknown): string =>
  (answer.exec(messageOf(error))?.[2] ?? "").replaceAll(/\s+/gu, " ").trim().slice(0, maxWords)

const isLocked = /database (?:table )?is locked/i
const isClosed = /Database is closed|after '\.close'|BadResource|Bad resource ID|has been closed/i

export const faultOf = (error: unknown, remote: boolean): NativeFault => {
  if (error instanceof NativeFault) return error
  const message = messageOf(error)
  if (isLocked.test(message)) return new NativeFault("locked", "another process locks the file", error)
  if (isClosed.test(`${(error as { readonly name?: string }).name ?? ""} ${message}`)) return closedFault
  if (!remote) {
    if (/disk is full|database or disk is full/i.test(message))
      return new NativeFault("unknown", "the disk is full; make room", error)
    return new NativeFault("unknown", message, error)
  }
  if (isUnsent(error)) return new NativeFault("unsent", "the server does not answer", error)
  const status = statusOf(error)
  if (status === 401 || status === 403)
    return new NativeFault("refused", `the server refused the access token (${status}); it may have been revoked`)
  if (status !== undefined && status >= 400 && status < 500) {
    const words = wordsOf(error)
    return new NativeFault("refused", `the server answered with status ${status}${words === "" ? "" : `: ${words}`}`)
  }
  if (status !== undefined) return new NativeFault("unknown", `the server answered with status ${status}`)
  return new NativeFault("unknown", `the connection broke before the answer (${messageOf(error)})`)
}
