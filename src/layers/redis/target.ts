/** From options to clients: where the server is, and the settings under which a client never waits without bound. */
import * as Redacted from "effect/Redacted"
import type { RedisOptions } from "ioredis"
import { Cluster, Redis } from "ioredis"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { fillFromPlatform } from "../../internal/ids.ts"
import { badPercent, misleadingUrl } from "../../internal/urlText.ts"
import { InvalidAddress, RedisError } from "./errors.ts"
import { addressOfClient, addressOfCluster, addressOfMaster, formatPlace } from "./given.ts"
import type { ConnectionOptions } from "./options.ts"
import { disconnectTimeout, toSentinels } from "./sentinels.ts"

export interface Target {
  /** Without credentials, for messages. */
  readonly address: string
  readonly cluster: boolean
  /** Of a single server that was named by its address. */
  readonly line?: { readonly host: string; readonly port: number } | undefined
  readonly tls: boolean
  readonly connectTimeout: number
  readonly commandTimeout: number
  readonly namespace: string
  /** Makes a client that is not connected yet. While `live` answers false it does not reconnect by itself. */
  readonly make: (live: () => boolean) => Redis | Cluster
}

const invalid = (option: string, detail: string): RedisError =>
  new RedisError({ reason: new InvalidAddress({ option, detail }) })

const secret = (text: string | Redacted.Redacted | undefined): string | undefined =>
  text === undefined || typeof text === "string" ? text : Redacted.value(text)

const namespacePattern = /^[A-Za-z0-9._-]{1,64}$/

/** A random share from 0 to 1 that spreads the reconnections of many processes. */
const share = (): number => {
  const word = new Uint32Array(1)
  fillFromPlatform(word)
  return word[0]! / 2 ** 32
}

export const backoff = (times: number): number => Math.min(2_000, 25 * 2 ** Math.min(times, 7)) * (0.5 + share())

interface Place {
  readonly host: string
  readonly port: number
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  readonly tls: boolean
}

const badUrl = (detail: string): RedisError => invalid("url", detail)

const parseUrl = (text: string): Place | RedisError => {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return badUrl('it is no URL; write redis://user:password@host:port/database, with "%40" for an @ in a password')
  }
  if (url.protocol !== "redis:" && url.protocol !== "rediss:")
    return badUrl(`its scheme is ${url.protocol}//; use redis:// or rediss:// (TLS)`)
  if (url.hostname === "") return badUrl("it names no host")
  const misleading = misleadingUrl(text.trim().slice(url.protocol.length + 2))
  if (misleading !== undefined) return badUrl(misleading)
  if (url.search !== "" || url.hash !== "") return badUrl("it has a query or a fragment; give options beside the url")
  if (url.port === "0") return badUrl("its port is 0; give one from 1 to 65535")
  const path = url.pathname.replace(/^\//, "")
  if (!/^\d*$/.test(path)) return badUrl(`its path is no database number`)
  let username: string
  let password: string
  try {
    username = decodeURIComponent(url.username)
    password = decodeURIComponent(url.password)
  } catch {
    return badUrl(badPercent)
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? 6379 : Number(url.port),
    username: username === "" ? undefined : username,
    password: password === "" ? undefined : password,
    database: path === "" ? 0 : Number(path),
    tls: url.protocol === "rediss:"
  }
}

const placeOf = (options: ConnectionOptions): Place | RedisError => {
  const url = secret(options.url)
  const from = url === undefined ? undefined : parseUrl(url)
  if (from instanceof RedisError) return from
  return {
    host: options.host ?? from?.host ?? "127.0.0.1",
    port: options.port ?? from?.port ?? 6379,
    username: options.username ?? from?.username,
    password: secret(options.password) ?? from?.password,
    database: options.database ?? from?.database ?? 0,
    tls: options.tls === undefined ? from?.tls === true : options.tls !== false
  }
}

/** Of several ways to name a server one is meant. */
const checkOptions = (options: ConnectionOptions): RedisError | undefined => {
  const ways = (["url", "host", "sentinel", "cluster", "instance"] as const).filter((way) => options[way] !== undefined)
  if (ways.length > 1) return invalid(ways.join(", "), "give one of them")
  const [way] = ways
  const ignored = (["port", "username", "password", "database", "tls"] as const).filter(
    (name) =>
      options[name] !== undefined &&
      (way === "instance" || (name === "port" && (way === "sentinel" || way === "cluster")))
  )
  if (ignored.length > 0) return invalid(ignored.join(", "), `"${way}" says that already; leave it out`)
  const { clientName, database, namespace, port } = options
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536))
    return invalid("port", `${port} is no port; give a whole number from 1 to 65535`)
  if (database !== undefined && !(Number.isInteger(database) && database >= 0))
    return invalid("database", `${database} is no index; give a whole number from 0`)
  if (namespace !== undefined && !namespacePattern.test(namespace))
    return invalid("namespace", "use 1 to 64 letters, digits, dots, dashes and underscores")
  if (clientName !== undefined && !/^[!-~]*$/.test(clientName))
    return invalid("clientName", "use letters, digits and signs without blanks")
  if (options.cluster !== undefined && options.cluster.length === 0) return invalid("cluster", "name at least one node")
  if (options.cluster !== undefined && (database ?? 0) !== 0)
    return invalid("database", "a Cluster has database 0 only; use a namespace to keep data apart")
  if (options.sentinel !== undefined && options.sentinel.sentinels.length === 0)
    return invalid("sentinel", "name at least one Sentinel")
  for (const name of ["connectTimeout", "commandTimeout"] as const) {
    const given = options[name]
    if (given === undefined) continue
    const millis = durationMillis(given)
    if (millis === undefined || !(millis > 0) || !Number.isFinite(millis))
      return invalid(name, `${describeInput(given)} is no limit; give a finite duration above zero`)
  }
  return undefined
}

