/**
 * One AMQP connection that comes back: amqplib makes it, and this file makes the next one when it breaks. Channels, consumers and
 * confirms do not survive a connection; whoever has some listens to `changed`, and makes them again.
 */
import type { Duplex } from "node:stream"
// Of the event loop, in which amqplib hands its frames on: fibers may take several in one.
import { setImmediate as nextTurn } from "node:timers"
import * as amqplib from "amqplib"
import type { Channel, ChannelModel, ConfirmChannel, Options } from "amqplib"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { Signal } from "../../internal/signal.ts"
import { RabbitMqError, Unreachable, WrongServer } from "./errors.ts"
import { AmqpFault, closedFault, connectError, faultOf } from "./faults.ts"
import type { Node, Target } from "./target.ts"

/**
 * What a broker says of itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerFacts {
  readonly product: string
  /** As it says it, such as `3.10.8`. */
  readonly version: string
  readonly major: number
  readonly minor: number
  /** Of the cluster. */
  readonly name: string
  /** Seconds, as agreed on. 0: none. */
  readonly heartbeat: number
}

/** A connection that stood when it was handed out. */
export interface Session {
  readonly model: ChannelModel
  readonly server: ServerFacts
  readonly address: string
  /** Why it ended; `undefined` while it stands. */
  ended: string | undefined
  /** Why the broker blocks publishers; `undefined` while it does not. */
  blocked: string | undefined
  /** Called before something is sent: all that is sent in this turn of the event loop goes out together. */
  readonly gather: () => void
}

export interface Link {
  /** The connection. During an outage it is waited for, within the limit. */
  readonly session: Effect.Effect<Session, AmqpFault>
  /** The connection, if there is one now. */
  readonly current: () => Session | undefined
  /** Raised when a connection came, ended, was blocked or unblocked. */
  readonly changed: Signal
  /** A channel; its broken ends are silent, as each of its calls fails. */
  readonly channel: Effect.Effect<Channel, AmqpFault>
  readonly confirmChannel: Effect.Effect<ConfirmChannel, AmqpFault>
}

const longestPause = 2_000
/** How long the closing handshake may take. */
const closing = 2_000

const versionOf = (text: string): readonly [number, number] => {
  const found = /^(\d+)\.(\d+)/.exec(text)
  return found === null ? [0, 0] : [Number(found[1]), Number(found[2])]
}

interface Inner {
  readonly serverProperties: Readonly<Record<string, unknown>>
  readonly heartbeat?: number
  readonly stream?: Duplex
}

const innerOf = (model: ChannelModel): Inner => model.connection as unknown as Inner

const factsOf = (model: ChannelModel, node: Node): ServerFacts | RabbitMqError => {
  const { heartbeat = 0, serverProperties } = innerOf(model)
  const said = (key: string): string => {
    const value = serverProperties[key]
    return typeof value === "string" ? value : ""
  }
  const able = (serverProperties["capabilities"] ?? {}) as Readonly<Record<string, unknown>>
  const version = said("version")
  const product = said("product")
  const [major, minor] = versionOf(version)
  // Brokers that speak the protocol and lack quorum queues would take our arguments without a word, and lose messages.
  if (product !== "RabbitMQ" || able["publisher_confirms"] !== true || major < 3 || (major === 3 && minor < 10))
    return new RabbitMqError({
      reason: new WrongServer({
        address: node.address,
        detail: `it is ${product} ${version}; this layer works with RabbitMQ from 3.10 on`
      })
    })
  return { product, version, major, minor, name: said("cluster_name"), heartbeat }
}

