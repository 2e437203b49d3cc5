/** From options to a client's configuration, checked before anything is tried. */
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import * as Redacted from "effect/Redacted"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { badPercent, misleadingUrl } from "../../internal/urlText.ts"
import { InvalidOption, PostgresError } from "./errors.ts"
import type { ConnectionOptions, SchemaOptions } from "./options.ts"

/** What every layer of the room goes by. */
export interface Settings {
  readonly schema: string
  readonly migrate: "auto" | "check" | "manual"
  readonly unlogged: boolean
  /** A target: the direct address to listen at. */
  readonly listen: boolean | Target
  /** Milliseconds. */
  readonly pollInterval: number
  /** Milliseconds. */
  readonly commandTimeout: number
}

/** Where a server is. */
export interface Place {
  /** Without credentials, for messages. */
  readonly address: string
  /** Of a server that is not behind a socket of the file system. */
  readonly line: { readonly host: string; readonly port: number } | undefined
  /** Milliseconds. */
  readonly connectTimeout: number
}

export interface Target extends Place {
  readonly config: PgPoolConfig
}

const invalid = (option: string, detail: string): PostgresError =>
  new PostgresError({ reason: new InvalidOption({ option, detail }) })

const limitOf = (option: string, given: SchemaOptions["pollInterval"], otherwise: number): number | PostgresError => {
  if (given === undefined) return otherwise
  const millis = durationMillis(given)
  return millis !== undefined && millis > 0 && Number.isFinite(millis)
    ? millis
    : invalid(option, `${describeInput(given)} is no limit; give a finite duration above zero`)
}

const schemaPattern = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/

/** Takes all options of a connection: the direct address to listen at may need some of them. */
export const settingsOf = (options: ConnectionOptions): Settings | PostgresError => {
  const schema = options.schema ?? "seams"
  if (!schemaPattern.test(schema) || schema.startsWith("pg_"))
    return invalid(
      "schema",
      `${JSON.stringify(schema)} is no name for it; use 1 to 63 letters, digits, dashes and underscores, and do not begin with a dash or pg_`
    )
  const migrate = options.migrate ?? "auto"
  if (!["auto", "check", "manual"].includes(migrate))
    return invalid("migrate", `${JSON.stringify(migrate)} is none of "auto", "check" and "manual"`)
  const pollInterval = limitOf("pollInterval", options.pollInterval, 250)
  if (typeof pollInterval !== "number") return pollInterval
  const commandTimeout = limitOf("commandTimeout", options.commandTimeout, 5_000)
  if (typeof commandTimeout !== "number") return commandTimeout
  const { listen = true, unlogged = false } = options
  if (typeof listen === "boolean") return { schema, migrate, unlogged, pollInterval, commandTimeout, listen }
  const url = checkUrl("listen", secret(listen))
  if (url instanceof PostgresError) return url
  // The authority of a private certificate holds for both addresses.
  const tls = tlsOf(url) ? options.tls : undefined
  const applicationName = `${options.applicationName ?? "effect-seams"} listen`
  const target = targetOf({ url: listen, tls, applicationName, connectTimeout: options.connectTimeout })
  return target instanceof PostgresError
    ? target
    : { schema, migrate, unlogged, pollInterval, commandTimeout, listen: target }
}

const secret = (text: string | Redacted.Redacted): string => (typeof text === "string" ? text : Redacted.value(text))

const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

