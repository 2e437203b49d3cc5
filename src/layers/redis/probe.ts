/** What the server is and what this user may do there: asked once for each connection of a layer. */
import * as Effect from "effect/Effect"
import { AuthRefused, EvictingPolicy, RedisError, Unreachable, Unsupported, WrongServer } from "./errors.ts"
import type { RedisFault } from "./faults.ts"
import type { ConnectionOptions } from "./options.ts"
import type { Target } from "./target.ts"
import type { Wire } from "./wire.ts"

/**
 * The server behind a connection.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerFacts {
  readonly kind: "redis" | "valkey" | "garnet" | "dragonfly"
  readonly version: string
  readonly cluster: boolean
  /** Commits and queue steps are scripts; else they are transactions with `WATCH`. */
  readonly scripts: boolean
  /** `maxmemory-policy`; `undefined` when this user may not see it. */
  readonly evictionPolicy: string | undefined
  /** When an append-only file is synced; `"off"` without one, `undefined` when this user may not see it. */
  readonly appendFsync: "always" | "everysec" | "no" | "off" | undefined
}

const field = (info: string, name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1]

const kindOf = (info: string): ServerFacts["kind"] => {
  if (field(info, "garnet_version") !== undefined) return "garnet"
  if (field(info, "dragonfly_version") !== undefined) return "dragonfly"
  return field(info, "server_name") === "valkey" || field(info, "valkey_version") !== undefined ? "valkey" : "redis"
}

const failed = (reason: ConstructorParameters<typeof RedisError>[0]["reason"]): RedisError => new RedisError({ reason })

/** A fault while a layer is built, as the reason why it cannot be. */
export const refusalOf =
  (address: string) =>
  ({ code, detail, kind }: RedisFault): RedisError => {
    if (code === "NOPERM" || code === "NOAUTH") return failed(new AuthRefused({ address, detail }))
    return failed(kind === "refused" ? new WrongServer({ address, detail }) : new Unreachable({ address, detail }))
  }

const text = (reply: unknown): string => (Buffer.isBuffer(reply) ? reply.toString() : String(reply))

export const probe = (wire: Wire, target: Target, options: ConnectionOptions): Effect.Effect<ServerFacts, RedisError> =>
  Effect.gen(function* () {
    const { address } = target
    const asked = refusalOf(address)
    const info = text(yield* Effect.mapError(wire.call("info", []), asked))
    if (!target.cluster && field(info, "cluster_enabled") === "1")
      return yield* failed(
        new WrongServer({
          address,
          detail: 'it is a node of a Cluster; name some of its nodes in the option "cluster"'
        })
      )
    const kind = kindOf(info)
    const version = field(info, `${kind}_version`) ?? field(info, "redis_version") ?? "unknown"
    // Garnet runs a script as a plain sequence of commands unless it is started for more, which it does not tell.
    const atomicScripts = kind !== "garnet" || options.scripts === "always"
    const evaluated = Effect.as(wire.call("eval", ["return redis.call('TIME')", 0]), true)
    const scripts =
      options.scripts !== "never" &&
      atomicScripts &&
      (yield* Effect.catchIf(
        evaluated,
        (fault) => fault.kind === "refused",
        () => Effect.succeed(false)
      ).pipe(Effect.mapError(asked)))
    if (options.scripts === "always" && !scripts)
      return yield* failed(
        new Unsupported({ address, detail: 'it runs no scripts for this user, and the option says scripts: "always"' })
      )
    if (target.cluster && !scripts)
      return yield* failed(
        new Unsupported({
          address,
          detail: "a Cluster is used with scripts only; allow EVAL and EVALSHA for this user, or use a single server"
        })
      )
    const configured = (name: string) =>
      Effect.map(Effect.option(wire.call("config", ["get", name])), (found) => {
        const values = found._tag === "Some" && Array.isArray(found.value) ? found.value : []
        return values.length > 1 ? text(values[1]) : undefined
      })
    const evictionPolicy = field(info, "maxmemory_policy") ?? (yield* configured("maxmemory-policy"))
    if (evictionPolicy !== undefined && evictionPolicy !== "noeviction" && options.allowEviction !== true)
      return yield* failed(new EvictingPolicy({ address, policy: evictionPolicy }))
    const aof = field(info, "aof_enabled")
    const appendFsync =
      aof === "0" ? "off" : ((yield* configured("appendfsync")) as ServerFacts["appendFsync"] | undefined)
    return { kind, version, cluster: target.cluster, scripts, evictionPolicy, appendFsync }
  })
