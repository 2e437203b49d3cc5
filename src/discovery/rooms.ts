/**
 * From a place to services. A room is imported when it is chosen and not before: only then must its package be installed.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Kv from "../Kv.ts"
import * as Queue from "../Queue.ts"
import type { Address } from "./address/model.ts"
import { isRemote, type Place } from "./choose.ts"
import { withDeadline } from "./deadline.ts"
import {
  AuthRefused,
  DiscoveryError,
  InvalidAddress,
  PackageMissing,
  TlsRefused,
  Unreachable,
  Unsupported,
  WrongServer
} from "./errors.ts"
import type { Options, TlsOptions } from "./options.ts"

/** Whom a failure concerns. */
export interface Blame {
  readonly seam: string
  readonly source: string
  readonly address: string | null
}

const classes = { InvalidAddress, Unreachable, AuthRefused, TlsRefused, WrongServer, Unsupported } as const

/** Why a room does not open. Who asked for it is not said yet: several may wait for one connection. */
class Fault {
  readonly tag: keyof typeof classes | "PackageMissing"
  readonly detail: string
  readonly cause: unknown
  readonly library: string
  constructor(tag: Fault["tag"], detail: string, cause: unknown, library = "") {
    this.tag = tag
    this.detail = detail
    this.cause = cause
    this.library = library
  }
}

export type { Fault }

export const blamed =
  (blame: Blame) =>
  ({ cause, detail, library, tag }: Fault): DiscoveryError => {
    const fields = { seam: blame.seam, source: blame.source, address: blame.address, detail }
    const reason =
      tag === "PackageMissing" ? new PackageMissing({ ...fields, package: library }) : new classes[tag](fields)
    return new DiscoveryError(cause === undefined ? { reason } : { reason, cause })
  }

type Opening<A> = Effect.Effect<A, Fault, Scope.Scope>

/** A connection, and what can be had over it by those who share it, each with options of its own for the seams. */
export interface Room {
  readonly kv?: ((options: Options) => Opening<Kv.Service>) | undefined
  readonly queue?: ((options: Options) => Opening<Queue.Service>) | undefined
  /** Both over one store: commits may hold messages, where the context has `Kv.SharedQueue`. */
  readonly both?: ((options: Options) => Opening<Context.Context<Kv.Kv | Queue.Queue>>) | undefined
}

/** What the rooms call otherwise. */
const renamed: Readonly<Record<string, keyof typeof classes>> = {
  InvalidOption: "InvalidAddress",
  InvalidPath: "InvalidAddress",
  NotAFile: "InvalidAddress",
  DirectoryMissing: "InvalidAddress",
  TokenMissing: "AuthRefused"
}

interface RoomError {
  readonly message: string
  readonly reason: { readonly _tag: string; readonly message: string }
}

/** An error of a room as one of discovery. */
const translate = (error: RoomError): Fault => {
  const tag = error.reason._tag
  const name = renamed[tag] ?? tag
  const detail = error.message.replace(/\.$/, "")
  if (tag === "PackageMissing") return new Fault("PackageMissing", detail, error, "@deno/kv")
  return new Fault(Object.hasOwn(classes, name) ? (name as keyof typeof classes) : "Unsupported", detail, error)
}

const load = <A>(library: string | undefined, from: () => Promise<A>): Effect.Effect<A, Fault> =>
  Effect.tryPromise({
    try: from,
    catch: (cause) => {
      const text = (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]!
      // No runtime says it in the same words; all name the package.
      return library !== undefined && text.includes(library)
        ? new Fault("PackageMissing", `${library} does not load (${text})`, cause, library)
        : new Fault("Unsupported", `its module does not load: ${text}`, cause)
    }
  })

const given = <A extends object>(options: A): { readonly [K in keyof A]?: Exclude<A[K], undefined> } =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never

/** What the seams of every room are told. */
const seamOptions = ({ deadLetterRetention, deadLetters, limits, tracing }: Options, logLength: number | undefined) =>
  given({ deadLetterRetention, deadLetters, limits, tracing, logLength })

/** What an address says about TLS, under what the options say. */
const tlsOf = (address: { readonly tls: boolean | undefined; readonly servername?: string | undefined }) => {
  if (address.tls !== true) return address.tls
  return address.servername === undefined ? true : { servername: address.servername }
}

const redacted = (text: string | undefined) => (text === undefined ? undefined : Redacted.make(text))

/** Within it the room itself gives up and says why; discovery waits a little longer, for whatever a room does not bound. */
const shareOfRoom = 0.8