/** A url that the client can use, or what is wrong with it, in words that hold nothing of it. */
const checkUrl = (option: string, text: string): URL | PostgresError => {
  const wrong = (detail: string) => invalid(option, detail)
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return wrong('it is no URL; write postgres://user:password@host:port/database, with "%40" for an @ in a password')
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:")
    return wrong(`its scheme is ${url.protocol}//; use postgres://`)
  if (!/^\w+:\/\//.test(text.trim())) return wrong("two slashes are missing behind its scheme; use postgres://")
  const misleading = misleadingUrl(text.trim().slice(url.protocol.length + 2), { parameters: true })
  if (misleading !== undefined) return wrong(misleading)
  if (url.port === "0") return wrong("its port is 0; give one from 1 to 65535")
  try {
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part)
  } catch {
    return wrong(badPercent)
  }
  if ([url.username, url.password, url.pathname, url.search].some((part) => part.includes("%00")))
    return wrong("it holds a NUL character, which PostgreSQL cannot take")
  const mode = url.searchParams.get("sslmode")
  if (mode !== null && !sslModes.includes(mode)) return wrong(`its sslmode is none of ${sslModes.join(", ")}`)
  const port = url.searchParams.get("port")
  if (port !== null && !isPort(Number(port))) return wrong("its port parameter is no port; give one from 1 to 65535")
  const limit = url.searchParams.get("connect_timeout")
  if (limit !== null && !/^[1-9]\d{0,8}$/.test(limit))
    return wrong("its connect_timeout is no limit; give a whole number of seconds above zero")
  return url
}

const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65_536

const placeAt = (host: string, port: number, connectTimeout: number): Place =>
  host.startsWith("/")
    ? { address: `${host}/.s.PGSQL.${port}`, line: undefined, connectTimeout }
    : { address: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`, line: { host, port }, connectTimeout }

const portOf = (url: URL | undefined): number => Number(url?.searchParams.get("port") ?? (url?.port || 5432))

export const targetOf = (options: ConnectionOptions): Target | PostgresError => {
  const { maxConnections = 10, port } = options
  if (port !== undefined && !isPort(port))
    return invalid("port", `${port} is no port; give a whole number from 1 to 65535`)
  if (!(Number.isInteger(maxConnections) && maxConnections >= 2 && maxConnections <= 10_000))
    return invalid("maxConnections", `${maxConnections} is no size for a pool; give a whole number from 2`)
  for (const name of ["host", "database", "username", "applicationName"] as const)
    if (options[name]?.includes("\0") === true || options[name] === "")
      return invalid(name, "it is empty or holds a NUL character")
  if (options.password !== undefined && secret(options.password).includes("\0"))
    return invalid("password", "it holds a NUL character, which PostgreSQL cannot take")
  const url = options.url === undefined ? undefined : checkUrl("url", secret(options.url))
  if (url instanceof PostgresError) return url
  const connectTimeout = limitOf(
    "connectTimeout",
    options.connectTimeout,
    Number(url?.searchParams.get("connect_timeout") ?? 5) * 1_000
  )
  if (typeof connectTimeout !== "number") return connectTimeout
  const host = (options.host ?? url?.searchParams.get("host") ?? hostOf(url)) || "127.0.0.1"
  return {
    ...placeAt(host, port ?? portOf(url), connectTimeout),
    config: {
      ...(options.url === undefined ? undefined : { url: Redacted.make(secret(options.url)) }),
      host,
      port,
      database: options.database,
      username: options.username ?? (url?.username || (url?.searchParams.get("user") ?? "") ? undefined : "postgres"),
      password: options.password === undefined ? undefined : Redacted.make(secret(options.password)),
      ssl: options.tls,
      applicationName: options.applicationName ?? url?.searchParams.get("application_name") ?? "effect-seams",
      connectTimeout,
      maxConnections,
      prepare: options.prepare,
      // A value of 16 MiB, and what stands beside it.
      maxMessageSize: 268_435_456
    }
  }
}

const hostOf = (url: URL | undefined): string => decodeURIComponent(url?.hostname.replace(/^\[|\]$/g, "") ?? "")

const tlsOf = (url: URL): boolean => /^(require|verify-)/.test(url.searchParams.get("sslmode") ?? "")

/** That of a client that the program has. */
export const placeOf = ({ connectTimeout, host, path, port, url: secretUrl }: PgPoolConfig): Place => {
  const millis = connectTimeout === undefined ? undefined : durationMillis(connectTimeout)
  const text = secretUrl === undefined ? "" : Redacted.value(secretUrl)
  const url = URL.canParse(text) ? new URL(text) : undefined
  const place = placeAt((host ?? hostOf(url)) || "localhost", port ?? portOf(url), millis ?? 5_000)
  return path === undefined ? place : { ...place, address: path, line: undefined }
}