/** amqplib writes each frame by itself, and a system call for each message is a third of the cost of a message. */
const gathering = (stream: Duplex | undefined): (() => void) => {
  if (stream === undefined) return () => undefined
  let isCorked = false
  let goesOn = false
  // Frames reach the stream in the next turn.
  const hold = () => {
    stream.cork()
    nextTurn(() => nextTurn(release))
  }
  const release = () => {
    stream.uncork()
    isCorked = goesOn
    goesOn = false
    if (isCorked) hold()
  }
  const gather = () => {
    goesOn = isCorked
    if (isCorked) return
    isCorked = true
    hold()
  }
  stream.prependListener("drain", gather)
  return gather
}

/** Ends a connection, also one whose other side is frozen or gone. */
const end = (model: ChannelModel): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const ended = () => resume(Effect.void)
    model.once("close", ended)
    // It throws when it has ended already.
    new Promise<void>((resolve) => resolve(model.close())).then(ended, ended)
  }).pipe(Effect.timeoutOption(closing), Effect.andThen(Effect.sync(() => innerOf(model).stream?.destroy())))

const overAtOnce = ({ address }: Node): RabbitMqError =>
  new RabbitMqError({ reason: new Unreachable({ address, detail: "it closed the connection as soon as it was open" }) })

/** Hands the connection over at once, so that nothing can come between and leave it to nobody. */
const connectTo = (
  node: Node,
  target: Target,
  role: string,
  adopt: (model: ChannelModel, server: ServerFacts) => void
): Effect.Effect<void, RabbitMqError> => {
  const url: Options.Connect = {
    protocol: node.tls === undefined ? "amqp" : "amqps",
    hostname: node.host,
    port: node.port,
    username: node.username,
    password: node.password,
    vhost: encodeURIComponent(node.vhost),
    heartbeat: target.heartbeat
  }
  return Effect.callback<void, RabbitMqError>((resume) => {
    let given = false
    amqplib
      .connect(url, {
        ...node.tls,
        noDelay: true,
        keepAlive: true,
        keepAliveDelay: 10_000,
        timeout: target.connectTimeout,
        clientProperties: { connection_name: `${target.connectionName} (${role})` }
      })
      .then(
        (model) => {
          // Without a listener an error would end the process.
          model.on("error", () => undefined)
          // amqplib takes in all of a read at once: an end that came with the last answer has told its listeners already.
          const isOver = innerOf(model).stream?.writableEnded === true
          const server = isOver ? overAtOnce(node) : factsOf(model, node)
          if (given || server instanceof RabbitMqError) void Effect.runFork(end(model))
          else adopt(model, server)
          resume(server instanceof RabbitMqError ? Effect.fail(server) : Effect.void)
        },
        (error: unknown) => resume(Effect.fail(connectError(node, error)))
      )
    return Effect.sync(() => void (given = true))
  }).pipe(
    Effect.timeoutOrElse({
      // Beside the socket's own limit, which bytes that come one by one would push on and on.
      duration: target.connectTimeout + 500,
      orElse: () =>
        Effect.fail(
          new RabbitMqError({
            reason: new Unreachable({ address: node.address, detail: `no answer within ${target.connectTimeout} ms` })
          })
        )
    })
  )
}

