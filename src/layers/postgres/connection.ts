import * as PgClient from "@effect/sql-pg/PgClient"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import { readConfig } from "../../internal/environment.ts"
import { connectErrorAt } from "./connectError.ts"
import { PostgresError, Unreachable, WrongServer } from "./errors.ts"
import type { PostgresFault } from "./faults.ts"
import type { Hints } from "./hints.ts"
import { makeHints } from "./hints.ts"
import { migrated } from "./migrate.ts"
import type { ConnectionOptions, SchemaOptions } from "./options.ts"
import { inSchema } from "./schema/migrations.ts"
import type { Session } from "./session.ts"
import { limited, makeSession } from "./session.ts"
import { makeSockets, type Sockets } from "./sockets.ts"
import { placeOf, type Place, type Settings, settingsOf, targetOf } from "./target.ts"

/**
 * The server behind a connection.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerFacts {
  /** As `server_version_num`: 150004 for 15.4. */
  readonly version: number
  readonly fsync: boolean
  readonly synchronousCommit: string
}

/**
 * A client and a schema, shared by the drivers of this room. A program only passes it on, to build layers over one connection.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionService extends Session {
  /** The entries of the Kv are kept in unlogged tables. */
  readonly unlogged: boolean
  /** Where the server is, without credentials. */
  readonly address: string
  readonly schema: string
  /** Puts the schema's name in the place of `seams.` in a statement. */
  readonly sql: (statement: string) => string
  readonly client: PgClient.PgClient
  readonly server: ServerFacts
  /** Identity of the store: equal for all connections of this process to the same tables. */
  readonly store: symbol
  readonly hints: Hints
  /** How long somebody who waits leaves between two looks of his own, in milliseconds. */
  readonly pollInterval: () => number
  /** The time limit of one statement, in milliseconds. */
  readonly commandTimeout: number
  readonly realClock: Clock.Clock
  /** The server's clock, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, PostgresFault>
  readonly ping: Effect.Effect<void, PostgresFault>
}

/**
 * The connection of the PostgreSQL layers as a service, for programs that build Kv and Queue from one connection by hand.
 *
 * @since 0.1.0
 * @category services
 */
export class Connection extends Context.Service<Connection, ConnectionService>()(
  "effect-seams/layers/postgres/Connection"
) {}

/** While hints arrive, a look of one's own is for those that were lost. */
const safetyPoll = 5_000
const oldestServer = 130_000
/** With the wait for others who migrate. */
const longestMigration = 60_000

const factsOf = (client: PgClient.PgClient, place: Place): Effect.Effect<ServerFacts, PostgresError> =>
  Effect.gen(function* () {
    const { address } = place
    const rows = yield* Effect.catch(
      client.unsafe<Readonly<Record<"version" | "fsync" | "synchronous" | "readonly", string>>>(
        "SELECT current_setting('server_version_num') AS version, current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous, current_setting('transaction_read_only') AS readonly"
      ),
      connectErrorAt(place)
    )
    const { fsync, readonly, synchronous, version } = rows[0]!
    const detail =
      Number(version) < oldestServer
        ? `its version is ${Math.floor(Number(version) / 10_000)}, and 13 is the oldest that works`
        : readonly === "on"
          ? "it is a standby, or read-only for this role; give the address of the primary"
          : undefined
    if (detail !== undefined) return yield* new PostgresError({ reason: new WrongServer({ address, detail }) })
    return { version: Number(version), fsync: fsync === "on", synchronousCommit: synchronous }
  })

