import { createSecureContext } from "node:tls"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { isKeyProblem } from "../../internal/keyCodec.ts"
import type { KeyPart } from "../../kv/model.ts"
import { uuid } from "./database.ts"
import type { Keyspace } from "./keyspace.ts"
import { makeKeyspace } from "./keyspace.ts"
import { InvalidOption, KvConnectError } from "./KvConnectError.ts"

/**
 * How a KV Connect server listens, whom it lets in, and what it shows.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** What clients must present: `DENO_KV_ACCESS_TOKEN`, `accessToken` of `@deno/kv`. One or more, each of 12 visible characters or more. */
  readonly accessTokens: ReadonlyArray<Redacted.Redacted>
  /** The address to listen at. Default: `127.0.0.1`, which only programs of this machine reach. */
  readonly host?: string | undefined
  /** Default: 0, a free one, which `url` then has. */
  readonly port?: number | undefined
  /** Certificate and key in PEM. Default: none, plain HTTP; leave the loopback only with TLS, here or in a proxy in front. */
  readonly tls?: { readonly cert: string; readonly key: string | Redacted.Redacted } | undefined
  /**
   * Clients see the keys below this prefix, and without it. Each prefix is a database of its own. Default: `[]`, all keys of the
   * Kv but those of the library itself.
   *
   * Gotcha: it counts towards the 2,048 bytes of a key.
   */
  readonly prefix?: ReadonlyArray<KeyPart> | undefined
  /**
   * Show and write the keys that begin with `~effect-seams` too, where queues, jobs and outboxes over a Kv keep their state. Default: false;
   * without a `prefix` only.
   */
  readonly internalKeys?: boolean | undefined
  /**
   * How long a data token is good, which a client gets for its access token. From 20 seconds, since Deno asks for the next one 10
   * seconds before the end. Default: 1 day.
   *
   * Gotcha: Node's client asks for the next one with the first request that comes less than 5 minutes before the end, but sends the old one
   * once more. So below 5 minutes it asks before every request, and after a pause longer than the lifetime its first request fails (401).
   */
  readonly tokenLifetime?: Duration.Input | undefined
  /** How often a quiet watch gets a sign of life. Default: 5 seconds. */
  readonly pingInterval?: Duration.Input | undefined
  /** The id of the database, a lower-case UUID. Default: one that the store keeps, the same for all servers over it. */
  readonly databaseId?: string | undefined
  /** A span around every request. Default: true. */
  readonly tracing?: boolean | undefined
}

export interface Settings {
  readonly accessTokens: ReadonlyArray<Redacted.Redacted>
  readonly host: string
  readonly port: number
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  readonly prefix: ReadonlyArray<KeyPart>
  readonly keyspace: Keyspace
  /** Milliseconds. */
  readonly tokenLifetime: number
  readonly pingInterval: number
  readonly databaseId: string | undefined
  readonly tracing: boolean
}

const shortestToken = 12
const shortestLifetime = 20_000

const invalid = (option: keyof Options, detail: string) =>
  Effect.fail(new KvConnectError({ reason: new InvalidOption({ option, detail }) }))

export const settingsOf = (options: Options): Effect.Effect<Settings, KvConnectError> => {
  const { accessTokens, databaseId, host = "127.0.0.1", port = 0, prefix = [] } = options
  if (!Array.isArray(accessTokens) || accessTokens.length === 0)
    return invalid("accessTokens", "give one token at least, as in [Redacted.make(token)]")
  for (const token of accessTokens) {
    if (!Redacted.isRedacted(token) || typeof Redacted.value(token) !== "string")
      return invalid("accessTokens", "each of them is a Redacted text, as in Redacted.make(token)")
    if (!/^[\u0021-\u007e]+$/.test(Redacted.value(token) as string))
      return invalid("accessTokens", "one is empty or holds spaces, or characters that no HTTP header carries")
    if ((Redacted.value(token) as string).length < shortestToken)
      return invalid("accessTokens", `one is shorter than ${shortestToken} characters, which can be guessed`)
  }
  if (typeof host !== "string" || host === "") return invalid("host", "give a name or an address of this machine")
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    return invalid("port", `${String(port)} is no port: give a whole number from 0 to 65535`)
  if (databaseId !== undefined && !uuid.test(databaseId))
    return invalid("databaseId", `${JSON.stringify(databaseId)} is no UUID in lower case`)
  const internalKeys = options.internalKeys === true
  if (internalKeys && prefix.length > 0)
    return invalid("internalKeys", "below a prefix there are none; leave out one of the two")
  const keyspace = makeKeyspace(prefix, internalKeys)
  if (isKeyProblem(keyspace)) return invalid("prefix", keyspace.detail.replace(/\.$/, ""))
  const tokenLifetime = durationMillis(options.tokenLifetime ?? "1 day")
  if (tokenLifetime === undefined || !(tokenLifetime >= shortestLifetime) || !Number.isFinite(tokenLifetime))
    return invalid("tokenLifetime", `${describeInput(options.tokenLifetime)}: give a duration of 20 seconds or more`)
  const pingInterval = durationMillis(options.pingInterval ?? "5 seconds")
  if (pingInterval === undefined || !(pingInterval >= 100) || !Number.isFinite(pingInterval))
    return invalid(
      "pingInterval",
      `${describeInput(options.pingInterval)}: give a duration of 100 milliseconds or more`
    )
  const secure = secureOf(options.tls)
  if (typeof secure === "string") return invalid("tls", secure)
  return Effect.succeed({
    accessTokens,
    host,
    port,
    tls: secure,
    prefix,
    keyspace,
    tokenLifetime,
    pingInterval,
    databaseId,
    tracing: options.tracing !== false
  })
}

/** Certificate and key, or why they are of no use. */
const secureOf = (given: Options["tls"]): Settings["tls"] | string => {
  if (given === undefined) return undefined
  const tls = { cert: given.cert, key: Redacted.isRedacted(given.key) ? Redacted.value(given.key) : given.key }
  try {
    createSecureContext(tls)
    return tls
  } catch (cause) {
    return `certificate and key do not go together, or one is no PEM (${cause instanceof Error ? cause.message : String(cause)})`
  }
}
