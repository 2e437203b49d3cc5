import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { readConfig } from "../../internal/environment.ts"
import { makeCommitIds } from "../../internal/ids.ts"
import { RedisError } from "./errors.ts"
import type { RedisFault } from "./faults.ts"
import type { Hints } from "./hints.ts"
import { makeHints } from "./hints.ts"
import type { ConnectionOptions } from "./options.ts"
import type { ServerFacts } from "./probe.ts"
import { probe } from "./probe.ts"
import type { Script } from "./script.ts"
import { script } from "./script.ts"
import type { WithSession } from "./sessions.ts"
import { makeSessions } from "./sessions.ts"
import { targetOf } from "./target.ts"
import type { Arg, Reply, Wire } from "./wire.ts"
import { makeWire } from "./wire.ts"

/**
 * The connections to a server, shared by the drivers of this room. A program only passes it on, to build layers over one connection.
 * It holds one connection for commands and one for subscriptions; without scripts up to four more for transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionService {
  /** Where the server is, without credentials. */
  readonly address: string
  readonly namespace: string
  readonly server: ServerFacts
  readonly slots: "queue" | "namespace"
  /** Identity of the store: equal for all connections of this process to the same namespace of the same address. */
  readonly store: symbol
  /** Names this connection among all of the server, for the channels it listens on. */
  readonly clientId: string
  readonly realClock: Clock.Clock
  readonly call: Wire["call"]
  readonly run: Wire["run"]
  /** Reads that see one state; of several the first one reads the counter of commits. `keys` are those that the commands name. */
  readonly snapshot: (commands: ReadonlyArray<ReadCommand>) => Effect.Effect<ReadonlyArray<Reply>, RedisFault>
  readonly session: WithSession
  readonly hints: Hints
  /** The server's clock, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, RedisFault>
  readonly ping: Effect.Effect<void, RedisFault>
}

/** A command that reads, its keys, and what follows them. */
export interface ReadCommand {
  readonly name: string
  readonly keys: ReadonlyArray<Arg>
  readonly args?: ReadonlyArray<Arg> | undefined
}

/**
 * The connection of the Redis layers as a service, for programs that build Kv and Queue from one connection by hand.
 *
 * @since 0.1.0
 * @category services
 */
export class Connection extends Context.Service<Connection, ConnectionService>()(
  "effect-seams/layers/redis/Connection"
) {}

/**
 * KEYS: those of all commands, in order. ARGV: for each command its name, the number of its keys, the number of its arguments, these.
 * Answers the replies. One state, like `MULTI`, and on a Cluster in one place.
 */
const snapshotScript: Script = script(
  "snapshot",
  `
local replies, key, at = {}, 1, 1
while ARGV[at] do
  local name, keys, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local command = { name }
  for i = 0, keys - 1 do command[#command + 1] = KEYS[key + i] end
  for i = 1, count do command[#command + 1] = ARGV[at + 2 + i] end
  key = key + keys
  at = at + 3 + count
  local reply
  if #command > 7000 then
    reply = {}
    for i = 2, #command, 5000 do
      local some = redis.call(name, unpack(command, i, math.min(i + 4999, #command)))
      for j = 1, #some do reply[#reply + 1] = some[j] end
    end
  else
    reply = redis.call(unpack(command))
  end
  replies[#replies + 1] = reply
end
return replies
`
)

export const timeOf = (reply: Reply): number => {
  const [seconds, micros] = (reply as ReadonlyArray<Buffer>).map(Number) as [number, number]
  return seconds * 1_000 + Math.floor(micros / 1_000)
}

/**
 * Connects for the life of a scope: asks the server what it is, and keeps the connections until the scope closes. A lost connection
 * comes back by itself, with a jittered backoff of at most 2 seconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnection = (
  options: ConnectionOptions = {}
): Effect.Effect<ConnectionService, RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const target = targetOf(options)
    if (target instanceof RedisError) return yield* target
    const wire = yield* makeWire(target)
    const server = yield* probe(wire, target, options)
    const hints = yield* makeHints(target)
    const session = yield* makeSessions(target)
    const { address, namespace } = target
    const { call, multi, run } = wire
    return {
      address,
      namespace,
      server,
      slots: options.slots ?? "queue",
      store: Symbol.for(`effect-seams/layers/redis/${address}/${wireDatabase(wire)}/${namespace}`),
      clientId: (yield* makeCommitIds)(),
      realClock: Clock.Clock.defaultValue(),
      call,
      run,
      snapshot: (commands) =>
        server.scripts
          ? Effect.map(
              run(
                snapshotScript,
                commands.flatMap(({ keys }) => keys),
                commands.flatMap(({ args = [], keys, name }) => [name, keys.length, args.length, ...args])
              ),
              (replies) => replies as ReadonlyArray<Reply>
            )
          : Effect.map(
              multi(commands.map(({ args = [], keys, name }) => [name, ...keys, ...args] as const)),
              (replies) => replies ?? []
            ).pipe(
              Effect.catchIf(
                (fault) => fault.code === "OOM",
                () => unqueued(call, commands)
              )
            ),
      session,
      hints,
      now: Effect.map(call("time", []), timeOf),
      ping: Effect.asVoid(call("ping", []))
    }
  })

/**
 * A server whose memory is full queues nothing for a transaction, and still reads. Several commands saw one state if the first, which reads
 * the counter of commits, says the same behind them.
 */
const unqueued = (
  call: Wire["call"],
  commands: ReadonlyArray<ReadCommand>
): Effect.Effect<ReadonlyArray<Reply>, RedisFault> => {
  const [first] = commands
  const all = commands.length > 1 ? [...commands, first!] : commands
  const read = Effect.forEach(all, ({ args = [], keys, name }) => call(name, [...keys, ...args]), {
    concurrency: "unbounded"
  })
  return Effect.map(
    Effect.repeat(read, { until: (replies) => String(replies[0]) === String(replies[commands.length] ?? replies[0]) }),
    (replies) => replies.slice(0, commands.length)
  )
}

const wireDatabase = (wire: Wire): number =>
  wire.client.isCluster ? 0 : ((wire.client.options as { readonly db?: number }).db ?? 0)

/**
 * {@link makeConnection} as a layer, for {@link Connection}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (options?: ConnectionOptions): Layer.Layer<Connection, RedisError> =>
  Layer.effect(Connection, makeConnection(options))

/**
 * {@link layerConnection} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnectionConfig = (
  options: Config.Wrap<ConnectionOptions>
): Layer.Layer<Connection, RedisError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerConnection))