const bounded = <A, E>(millis: number, connecting: Effect.Effect<A, E, Scope.Scope>) =>
  withDeadline(connecting, millis, () => {
    const limit = Duration.format(Duration.millis(millis))
    const detail = `it was not connected within ${limit} (probeTimeout); start the server, or correct the address`
    return new Fault("Unreachable", detail, undefined)
  })

/** Builds a layer in the scope of whoever asks, over services that are there. */
const build = <A, E extends RoomError, R>(
  layer: Layer.Layer<A, E, R>,
  context: Context.Context<R>
): Opening<Context.Context<A>> =>
  Effect.mapError(Layer.build(Layer.provide(Layer.fresh(layer), Layer.succeedContext(context))), translate)

const connected = <A, E extends RoomError>(layer: Layer.Layer<A, E>): Opening<Context.Context<A>> =>
  Effect.mapError(Layer.build(Layer.fresh(layer)), translate)

const redis = Effect.fnUntraced(function* (address: Address, options: Options, probeTimeout: number) {
  const room = yield* load("ioredis", () => import("../layers/redis/index.ts"))
  const { address: _, logLength, ...more } = options.redis ?? {}
  const [first, ...others] = address.endpoints
  const nodes = address.endpoints.map(({ host, port }) => ({ host, port: port ?? 6_379 }))
  const where =
    address.sentinel !== undefined
      ? { sentinel: { sentinels: nodes, name: address.sentinel } }
      : others.length > 0
        ? { cluster: nodes }
        : { host: first.host, port: first.port }
  const connection = given({
    namespace: options.namespace,
    connectTimeout: address.connectTimeout ?? probeTimeout * shareOfRoom,
    username: address.username,
    password: redacted(address.password),
    database: address.database === undefined ? undefined : Number(address.database),
    tls: tlsOf(address),
    clientName: address.clientName,
    ...where,
    ...given(more)
  })
  const context = yield* bounded(probeTimeout, connected(room.layerConnection(connection)))
  const seams = (asked: Options) => seamOptions(asked, logLength)
  return {
    kv: (asked) => Effect.map(build(room.layerKvConnected(seams(asked)), context), Context.get(Kv.Kv)),
    queue: (asked) => Effect.map(build(room.layerQueueConnected(seams(asked)), context), Context.get(Queue.Queue)),
    both: (asked) => build(room.layerConnected(seams(asked)), context)
  } satisfies Room
})

const rabbitmq = Effect.fnUntraced(function* (address: Address, options: Options, probeTimeout: number) {
  const room = yield* load("amqplib", () => import("../layers/rabbitmq/index.ts"))
  const { address: _, channels, queueType, window, ...more } = options.rabbitmq ?? {}
  const [first, ...others] = address.endpoints
  const connection = given({
    namespace: options.namespace,
    connectTimeout: address.connectTimeout ?? (probeTimeout * shareOfRoom) / address.endpoints.length,
    host: first.host,
    port: first.port,
    others,
    username: address.username,
    password: redacted(address.password),
    vhost: address.database,
    tls: tlsOf(address) as boolean | TlsOptions | undefined,
    connectionName: address.clientName,
    ...given(more)
  })
  const context = yield* bounded(probeTimeout, connected(room.layerConnection(connection)))
  const seam = ({ deadLetters, tracing }: Options) => given({ tracing, deadLetters, channels, queueType, window })
  return {
    queue: (asked) => Effect.map(build(room.layerQueueConnected(seam(asked)), context), Context.get(Queue.Queue))
  } satisfies Room
})

const postgres = Effect.fnUntraced(function* (
  place: Extract<Place, { readonly backend: "postgres" }>,
  options: Options,
  probeTimeout: number
) {
  const room = yield* load("@effect/sql-pg", () => import("../layers/postgres/index.ts"))
  const { address: _, logLength, ...more } = options.postgres ?? {}
  const { address } = place
  const where =
    address.url !== undefined
      ? { url: Redacted.make(address.url) }
      : {
          host: address.endpoint.host,
          port: address.endpoint.port,
          username: address.username,
          password: redacted(address.password),
          database: address.database,
          tls: address.tls === true ? true : undefined,
          applicationName: address.applicationName,
          connectTimeout: address.connectTimeout === undefined ? undefined : address.connectTimeout * 1_000
        }
  const connection = { connectTimeout: probeTimeout * shareOfRoom, ...given(where), ...given(more) }
  const open = (migrate: typeof more.migrate) =>
    Layer.build(Layer.fresh(room.layerConnection({ ...connection, ...given({ migrate }) })))
  const making = connection.migrate === undefined || connection.migrate === "auto"
  // The first process has a schema to make, or to bring up to its version, and others wait for it: that begins when the server has
  // answered, and is not cut short. The room has a limit for it.
  const context = yield* bounded(probeTimeout, open(making ? "check" : connection.migrate)).pipe(
    Effect.catchIf(
      (error) => making && !(error instanceof Fault) && error.reason._tag === "SchemaMissing",
      () => open("auto")
    ),
    Effect.mapError((error) => (error instanceof Fault ? error : translate(error)))
  )
  const seams = (asked: Options) => seamOptions(asked, logLength)
  return {
    kv: (asked) => Effect.map(build(room.layerKvConnected(seams(asked)), context), Context.get(Kv.Kv)),
    queue: (asked) => Effect.map(build(room.layerQueueConnected(seams(asked)), context), Context.get(Queue.Queue)),
    both: (asked) => build(room.layerConnected(seams(asked)), context)
  } satisfies Room
})

