/** Addresses of PostgreSQL: a URL, `host:port`, or ADO.NET's `Host=...;Username=...`, as Npgsql reads it. */
import { badPercent, misleadingUrl } from "../../internal/urlText.ts"
import { type Endpoint, parseEndpoint, Problem } from "./model.ts"
import { readPairs } from "./pairs.ts"

/** A URL goes to the driver as it is, for it knows the parameters; everything else comes in parts. */
export type PostgresAddress =
  | { readonly url: string; readonly endpoint: Endpoint }
  | {
      readonly url?: undefined
      readonly endpoint: Endpoint
      readonly username: string | undefined
      readonly password: string | undefined
      readonly database: string | undefined
      readonly tls: boolean | undefined
      readonly applicationName?: string | undefined
      /** Seconds. */
      readonly connectTimeout?: number | undefined
    }

const example = "postgres://user:password@host:port/database"

/** By each name that Npgsql gives an option, without spaces and lower-case, what it is here. */
const names: Readonly<Record<string, string>> = {
  host: "host",
  server: "host",
  datasource: "host",
  port: "port",
  database: "database",
  db: "database",
  initialcatalog: "database",
  username: "username",
  user: "username",
  userid: "username",
  uid: "username",
  password: "password",
  pwd: "password",
  psw: "password",
  sslmode: "sslmode",
  applicationname: "applicationName",
  timeout: "timeout"
}

/** Options of the .NET driver that say how it pools, buffers and reports, not where the server is. */
const npgsqlOnly =
  /^(?:pooling|minpoolsize|minimumpoolsize|maxpoolsize|maximumpoolsize|connectionidlelifetime|connectionpruninginterval|connectionlifetime|commandtimeout|internalcommandtimeout|cancellationtimeout|keepalive|tcpkeepalive.*|multiplexing|enlist|includeerrordetail.*|persistsecurityinfo|loadtablecomposites|noresetonclose|maxautoprepare|autoprepareminusages|.*buffersize|logparameters|arraynullabilitymode|servercompatibilitymode|trustservercertificate|checkcertificaterevocation)$/

const bare = (key: string): string => key.toLowerCase().replaceAll(" ", "")

const grammar = {
  mark: ";",
  quotes: ['"', "'"],
  isKey: () => true,
  holdsMark: () => false
} as const

const parseAdoNet = (text: string): PostgresAddress | Problem => {
  const values = new Map<string, string>()
  let open = false
  for (const { key, quoted, value } of readPairs(text, grammar)) {
    if (key === undefined)
      return new Problem('it holds a piece that is not "key=value"; put a value with a ; into quotes')
    const name = names[bare(key)]
    if (name !== undefined) values.set(name, quoted ? value : value.trim())
    else if (!npgsqlOnly.test(bare(key)))
      return new Problem(
        open
          ? "what follows its Password means nothing here; put a password with a ; into quotes"
          : `its option "${key}" means nothing here; leave it out, or write ${example}`
      )
    // The rest of an unquoted password with a semicolon may look like an option, and is not to be shown.
    open = name === "password" && !quoted
  }
  const host = values.get("host")
  if (host === undefined || host === "") return new Problem("it names no host")
  if (host.includes(",")) return new Problem("it names several hosts; name one")
  const endpoint = parseHost(host)
  if (endpoint instanceof Problem) return endpoint
  const port = values.get("port")
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65_536))
    return new Problem("its Port is not within 1 to 65535")
  const mode = values.get("sslmode")?.toLowerCase().replaceAll("-", "")
  if (mode !== undefined && !/^(?:disable|allow|prefer|require|verifyca|verifyfull)$/.test(mode))
    return new Problem("its SSL Mode is none of Disable, Allow, Prefer, Require, VerifyCA and VerifyFull")
  const timeout = values.get("timeout")
  if (timeout !== undefined && !/^[1-9]\d{0,5}$/.test(timeout))
    return new Problem("its Timeout is no number of seconds above zero")
  const present = (name: string) => values.get(name) || undefined
  return {
    endpoint: port === undefined ? endpoint : { ...endpoint, port: Number(port) },
    username: present("username"),
    password: present("password"),
    database: present("database"),
    tls: mode === undefined ? undefined : /^(?:require|verify)/.test(mode),
    applicationName: present("applicationName"),
    connectTimeout: timeout === undefined ? undefined : Number(timeout)
  }
}

/** A host with a port or without, or the folder of a socket. */
export const parseHost = (text: string): Endpoint | Problem =>
  text.startsWith("/") ? { host: text, port: undefined } : parseEndpoint(text)

export const parsePostgres = (given: string): PostgresAddress | Problem => {
  const scheme = /^\s*([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(given)?.[1]?.toLowerCase()
  if (scheme !== undefined) {
    const text = given.trim()
    if (scheme === "postgres" || scheme === "postgresql") {
      const misleading = misleadingUrl(text.slice(scheme.length + 3), { parameters: true })
      if (misleading !== undefined) return new Problem(misleading)
      if (!URL.canParse(text)) return new Problem(`it is no URL; write ${example}, with %40 for an @ in a password`)
      const { hostname, port, searchParams } = new URL(text)
      let named: string
      try {
        named = decodeURIComponent(hostname).replace(/^\[|\]$/g, "")
      } catch {
        return new Problem(badPercent)
      }
      const host = searchParams.get("host") ?? (named || "127.0.0.1")
      return { url: text, endpoint: { host, port: Number(searchParams.get("port") ?? port) || undefined } }
    }
    if (scheme !== "tcp") return new Problem(`its scheme is ${scheme}://; write ${example}`)
    return ofEndpoint(parseEndpoint(text.slice("tcp://".length).replace(/\/$/, "")))
  }
  return given.includes("=") ? parseAdoNet(given) : ofEndpoint(parseHost(given.trim()))
}

const ofEndpoint = (endpoint: Endpoint | Problem): PostgresAddress | Problem =>
  endpoint instanceof Problem
    ? endpoint
    : { endpoint, username: undefined, password: undefined, database: undefined, tls: undefined }
