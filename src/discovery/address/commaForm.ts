/**
 * `host:port,host:port,password=...,ssl=true`: how .NET's StackExchange.Redis names servers, and with it Aspire, Azure and NetScript. A
 * password may hold commas: it ends before the next piece that begins with the name of an option, or at its closing quote. Blanks around a
 * value do not count, as there, unless it is quoted.
 */
import { type Address, type Dialect, type Endpoint, parseEndpoint, Problem } from "./model.ts"
import { readFlag, readPairs } from "./pairs.ts"

/** Options that mean something here. */
const heeded = [
  "clientname",
  "connecttimeout",
  "database",
  "defaultdatabase",
  "name",
  "password",
  "servicename",
  "ssl",
  "sslhost",
  "tls",
  "user",
  "username",
  "vhost",
  "virtualhost"
]
/** Options of the .NET client that say how it behaves, not where the server is. */
const dotNetOnly = [
  "abortconnect",
  "allowadmin",
  "asynctimeout",
  "channelprefix",
  "checkcertificaterevocation",
  "configchannel",
  "configcheckseconds",
  "connectretry",
  "heartbeatconsistencychecks",
  "heartbeatinterval",
  "highintegrity",
  "includedetailinexceptions",
  "includeperformancecountersinexceptions",
  "keepalive",
  "preserveasyncorder",
  "protocol",
  "proxy",
  "resolvedns",
  "responsetimeout",
  "setlib",
  "sslprotocols",
  "synctimeout",
  "tiebreaker",
  "tunnel",
  "version",
  "writebuffer"
]
const keys = new Set([...heeded, ...dotNetOnly])

const grammar = {
  mark: ",",
  quotes: ['"'],
  isKey: (key: string) => keys.has(key),
  holdsMark: (key: string) => key === "password" || key === "user" || key === "username"
} as const

/**
 * Whether a text without a scheme is of this form: servers, then options. A text with an @ may also be the credentials and the host of a
 * URL, with a password that holds commas: there only an option that is known counts.
 */
export const isCommaForm = (text: string): boolean => {
  const pieces = text.split(",")
  for (const [i, piece] of pieces.entries()) {
    const key = /^\s*([A-Za-z]+)\s*=/.exec(piece)?.[1]
    if (key !== undefined) return i > 0 && (!text.includes("@") || keys.has(key.toLowerCase()))
    if (i > 0 && piece.trim() === "") continue
    if (parseEndpoint(piece.trim()) instanceof Problem) return false
  }
  return pieces.length > 1
}

const present = (text: string | undefined) => (text === "" ? undefined : text)

export const parseCommaForm = (text: string, dialect: Dialect): Address | Problem => {
  const endpoints: Array<Endpoint> = []
  const values = new Map<string, string>()
  for (const { key, quoted, value } of readPairs(text, grammar)) {
    if (key === undefined) {
      const endpoint = parseEndpoint(value)
      if (endpoint instanceof Problem) return endpoint
      endpoints.push(endpoint)
    } else if (!keys.has(key)) return new Problem(`it has an option that is not known: "${key}"`)
    else values.set(key, quoted ? value : value.trim())
  }
  const [first, ...others] = endpoints
  if (first === undefined) return new Problem("it names no host")
  const flag = values.get("ssl") ?? values.get("tls")
  const tls = flag === undefined ? undefined : readFlag(flag)
  if (flag !== undefined && tls === undefined) return new Problem("its ssl is neither true nor false")
  const named = present(
    values.get("defaultdatabase") ?? values.get("database") ?? values.get("virtualhost") ?? values.get("vhost")
  )
  const database = named === undefined ? undefined : dialect.database(named)
  if (database instanceof Problem) return database
  const timeout = values.get("connecttimeout")
  if (timeout !== undefined && !/^\s*[1-9]\d{0,8}\s*$/.test(timeout))
    return new Problem("its connectTimeout is no number of milliseconds above zero")
  const filled = (one: Endpoint): Endpoint => ({
    ...one,
    port: one.port ?? (tls === true ? dialect.commaTlsPort : dialect.port)
  })
  return {
    endpoints: [filled(first), ...others.map(filled)],
    username: present(values.get("user") ?? values.get("username")),
    password: present(values.get("password")),
    database,
    tls,
    sentinel: present(values.get("servicename")?.trim()),
    servername: present(values.get("sslhost")?.trim()),
    clientName: present((values.get("name") ?? values.get("clientname"))?.trim()),
    connectTimeout: timeout === undefined ? undefined : Number(timeout)
  }
}