/** Connects, and keeps a connection until the scope closes. `role`: what is added to its name. */
export const makeLink = (target: Target, role: string): Effect.Effect<Link, RabbitMqError, Scope.Scope> =>
  Effect.gen(function* () {
    const realClock = Clock.Clock.defaultValue()
    const changed = new Signal()
    let session: Session | undefined
    let trouble = "there is no connection to the broker"
    let isClosed = false
    let turn = 0

    const adopt = (node: Node) => (model: ChannelModel, server: ServerFacts) => {
      const made: Session = {
        model,
        server,
        address: node.address,
        ended: undefined,
        blocked: undefined,
        gather: gathering(innerOf(model).stream)
      }
      let why = ""
      model.on("error", (error) => (why = error.message))
      model.on("close", (error?: Error) => {
        made.ended = why === "" ? (error?.message ?? "it was closed") : why
        if (session === made) session = undefined
        trouble = `the connection to ${node.address} ended: ${made.ended}`
        // A frozen peer never ends its half, and the socket would keep the process.
        innerOf(model).stream?.destroy()
        changed.raise()
      })
      model.on("blocked", (reason) => {
        made.blocked = reason
        changed.raise()
      })
      model.on("unblocked", () => {
        made.blocked = undefined
        changed.raise()
      })
      session = made
      changed.raise()
    }

    /** Each node once, beginning behind the one tried last. Of several failures the first is told, or one that does not pass by itself. */
    const connect: Effect.Effect<void, RabbitMqError> = Effect.suspend(() => {
      const nodes = target.nodes.map((_, i) => target.nodes[(turn + i) % target.nodes.length]!)
      const attempt = (node: Node) => connectTo(node, target, role, adopt(node))
      return nodes.slice(1).reduce(
        (sofar, node) =>
          Effect.catch(sofar, (error) => {
            turn++
            return Effect.mapError(attempt(node), (next) => (next.isRetryable ? error : next))
          }),
        attempt(nodes[0]!)
      )
    })

    const connecting = connect.pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          turn++
          trouble = error.message
          changed.raise()
        })
      )
    )

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        const last = session
        session = undefined
        changed.raise()
        return last === undefined ? Effect.void : end(last.model)
      }).pipe(Effect.provideService(Clock.Clock, realClock))
    )
    yield* Effect.provideService(connect, Clock.Clock, realClock)

    const keep = Effect.gen(function* () {
      let failures = 0
      while (true) {
        const version = changed.version
        if (session !== undefined) {
          failures = 0
          yield* changed.after(version)
          continue
        }
        const pause = Math.min(longestPause, 25 * 2 ** Math.min(failures, 8)) * (0.5 + (yield* Random.next))
        yield* Effect.sleep(pause)
        const exit = yield* Effect.exit(connecting)
        if (Exit.isFailure(exit)) failures++
        if (failures === 1) yield* Effect.logWarning(`effect-seams: ${trouble} Trying again until it answers.`)
      }
    })
    yield* Effect.forkScoped(Effect.provideService(keep, Clock.Clock, realClock))

    const standing: Effect.Effect<Session, AmqpFault> = Effect.suspend(() =>
      isClosed ? Effect.fail(closedFault) : session === undefined ? coming : Effect.succeed(session)
    )
    const coming: Effect.Effect<Session, AmqpFault> = Effect.suspend(() => changed.after(changed.version)).pipe(
      Effect.andThen(standing)
    )
    const limited = Effect.timeoutOrElse(standing, {
      duration: target.commandTimeout,
      orElse: () => Effect.fail(new AmqpFault("unsent", trouble))
    }).pipe(Effect.provideService(Clock.Clock, realClock))

    const open = <C extends Channel>(make: (model: ChannelModel) => Promise<C>): Effect.Effect<C, AmqpFault> =>
      Effect.flatMap(limited, ({ model }) =>
        Effect.callback<C, AmqpFault>((resume) => {
          let given = false
          // It throws when the connection has ended meanwhile, or has no channel left.
          new Promise<C>((resolve) => resolve(make(model))).then(
            (channel) => {
              channel.on("error", () => undefined)
              if (given) return void channel.close().catch(() => undefined)
              given = true
              resume(Effect.succeed(channel))
            },
            (error: unknown) => resume(Effect.fail(new AmqpFault("unsent", faultOf(error).detail)))
          )
          return Effect.sync(() => void (given = true))
        })
      ).pipe(
        Effect.timeoutOrElse({
          duration: target.commandTimeout,
          orElse: () =>
            Effect.fail(new AmqpFault("unsent", `the broker opened no channel within ${target.commandTimeout} ms`))
        }),
        Effect.provideService(Clock.Clock, realClock)
      )

    return {
      session: limited,
      current: () => session,
      changed,
      channel: open((model) => model.createChannel()),
      confirmChannel: open((model) => model.createConfirmChannel())
    }
  })