const sqlite = Effect.fnUntraced(function* (path: string | undefined, options: Options) {
  const room = yield* load(undefined, () => import("../layers/sqlite/index.ts"))
  const { path: _, ...more } = options.sqlite ?? {}
  const context = yield* connected(
    room.layerConnection({ ...given({ filename: path, limits: options.limits }), ...given(more) })
  )
  const seams = ({ deadLetters, tracing }: Options) => given({ tracing, deadLetters })
  return {
    kv: (asked) => Effect.map(build(room.layerKvConnected(seams(asked)), context), Context.get(Kv.Kv)),
    queue: (asked) => Effect.map(build(room.layerQueueConnected(seams(asked)), context), Context.get(Queue.Queue)),
    both: (asked) => build(room.layerConnected(seams(asked)), context)
  } satisfies Room
})

const denokv = Effect.fnUntraced(function* (
  { path, token }: Extract<Place, { readonly backend: "denokv" }>,
  options: Options,
  probeTimeout: number
) {
  const room = yield* load(undefined, () => import("../layers/denokv/index.ts"))
  const { accessToken: _, address: __, commandTimeout, logLength, pollInterval, ...more } = options.denokv ?? {}
  // An empty one: the room must not look for another, where no variable is to be read.
  const accessToken = token ?? (isRemote(path) ? "" : undefined)
  const connection = {
    path,
    ...given({
      accessToken: redacted(accessToken),
      connectTimeout: probeTimeout * shareOfRoom,
      timeout: commandTimeout
    }),
    ...given(more)
  }
  const context = yield* bounded(probeTimeout, connected(room.layerConnection(connection)))
  const both = ({ deadLetters, namespace, tracing }: Options) =>
    build(room.layerConnected(given({ tracing, deadLetters, namespace, pollInterval, logLength })), context)
  return {
    kv: ({ tracing }) =>
      Effect.map(build(room.layerKvConnected(given({ tracing, logLength })), context), Context.get(Kv.Kv)),
    queue: (asked) => Effect.map(both(asked), Context.get(Queue.Queue)),
    both
  } satisfies Room
})

const memory = Effect.fnUntraced(function* ({ limits }: Options) {
  const room = yield* load(undefined, () => import("../layers/memory/index.ts"))
  const store = Symbol("effect-seams/memory")
  const queues = yield* room.makeQueueDriver({ store })
  const entries = yield* room.makeKvDriver({ ...given({ limits }), store, joined: queues.joined })
  const kv = ({ tracing }: Options) => Kv.make(entries, { tracing })
  const queue = ({ deadLetters, tracing }: Options) => Queue.make(queues, { tracing, deadLetters })
  return {
    kv,
    queue,
    both: Effect.fnUntraced(function* (asked) {
      return Context.make(Kv.Kv, yield* kv(asked)).pipe(
        Context.add(Queue.Queue, yield* queue(asked)),
        Context.add(Kv.SharedQueue, { store })
      )
    })
  } satisfies Room
})

/** Connects, and asks the server what it is. The connection lasts as long as the scope. */
export const openRoom = (place: Place, options: Options, probeTimeout: number): Opening<Room> => {
  switch (place.backend) {
    case "redis":
      return redis(place.address, options, probeTimeout)
    case "rabbitmq":
      return rabbitmq(place.address, options, probeTimeout)
    case "postgres":
      return postgres(place, options, probeTimeout)
    case "sqlite":
      return sqlite(place.path, options)
    case "memory":
      return memory(options)
    case "denokv":
      return denokv(place, options, probeTimeout)
  }
}
