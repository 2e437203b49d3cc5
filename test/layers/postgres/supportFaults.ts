/** What the fault tests of this room are written with: an administrator, queues over schemas of their own, and private servers. */
import * as fs from "node:fs"
import * as Net from "node:net"
import * as path from "node:path"
import * as PgClient from "@effect/sql-pg/PgClient"
import { type Context, Effect, Layer, Redacted, Schedule, Schema, Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { type Server, serverUrl } from "../../servers/index.ts"
import { until } from "../../support/faults.ts"
import { freshSchema } from "./support.ts"

export const Jobs = Queue.define("jobs", {
  payload: Schema.Finite,
  retry: { times: 10, schedule: Schedule.spaced("20 millis") }
})

/** Short limits, so that an outage is over within a test. */
export const impatient = { connectTimeout: "1 second", commandTimeout: "1 second", tracing: false } as const

/** Runs one statement; a failure ends the test. */
export type Admin = (
  statement: string,
  params?: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>>

/** A client of the test's own, apart from every layer. */
export const clientOf = (url: string, maxConnections = 4): Effect.Effect<PgClient.PgClient, never, Scope.Scope> =>
  Effect.gen(function* () {
    // One of its own, which is open while those that were added to the test's later are closed.
    const scope = yield* Scope.fork(yield* Effect.scope)
    return yield* PgClient.make({ url: Redacted.make(url), maxConnections, applicationName: "test" }).pipe(
      Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
      Scope.provide(scope),
      Effect.orDie
    )
  })

/** An administrator of a server. */
export const adminOf = (url: string): Effect.Effect<Admin, never, Scope.Scope> =>
  Effect.map(
    clientOf(url),
    (client) => (statement, params) =>
      Effect.orDie(client.unsafe<Readonly<Record<string, unknown>>>(statement, params ?? []))
  )

export interface Place {
  readonly url: string
  readonly schema: string
  readonly admin: Admin
}

/** A schema of one's own on the shared server, gone when the test has ended. */
export const place: Effect.Effect<Place, never, Scope.Scope> = Effect.gen(function* () {
  const url = yield* Effect.orDie(serverUrl("postgres"))
  const schema = freshSchema()
  const admin = yield* adminOf(url)
  yield* Effect.addFinalizer(() => admin(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`))
  return { url, schema, admin }
})

/** A queue over a connection of its own, to be provided. */
export const queueOver = (
  options: Postgres.ConnectionOptions & Postgres.QueueOptions
): Effect.Effect<Context.Context<Queue.Queue>, Postgres.PostgresError, Scope.Scope> =>
  Layer.build(Layer.fresh(Postgres.layerQueue({ ...impatient, ...options })))

/** A queue and the connection under it, whose client opens the program's transactions. */
export const roomOver = (options: Postgres.ConnectionOptions & Postgres.QueueOptions) =>
  Layer.build(
    Layer.fresh(
      Layer.provideMerge(
        Postgres.layerQueueConnected({ tracing: false, ...options }),
        Postgres.layerConnection({ ...impatient, ...options })
      )
    )
  )

/** How many sessions of the server have this name. */
export const sessionsOf = (admin: Admin, applicationName: string): Effect.Effect<number> =>
  Effect.map(
    admin("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1", [applicationName]),
    (rows) => rows[0]!["n"] as number
  )

/** What a worker was given, in the order of its handlers. */
export interface Handled {
  readonly n: number
  readonly attempt: number
  readonly deliveryCount: number
}

/** A worker that writes down what it was given. */
export const handling = (options: Queue.WorkerOptions<never> = {}) =>
  Effect.gen(function* () {
    const handled: Array<Handled> = []
    yield* Layer.build(
      Jobs.worker(
        (n, { attempt, deliveryCount }) => Effect.sync(() => void handled.push({ n, attempt, deliveryCount })),
        { lease: "1 second", ...options }
      )
    )
    return handled
  })

/** Lets a server read its files again; returns when new sessions go by them. */
export const reload = (admin: Admin): Effect.Effect<void> =>
  Effect.gen(function* () {
    const read = Effect.map(admin("SELECT pg_conf_load_time()::text AS t"), (rows) => rows[0]!["t"])
    const before = yield* read
    yield* admin("SELECT pg_reload_conf()")
    // Sessions are told after the server has read them itself.
    yield* until(
      "the settings are read",
      Effect.map(read, (now) => now !== before)
    )
  })

/** Puts rules of access before those of a private server. */
export const admit = (server: Server, admin: Admin, rules: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.andThen(
    Effect.sync(() => {
      const file = path.join(server.directory!, "data/pg_hba.conf")
      fs.writeFileSync(file, `${rules.join("\n")}\n${fs.readFileSync(file, "utf8")}`)
    }),
    reload(admin)
  )

/** A server that does this to who connects; ends with the scope. */
export const listener = (meet: (socket: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Net.Server; readonly open: Set<Net.Socket> }>((resume) => {
      const open = new Set<Net.Socket>()
      const server = Net.createServer((socket) => {
        open.add(socket)
        socket.on("error", () => undefined)
        meet(socket)
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, open })))
    }),
    ({ open, server }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of open) socket.destroy()
      })
  ).pipe(Effect.map(({ server }) => (server.address() as Net.AddressInfo).port))

/** An encoded message, as a driver takes it. */
export const message = (queue: string, id: string, options?: Partial<Queue.Envelope>): Queue.Envelope => ({
  v: 1,
  id,
  queue,
  name: "",
  payload: "1",
  encoding: "json",
  enqueuedAt: 0,
  priority: 0,
  headers: {},
  meta: {},
  ...options
})

/** A role whose sessions begin with these settings. */
export const roleWith = (
  { admin, schema }: Place,
  settings: Readonly<Record<string, string>>
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function* () {
    const role = `role-${schema}`
    yield* Effect.acquireRelease(admin(`CREATE ROLE "${role}" SUPERUSER LOGIN`), () =>
      Effect.andThen(admin(`DROP OWNED BY "${role}" CASCADE`), admin(`DROP ROLE "${role}"`))
    )
    for (const [name, value] of Object.entries(settings)) yield* admin(`ALTER ROLE "${role}" SET ${name} = '${value}'`)
    return role
  })
