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
import type { Place } from "./choose.ts"
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

type Opening<A> = Effect.Effect<A, DiscoveryError, Scope.Scope>

/** A connection, and what can be had over it. */
export interface Room {
  readonly kv?: Opening<Kv.Service> | undefined
  readonly queue?: Opening<Queue.Service> | undefined
  /** Both over one store: commits may hold messages, where the context has `Kv.SharedQueue`. */
  readonly both?: Opening<Context.Context<Kv.Kv | Queue.Queue>> | undefined
}

const classes = { InvalidAddress, Unreachable, AuthRefused, TlsRefused, WrongServer } as const

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
const translate =
  (blame: Blame, library?: string) =>
  (error: RoomError): DiscoveryError => {
    const tag = error.reason._tag
    const fields = { ...blame, detail: error.message.replace(/\.$/, "") }
    if (tag === "PackageMissing" && library !== undefined)
      return new DiscoveryError({ reason: new PackageMissing({ ...fields, package: library }), cause: error })
    const name = renamed[tag] ?? tag
    const reason = Object.hasOwn(classes, name)
      ? new classes[name as keyof typeof classes](fields)
      : new Unsupported(fields)
    return new DiscoveryError({ reason, cause: error })
  }

const load = <A>(blame: Blame, library: string | undefined, from: () => Promise<A>): Effect.Effect<A, DiscoveryError> =>
  Effect.tryPromise({
    try: from,
    catch: (cause) => {
      const text = cause instanceof Error ? cause.message : String(cause)
      const missing = library !== undefined && text.includes(library) && /find|resolve|not found|ERR_MODULE/i.test(text)
      return new DiscoveryError({
        reason: missing
          ? new PackageMissing({ ...blame, detail: `${library} is not installed`, package: library })
          : new Unsupported({ ...blame, detail: `its module does not load: ${text.split("\n")[0]}` }),
        cause
      })
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
const shareOfRoom = 0.9

const bounded = <A, R>(
  blame: Blame,
  millis: number,
  connecting: Effect.Effect<A, DiscoveryError, R>
): Effect.Effect<A, DiscoveryError, R> =>
  Effect.timeoutOrElse(connecting, {
    duration: millis,
    orElse: () =>
      Effect.fail(
        new DiscoveryError({
          reason: new Unreachable({
            ...blame,
            detail: `it was not connected within ${Duration.format(Duration.millis(millis))} (probeTimeout); start the server, or correct the address`
          })
        })
      )
  })

/** Builds a layer in the scope of whoever asks, over services that are there. */
const build = <A, E extends RoomError, R>(
  blame: Blame,
  layer: Layer.Layer<A, E, R>,
  context: Context.Context<R>
): Opening<Context.Context<A>> =>
  Effect.mapError(Layer.build(Layer.provide(Layer.fresh(layer), Layer.succeedContext(context))), translate(blame))

const redis = Effect.fnUntraced(function* (address: Address, options: Options, blame: Blame, probeTimeout: number) {
  const room = yield* load(blame, "ioredis", () => import("../layers/redis/index.ts"))
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
  const context = yield* bounded(
    blame,
    probeTimeout,
    Effect.mapError(Layer.build(Layer.fresh(room.layerConnection(connection))), translate(blame))
  )
  const seams = seamOptions(options, logLength)
  return {
    kv: Effect.map(build(blame, room.layerKvConnected(seams), context), Context.get(Kv.Kv)),
    queue: Effect.map(build(blame, room.layerQueueConnected(seams), context), Context.get(Queue.Queue)),
    both: build(blame, room.layerConnected(seams), context)
  } satisfies Room
})

const rabbitmq = Effect.fnUntraced(function* (address: Address, options: Options, blame: Blame, probeTimeout: number) {
  const room = yield* load(blame, "amqplib", () => import("../layers/rabbitmq/index.ts"))
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
  const context = yield* bounded(
    blame,
    probeTimeout,
    Effect.mapError(Layer.build(Layer.fresh(room.layerConnection(connection))), translate(blame))
  )
  const seam = given({ tracing: options.tracing, deadLetters: options.deadLetters, channels, queueType, window })
  return {
    queue: Effect.map(build(blame, room.layerQueueConnected(seam), context), Context.get(Queue.Queue))
  } satisfies Room
})

const postgres = Effect.fnUntraced(function* (
  place: Extract<Place, { readonly backend: "postgres" }>,
  options: Options,
  blame: Blame,
  probeTimeout: number
) {
  const room = yield* load(blame, "@effect/sql-pg", () => import("../layers/postgres/index.ts"))
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
  // Not bounded as a whole: the first process may have a schema to make, and others wait for it.
  const connection = { connectTimeout: probeTimeout * shareOfRoom, ...given(where), ...given(more) }
  const context = yield* Effect.mapError(Layer.build(Layer.fresh(room.layerConnection(connection))), translate(blame))
  const seams = seamOptions(options, logLength)
  return {
    kv: Effect.map(build(blame, room.layerKvConnected(seams), context), Context.get(Kv.Kv)),
    queue: Effect.map(build(blame, room.layerQueueConnected(seams), context), Context.get(Queue.Queue)),
    both: build(blame, room.layerConnected(seams), context)
  } satisfies Room
})

const sqlite = Effect.fnUntraced(function* (path: string | undefined, options: Options, blame: Blame) {
  const room = yield* load(blame, undefined, () => import("../layers/sqlite/index.ts"))
  const { path: _, ...more } = options.sqlite ?? {}
  const context = yield* Effect.mapError(
    Layer.build(
      Layer.fresh(room.layerConnection({ ...given({ filename: path, limits: options.limits }), ...given(more) }))
    ),
    translate(blame)
  )
  const seams = given({ tracing: options.tracing, deadLetters: options.deadLetters })
  return {
    kv: Effect.map(build(blame, room.layerKvConnected(seams), context), Context.get(Kv.Kv)),
    queue: Effect.map(build(blame, room.layerQueueConnected(seams), context), Context.get(Queue.Queue)),
    both: build(blame, room.layerConnected(seams), context)
  } satisfies Room
})

const memory = Effect.fnUntraced(function* (options: Options, blame: Blame) {
  const room = yield* load(blame, undefined, () => import("../layers/memory/index.ts"))
  const both = room.layerWith(
    given({ limits: options.limits, tracing: options.tracing, deadLetters: options.deadLetters })
  )
  const context = yield* Layer.build(Layer.fresh(both))
  return {
    kv: Effect.succeed(Context.get(context, Kv.Kv)),
    queue: Effect.succeed(Context.get(context, Queue.Queue)),
    both: Effect.succeed(context)
  } satisfies Room
})

/** Connects, and asks the server what it is. The connection lasts as long as the scope. */
export const openRoom = (place: Place, options: Options, blame: Blame, probeTimeout: number): Opening<Room> => {
  switch (place.backend) {
    case "redis":
      return redis(place.address, options, blame, probeTimeout)
    case "rabbitmq":
      return rabbitmq(place.address, options, blame, probeTimeout)
    case "postgres":
      return postgres(place, options, blame, probeTimeout)
    case "sqlite":
      return sqlite(place.path, options, blame)
    case "memory":
      return memory(options, blame)
    case "denokv":
      return Effect.fail(new DiscoveryError({ reason: new Unsupported({ ...blame, detail: "to be connected" }) }))
  }
}
