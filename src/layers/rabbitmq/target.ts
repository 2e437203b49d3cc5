/** From options to addresses: where the broker's nodes are, and the limits under which nothing waits without bound. */
import * as Redacted from "effect/Redacted"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { badPercent, misleadingUrl } from "../../internal/urlText.ts"
import { InvalidAddress, RabbitMqError } from "./errors.ts"
import type { ConnectionOptions, QueueOptions, TlsOptions } from "./options.ts"

/** One node, with everything a connection to it needs. */
export interface Node {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: string
  readonly vhost: string
  readonly tls: TlsOptions | undefined
  /** Without credentials, for messages. */
  readonly address: string
}

export interface Target {
  readonly nodes: readonly [Node, ...Array<Node>]
  /** All of them, for messages. */
  readonly address: string
  readonly connectionName: string
  /** Milliseconds, like the other limits. */
  readonly connectTimeout: number
  readonly commandTimeout: number
  readonly blockedTimeout: number
  /** Seconds. */
  readonly heartbeat: number
  readonly namespace: string
}

const invalid = (option: string, detail: string): RabbitMqError =>
  new RabbitMqError({ reason: new InvalidAddress({ option, detail }) })

const secret = (text: string | Redacted.Redacted | undefined): string | undefined =>
  text === undefined || typeof text === "string" ? text : Redacted.value(text)

const namespacePattern = /^[A-Za-z0-9._-]{1,64}$/

const badUrl = (detail: string): RabbitMqError => invalid("url", detail)

interface Parsed {
  readonly host: string
  readonly port: number | undefined
  readonly username: string | undefined
  readonly password: string | undefined
  readonly vhost: string | undefined
  readonly tls: boolean
}

const parseUrl = (text: string): Parsed | RabbitMqError => {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return badUrl('it is no URL; write amqp://user:password@host:port/vhost, with "%40" for an @ in a password')
  }
  if (url.protocol !== "amqp:" && url.protocol !== "amqps:")
    return badUrl(`its scheme is ${url.protocol}//; use amqp:// or amqps:// (TLS)`)
  if (url.hostname === "") return badUrl("it names no host")
  const misleading = misleadingUrl(text.trim().slice(url.protocol.length + 2))
  if (misleading !== undefined) return badUrl(misleading)
  if (url.search !== "" || url.hash !== "") return badUrl("it has a query or a fragment; give options beside the url")
  if (url.port === "0") return badUrl("its port is 0; give one from 1 to 65535")
  const path = url.pathname.replace(/^\//, "")
  if (path.includes("/")) return badUrl("its virtual host holds a /; write it as %2F")
  try {
    return {
      host: decodeURIComponent(url.hostname).replace(/^\[|\]$/g, ""),
      port: url.port === "" ? undefined : Number(url.port),
      username: url.username === "" ? undefined : decodeURIComponent(url.username),
      password: url.password === "" ? undefined : decodeURIComponent(url.password),
      vhost: path === "" ? undefined : decodeURIComponent(path),
      tls: url.protocol === "amqps:"
    }
  } catch {
    return badUrl(badPercent)
  }
}

const format = (host: string, port: number): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`)

const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65_536

const checkOptions = (options: ConnectionOptions): RabbitMqError | undefined => {
  const { connectionName, heartbeat, namespace, port, url } = options
  if (url !== undefined && options.host !== undefined) return invalid("url, host", "give one of them")
  if (Array.isArray(url) && url.length === 0) return invalid("url", "the list is empty; name at least one node")
  if (url !== undefined && port !== undefined) return invalid("port", `"url" says that already; leave it out`)
  for (const one of [port, ...(options.others ?? []).map((other) => other.port)])
    if (one !== undefined && !isPort(one))
      return invalid("port", `${one} is no port; give a whole number from 1 to 65535`)
  if (namespace !== undefined && !namespacePattern.test(namespace))
    return invalid("namespace", "use 1 to 64 letters, digits, dots, dashes and underscores")
  if (connectionName !== undefined && connectionName.length > 200)
    return invalid("connectionName", "use at most 200 characters")
  for (const name of ["connectTimeout", "commandTimeout", "blockedTimeout"] as const) {
    const given = options[name]
    if (given === undefined) continue
    const millis = durationMillis(given)
    if (millis === undefined || !(millis > 0) || !Number.isFinite(millis))
      return invalid(name, `${describeInput(given)} is no limit; give a finite duration above zero`)
  }
  if (heartbeat !== undefined) {
    const millis = durationMillis(heartbeat)
    if (millis === undefined || !(millis >= 1_000 && millis <= 65_535_000))
      return invalid("heartbeat", `${describeInput(heartbeat)} cannot be agreed on; give 1 to 65535 seconds`)
  }
  return undefined
}

export const checkQueueOptions = (options: QueueOptions = {}): RabbitMqError | undefined => {
  const { queueType } = options
  if (queueType !== undefined && queueType !== "quorum" && queueType !== "classic")
    return invalid("queueType", `${JSON.stringify(queueType)} is no type of queue; give "quorum" or "classic"`)
  for (const name of ["channels", "window"] as const) {
    const given = options[name]
    if (given !== undefined && !(Number.isInteger(given) && given >= 1))
      return invalid(name, `${given} is no count; give a whole number from 1`)
  }
  return undefined
}

export const targetOf = (options: ConnectionOptions): Target | RabbitMqError => {
  const problem = checkOptions(options)
  if (problem !== undefined) return problem
  const parsed: Array<Parsed> = []
  const given = options.url
  for (const one of given === undefined
    ? []
    : typeof given === "string" || Redacted.isRedacted(given)
      ? [given]
      : given) {
    const from = parseUrl(secret(one) ?? "")
    if (from instanceof RabbitMqError) return from
    parsed.push(from)
  }
  const [first = undefined] = parsed
  const alone: Parsed = {
    host: options.host ?? first?.host ?? "127.0.0.1",
    port: options.port ?? first?.port,
    username: first?.username,
    password: first?.password,
    vhost: first?.vhost,
    tls: first?.tls === true
  }
  const others = (options.others ?? []).map(({ host, port = alone.port }): Parsed => ({
    host,
    port,
    username: alone.username,
    password: alone.password,
    vhost: alone.vhost,
    tls: alone.tls
  }))
  const places = [alone, ...parsed.slice(1), ...others]
  const nodes = places.map((place): Node => {
    const secure = options.tls === undefined ? place.tls : options.tls !== false
    const port = place.port ?? (secure ? 5671 : 5672)
    return {
      host: place.host,
      port,
      username: options.username ?? place.username ?? "guest",
      password: secret(options.password) ?? place.password ?? "guest",
      vhost: options.vhost ?? place.vhost ?? "/",
      tls: secure ? (typeof options.tls === "object" ? options.tls : {}) : undefined,
      address: format(place.host, port)
    }
  })
  return {
    nodes: nodes as [Node, ...Array<Node>],
    address: nodes.map(({ address }) => address).join(", "),
    connectionName: options.connectionName ?? "effect-seams",
    connectTimeout: durationMillis(options.connectTimeout ?? 5_000) ?? 5_000,
    commandTimeout: durationMillis(options.commandTimeout ?? 10_000) ?? 10_000,
    blockedTimeout: durationMillis(options.blockedTimeout ?? 10_000) ?? 10_000,
    heartbeat: Math.floor((durationMillis(options.heartbeat ?? 10_000) ?? 10_000) / 1_000),
    namespace: options.namespace ?? "seams"
  }
}