/** What a client of the program's may be set to that would change our keys, our answers, or where we read. */
const ours = {
  keyPrefix: "",
  enableAutoPipelining: false,
  enableReadyCheck: true,
  stringNumbers: false,
  replyMapping: "legacy" as const,
  readOnly: false,
  monitor: false,
  // Ends a wait without ending the connection; it has to be there, to replace theirs.
  commandTimeout: undefined as never
} satisfies RedisOptions

export const targetOf = (options: ConnectionOptions): Target | RedisError => {
  const problem = checkOptions(options)
  if (problem !== undefined) return problem
  const place = placeOf(options)
  if (place instanceof RedisError) return place
  const connectTimeout = durationMillis(options.connectTimeout ?? 5_000) ?? 5_000
  const commandTimeout = durationMillis(options.commandTimeout ?? 5_000) ?? 5_000
  const given = options.instance
  const tls = typeof options.tls === "object" ? { ...options.tls } : {}
  const common = (live: () => boolean) => {
    let leaving = false
    return {
      connectionName: options.clientName ?? "effect-seams",
      connectTimeout,
      // Armed while an answer is owed, and ends the connection: a frozen server or a half-open line is noticed.
      socketTimeout: commandTimeout,
      disconnectTimeout,
      keepAlive: 10_000,
      // Asked so often, and not after seconds that nobody ends, a server that is loading its data.
      maxLoadingRetryTime: 250,
      lazyConnect: true,
      enableOfflineQueue: false,
      // With any other number commands in flight can wait for ever when their connection breaks.
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      // Its own resubscription can fail without a word.
      autoResubscribe: false,
      protocol: 2 as const,
      retryStrategy: (times: number) => {
        leaving = false
        return live() ? backoff(times) : null
      },
      // A failover behind one address: the next connection meets the new master. Once for all answers of one connection.
      reconnectOnError: (error: Error) => {
        const first = !leaving && error.message.startsWith("READONLY")
        leaving ||= first
        return first
      }
    } satisfies RedisOptions
  }
  const credentials = {
    ...(place.username === undefined ? {} : { username: place.username }),
    ...(place.password === undefined ? {} : { password: place.password }),
    ...(place.tls ? { tls } : {})
  } satisfies RedisOptions
  const clusterOptions = (live: () => boolean, node: RedisOptions) => {
    const { connectionName, keepAlive, maxLoadingRetryTime } = common(live)
    return {
      lazyConnect: true,
      // Without it all but the first command to a node that is still connecting are refused. The time they wait is bounded in `wire.ts`.
      enableOfflineQueue: true,
      // Commands in flight would be sent a second time.
      retryDelayOnFailover: 0,
      clusterRetryStrategy: (times: number) => (live() ? backoff(times) : null),
      slotsRefreshTimeout: connectTimeout,
      redisOptions: {
        ...node,
        connectTimeout,
        socketTimeout: commandTimeout,
        disconnectTimeout,
        keepAlive,
        maxLoadingRetryTime,
        connectionName,
        maxRetriesPerRequest: 0,
        autoResendUnfulfilledCommands: false,
        protocol: 2 as const,
        replyMapping: "legacy" as const
      }
    }
  }
  const base = { connectTimeout, commandTimeout, tls: place.tls, namespace: options.namespace ?? "seams" }

  if (given !== undefined) {
    if (given.isCluster) {
      const theirs = given as Cluster
      return {
        ...base,
        cluster: true,
        address: addressOfCluster(theirs),
        tls: theirs.options.redisOptions?.tls !== undefined,
        make: (live) =>
          theirs.duplicate([], {
            ...clusterOptions(live, { ...theirs.options.redisOptions, ...ours }),
            keyPrefix: "",
            enableAutoPipelining: false,
            enableReadyCheck: true,
            scaleReads: "master",
            shardedSubscribers: false
          })
      }
    }
    const theirs = given as Redis
    const { sentinels } = theirs.options
    return {
      ...base,
      cluster: false,
      address: addressOfClient(theirs),
      tls: theirs.options.tls !== undefined,
      make: (live) =>
        theirs.duplicate({
          ...common(live),
          ...ours,
          ...(sentinels === undefined || sentinels === null ? {} : toSentinels(commandTimeout))
        })
    }
  }
  if (options.cluster !== undefined) {
    const nodes = options.cluster.map(({ host, port }) => ({ host, port }))
    return {
      ...base,
      cluster: true,
      address: nodes.map(({ host, port }) => formatPlace(host, port)).join(", "),
      make: (live) => new Cluster(nodes, clusterOptions(live, credentials))
    }
  }
  if (options.sentinel !== undefined) {
    const { name, sentinels, username } = options.sentinel
    const password = secret(options.sentinel.password)
    return {
      ...base,
      cluster: false,
      address: addressOfMaster(name, sentinels),
      make: (live) =>
        new Redis({
          ...common(live),
          ...credentials,
          db: place.database,
          sentinels: sentinels.map(({ host, port }) => ({ host, port })),
          name,
          ...toSentinels(commandTimeout),
          ...(username === undefined ? {} : { sentinelUsername: username }),
          ...(password === undefined ? {} : { sentinelPassword: password }),
          ...(place.tls ? { enableTLSForSentinelMode: true, sentinelTLS: tls } : {})
        })
    }
  }
  return {
    ...base,
    cluster: false,
    address: formatPlace(place.host, place.port),
    line: { host: place.host, port: place.port },
    make: (live) =>
      new Redis({ ...common(live), ...credentials, host: place.host, port: place.port, db: place.database })
  }
}
