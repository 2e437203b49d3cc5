import type { Channel } from "amqplib"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import type * as Scope from "effect/Scope"
import { readConfig } from "../../internal/environment.ts"
import { RabbitMqError } from "./errors.ts"
import { AmqpFault, faultOf, notFound } from "./faults.ts"
import { type Link, makeLink, type ServerFacts } from "./link.ts"
import type { ConnectionOptions } from "./options.ts"
import { type Target, targetOf } from "./target.ts"

/**
 * The connections to a broker, shared by the queues of this room. A program only passes it on, to build layers over one connection. It
 * holds two: one publishes, so that a broker that blocks publishers does not stop acks; the other consumes.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionService {
  /** Where the broker is, without credentials. */
  readonly address: string
  readonly namespace: string
  /** What the broker said of itself when the layer was built. */
  readonly server: ServerFacts
  /** Identity of the store: equal for all connections of this process to the same namespace and virtual host of the same address. */
  readonly store: symbol
  readonly target: Target
  readonly publishing: Link
  readonly consuming: Link
  readonly realClock: Clock.Clock
  /** Ends when the connections are closed. */
  readonly scope: Scope.Scope
  /** One fiber reads dead letters: the broker keeps connections apart, not what shares one. */
  readonly reading: Semaphore.Semaphore
  /**
   * Uses a channel of its own, which the broker closes when it refuses something. On the connection that consumes: the broker does not listen
   * to the other one while it blocks publishers.
   */
  readonly call: <A>(use: (channel: Channel) => Promise<A>) => Effect.Effect<A, AmqpFault>
}

/**
 * The connection of the RabbitMQ layer as a service, for programs that build several queue services over one connection by hand.
 *
 * @since 0.1.0
 * @category services
 */
export class Connection extends Context.Service<Connection, ConnectionService>()(
  "effect-seams/layers/rabbitmq/Connection"
) {}

/** Waits for an answer on a channel, as long as the limit says. */
export const asked = <A>(ask: () => Promise<A>, limit: number): Effect.Effect<A, AmqpFault> =>
  Effect.tryPromise({ try: ask, catch: faultOf }).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail(new AmqpFault("unknown", `the broker did not answer within ${limit} ms`))
    }),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

/**
 * One after another. Who waits for a turn while another gets no answer fails with it: a broker that does not answer would otherwise let a
 * hundred of them fail one by one, each a limit later.
 */
export const inTurn = (link: Link): (<A>(effect: Effect.Effect<A, AmqpFault>) => Effect.Effect<A, AmqpFault>) => {
  const one = Semaphore.makeUnsafe(1)
  let outages = 0
  let last: AmqpFault | undefined
  return (effect) => {
    const turn = Effect.suspend(() => {
      const before = outages
      return one.withPermits(1)(
        Effect.suspend(() => (last !== undefined && outages !== before ? Effect.fail(last) : effect)).pipe(
          Effect.tapError((fault) =>
            Effect.sync(() => {
              if (fault.kind === "refused" || fault === last) return
              outages++
              last = fault
            })
          )
        )
      )
    })
    // The end of an outage is waited for beside one another.
    return Effect.andThen(link.session, turn)
  }
}

/** How many messages of a queue are held by nobody; none in one that is not there. */
export const depthOf = ({ call }: ConnectionService, queue: string): Effect.Effect<number, AmqpFault> =>
  Effect.map(
    call((channel) => channel.checkQueue(queue)),
    ({ messageCount }) => messageCount
  ).pipe(
    Effect.catchIf(
      (fault) => fault.code === notFound,
      () => Effect.succeed(0)
    )
  )

/** Ends a channel without waiting for anybody. */
export const drop = (channel: Channel): void => {
  try {
    channel.close().catch(() => undefined)
  } catch {
    // It has ended already.
  }
}

/**
 * Connects for the life of a scope, and keeps the connections until it closes. A lost connection comes back by itself, with a jittered
 * backoff of at most 2 seconds, on whichever of the given nodes answers.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnection = (
  options: ConnectionOptions = {}
): Effect.Effect<ConnectionService, RabbitMqError, Scope.Scope> =>
  Effect.gen(function* () {
    const target = targetOf(options)
    if (target instanceof RabbitMqError) return yield* target
    const publishing = yield* makeLink(target, "publish")
    const consuming = yield* makeLink(target, "consume")
    const scope = yield* Effect.scope
    const { address, commandTimeout, namespace } = target
    const { vhost } = target.nodes[0]
    return {
      address,
      namespace,
      server: yield* Effect.map(publishing.session, ({ server }) => server).pipe(
        Effect.catch(() => Effect.die(new Error("the connection that was just made is gone")))
      ),
      store: Symbol.for(`effect-seams/layers/rabbitmq/${address}/${vhost}/${namespace}`),
      target,
      publishing,
      consuming,
      realClock: Clock.Clock.defaultValue(),
      scope,
      reading: Semaphore.makeUnsafe(1),
      call: (use) =>
        Effect.acquireUseRelease(
          consuming.channel,
          (channel) => asked(() => use(channel), commandTimeout),
          (channel) => Effect.sync(() => drop(channel))
        )
    }
  })

/**
 * {@link makeConnection} as a layer, for {@link Connection}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (options?: ConnectionOptions): Layer.Layer<Connection, RabbitMqError> =>
  Layer.effect(Connection, makeConnection(options))

/**
 * {@link layerConnection} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnectionConfig = (
  options: Config.Wrap<ConnectionOptions>
): Layer.Layer<Connection, RabbitMqError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerConnection))