const connected = (
  client: PgClient.PgClient,
  place: Place,
  settings: Settings,
  sockets: Sockets
): Effect.Effect<ConnectionService, PostgresError, Scope.Scope> =>
  Effect.gen(function* () {
    const { commandTimeout, pollInterval, schema } = settings
    const { address, connectTimeout } = place
    const realClock = Clock.Clock.defaultValue()
    // A transaction that is open where the layer is built is none of ours.
    const outside = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.updateContext(
        effect,
        Context.omit(client.transactionService) as unknown as (context: Context.Context<R>) => Context.Context<R>
      )
    const bounded = <A>(effect: Effect.Effect<A, PostgresError>, millis: number): Effect.Effect<A, PostgresError> =>
      limited(outside(effect), millis, realClock, () => {
        const detail = `it did not answer within ${millis} ms`
        return new PostgresError({ reason: new Unreachable({ address, detail }) })
      })
    const server = yield* bounded(factsOf(client, place), connectTimeout + commandTimeout)
    const { store } = yield* bounded(migrated(client, address, settings), Math.max(commandTimeout, longestMigration))
    const session = makeSession(client, commandTimeout, realClock)
    const unlogged = yield* Effect.match(
      session.apart(
        "SELECT c.relpersistence = 'u' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'kv'",
        [schema]
      ),
      { onFailure: () => false, onSuccess: ([row]) => row?.[0] === true }
    )
    const hints = yield* outside(makeHints(client, session, settings, store, sockets, realClock))
    // Before all that closes here, and after those who use it.
    yield* Effect.addFinalizer(() => sockets.expire)
    return {
      ...session,
      address,
      schema,
      sql: (statement) => inSchema(schema, statement),
      client,
      server,
      unlogged,
      store: Symbol.for(`effect-seams/layers/postgres/${store}`),
      hints,
      pollInterval: () => (hints.live() ? safetyPoll : pollInterval),
      commandTimeout,
      realClock,
      now: Effect.map(session.query("SELECT date_part('epoch', clock_timestamp()) * 1000", []), ([row]) =>
        // Half a microsecond, for what a floating-point number cannot say: 122.9999 is 123.
        Math.floor((row![0] as number) + 0.0005)
      ),
      ping: Effect.asVoid(session.apart("SELECT 1", []))
    }
  })

/**
 * Connects for the life of a scope, and makes the schema ready. Lost connections come back by themselves.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnection = (
  options: ConnectionOptions = {}
): Effect.Effect<ConnectionService, PostgresError, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = settingsOf(options)
    if (settings instanceof PostgresError) return yield* settings
    const target = targetOf(options)
    if (target instanceof PostgresError) return yield* target
    // A scope that is closing gives no new connections: those who share it may need one to settle what they hold.
    const scope = yield* Scope.fork(yield* Effect.scope)
    const sockets = yield* Scope.provide(makeSockets, scope)
    const client = yield* PgClient.make(sockets.of(target.config, target)).pipe(
      Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
      Scope.provide(scope),
      Effect.catch(connectErrorAt(target))
    )
    return yield* connected(client, target, settings, sockets)
  })

/**
 * The same over a client that the program has; the client is used and not closed. One of its connections listens: give it two at least.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnectionFrom = (
  client: PgClient.PgClient,
  options: SchemaOptions = {}
): Effect.Effect<ConnectionService, PostgresError, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = settingsOf(options)
    if (settings instanceof PostgresError) return yield* settings
    return yield* connected(client, placeOf(client.config), settings, yield* makeSockets)
  })

/**
 * {@link makeConnection} as a layer. Its client comes with it: `withTransaction` of that client is what enqueues, settles and Kv writes join.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (
  options?: ConnectionOptions
): Layer.Layer<Connection | PgClient.PgClient | SqlClient, PostgresError> =>
  Layer.effectContext(
    Effect.map(makeConnection(options), (connection) =>
      Context.make(Connection, connection).pipe(
        Context.add(PgClient.PgClient, connection.client),
        Context.add(SqlClient, connection.client)
      )
    )
  )

/**
 * {@link layerConnection} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnectionConfig = (
  options: Config.Wrap<ConnectionOptions>
): Layer.Layer<Connection | PgClient.PgClient | SqlClient, PostgresError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerConnection))

/**
 * {@link makeConnectionFrom} as a layer, over the `PgClient` of the program.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnectionFrom = (
  options?: SchemaOptions
): Layer.Layer<Connection, PostgresError, PgClient.PgClient> =>
  Layer.effect(
    Connection,
    Effect.flatMap(PgClient.PgClient, (client) => makeConnectionFrom(client, options))
  )
