/** What is known, and what follows from it. Nothing here touches the machine, so every case is a row of a table. */

export type Kind = "redis" | "postgres" | "rabbitmq"

export const kinds: ReadonlyArray<Kind> = ["redis", "postgres", "rabbitmq"]

/** What the machine offers for one kind of server. */
export interface Facts {
  /** The address in the environment, if one is set. */
  readonly given: string | undefined
  /** The program that starts the server, if it is installed. */
  readonly program: string | undefined
  readonly root: boolean
  readonly apt: boolean
  /** A docker daemon answers and has the compose plugin. */
  readonly docker: boolean
}

export type Decision =
  | { readonly _tag: "Given"; readonly url: string }
  | { readonly _tag: "Start"; readonly program: string }
  | { readonly _tag: "Install"; readonly packages: ReadonlyArray<string> }
  | { readonly _tag: "Compose" }
  | { readonly _tag: "Refuse"; readonly message: string }

/** The variable that names a server to use instead of starting one. */
export const variableOf = (kind: Kind): string => `SEAMS_TEST_${kind.toUpperCase()}_URL`

/** What Debian calls the server. */
export const packagesOf = (kind: Kind): ReadonlyArray<string> =>
  ({ redis: ["redis-server"], postgres: ["postgresql"], rabbitmq: ["rabbitmq-server"] })[kind]

const example: Readonly<Record<Kind, string>> = {
  redis: "redis://127.0.0.1:6379",
  postgres: "postgres://user:password@127.0.0.1:5432/database",
  rabbitmq: "amqp://guest:guest@127.0.0.1:5672"
}

const refusal = (kind: Kind, facts: Facts): string => {
  const install = `apt-get install -y --no-install-recommends ${packagesOf(kind).join(" ")}`
  const command = facts.apt
    ? facts.root
      ? `apt-get update && ${install}`
      : `sudo apt-get update && sudo ${install}`
    : `docker compose up --detach --wait ${kind} && export ${variableOf(kind)}=...`
  return `${kind} is not installed, and neither apt as root nor docker can provide it. Run: ${command}. Or give the address of a running server, as in ${variableOf(kind)}=${example[kind]}`
}

/** An address given wins, then an installed server, then apt, then docker. */
export const decide = (kind: Kind, facts: Facts): Decision => {
  if (facts.given !== undefined && facts.given !== "") return { _tag: "Given", url: facts.given }
  if (facts.program !== undefined) return { _tag: "Start", program: facts.program }
  if (facts.root && facts.apt) return { _tag: "Install", packages: packagesOf(kind) }
  if (facts.docker) return { _tag: "Compose" }
  return { _tag: "Refuse", message: refusal(kind, facts) }
}

/** The folders of PostgreSQL programs below `/usr/lib/postgresql`, newest version first. */
export const newestFirst = (versions: ReadonlyArray<string>): ReadonlyArray<string> =>
  versions.filter((version) => /^\d+(\.\d+)?$/.test(version)).toSorted((a, b) => Number(b) - Number(a))

/**
 * The start time in a line of `/proc/<pid>/stat`, or undefined for a process that has ended and only waits to be
 * collected. The second field is the program's name and may hold anything.
 */
export const startTimeOf = (stat: string): string | undefined => {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19]
}

/** `pid identity`, as written into the folder of a server for its owner and for each of its processes. */
export interface ProcessRecord {
  readonly pid: number
  readonly identity: string
}

export const formatRecord = ({ identity, pid }: ProcessRecord): string => `${pid} ${identity}`

export const parseRecord = (line: string): ProcessRecord | undefined => {
  const [, pid, identity] = /^(\d+) (.+)$/.exec(line.trim()) ?? []
  return pid === undefined || identity === undefined ? undefined : { pid: Number(pid), identity }
}

/** True when the process of the record is the one that has its pid now; a pid alone may have been given out again. */
export const isAlive = (record: ProcessRecord, identityOf: (pid: number) => string | undefined): boolean =>
  identityOf(record.pid) === record.identity

/** A server could not get a port: another process took it after it was found free. */
export const isPortTaken = (log: string): boolean =>
  /address already in use|eaddrinuse|could not bind|could not create any TCP\/IP sockets/i.test(log)
