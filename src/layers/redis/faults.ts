/** What can go wrong with a command, before Kv and Queue put it into their own words. */

export class RedisFault {
  readonly _tag = "RedisFault"
  /**
   * `unsent`: there was no connection. `unknown`: sent, and the connection broke before the answer. `refused`: the server answered with
   * an error, and did nothing. `closed`: the layer's scope is closed.
   */
  readonly kind: "unsent" | "unknown" | "refused" | "closed"
  readonly detail: string
  /** The first word of the server's error. */
  readonly code: string | undefined
  constructor(kind: RedisFault["kind"], detail: string, code?: string) {
    this.kind = kind
    this.detail = detail
    this.code = code
  }
  /** It does not pass by itself. */
  get lasting(): boolean {
    return this.kind === "closed" || (this.code !== undefined && lastingCodes.has(this.code))
  }
}

const lastingCodes: ReadonlySet<string> = new Set(["NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE", "ERR"])

const details: Readonly<Record<string, string>> = {
  OOM: "the server's memory is full (maxmemory); make room or raise the limit",
  READONLY: "the server is a read-only replica; give the address of the master",
  MISCONF: "the server cannot write its snapshots and refuses writes; look at its disk and log",
  LOADING: "the server is still loading its data",
  MASTERDOWN: "the replica has lost its master",
  CLUSTERDOWN: "a part of the Cluster is down",
  TRYAGAIN: "the Cluster is moving these keys",
  NOREPLICAS: "too few replicas are connected for a write (min-replicas-to-write)",
  BUSY: "the server is busy with a script of somebody else",
  NOPERM: "this user may not do that; see the list of commands in docs/redis.md",
  NOAUTH: "the server wants a login",
  WRONGPASS: "the server refused the login",
  WRONGTYPE: "a key of this namespace was written by another program; choose another namespace"
}

/** What a user may not do directly has a code of its own, and what a script may not do for him has none. */
const inScript = /^ERR (The user executing the script can't|ACL failure in script)/

/** Before Redis 7 what went wrong in a script stands at the end of an error of the script. */
const scriptError = /^ERR Error running script .*: -?([A-Z]+) (.*)$/s

export const unsentFault: RedisFault = new RedisFault("unsent", "there is no connection to the server")

/** There is no connection because the server refuses it, as after a change of the password. */
export const refusedConnection = (error: Error): RedisFault =>
  new RedisFault("unsent", `there is no connection: ${faultOf(error, false).detail}`)

/** `sent`: whether the connection stood when the command was handed over. Errors of the client hold the arguments: only texts go on. */
export const faultOf = (error: unknown, sent: boolean): RedisFault => {
  const { message: whole = String(error), name } = error as { readonly message?: string; readonly name?: string }
  const message = whole.replace(scriptError, "$1 $2")
  if (name === "ReplyError") {
    const code = inScript.test(message) ? "NOPERM" : (/^-?([A-Z]+)\b/.exec(message)?.[1] ?? "ERR")
    const plain = message.replace(/ script: [0-9a-f]{40}.*$/s, "")
    const detail = details[code]
    return new RedisFault(
      "refused",
      detail === undefined ? `the server answered: ${plain}` : `${detail} (${code})`,
      code
    )
  }
  // A connection that is being left still counts as standing, and takes nothing any more.
  return sent && !message.startsWith("Stream isn't writeable")
    ? new RedisFault("unknown", "the connection broke before the answer")
    : unsentFault
}

export const closedFault: RedisFault = new RedisFault("closed", "the layer that owns the connection is closed")
