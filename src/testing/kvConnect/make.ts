import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { spannedWhen } from "../../internal/telemetry.ts"
import * as Kv from "../../Kv.ts"
import { databaseIdOf } from "./database.ts"
import type { Request, Response } from "./exchange.ts"
import type { Faults } from "./faults.ts"
import { FaultPlan } from "./faults.ts"
import type { KvConnectError } from "./KvConnectError.ts"
import { listen } from "./listener.ts"
import type { Options } from "./options.ts"
import { settingsOf } from "./options.ts"
import { makeHandler } from "./server.ts"
import { makeTokens } from "./tokens.ts"
import { OpenWatches } from "./watch.ts"

/**
 * A KV Connect server that runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What clients open: `http://127.0.0.1:4512`. */
  readonly url: string
  readonly port: number
  /** The UUID that clients are told. */
  readonly databaseId: string
  readonly faults: Faults
}

/**
 * The service tag of a KV Connect server.
 *
 * @since 0.1.0
 * @category services
 */
export class KvConnect extends Context.Service<KvConnect, Service>()("effect-seams/testing/KvConnect") {}

/** How long answers under way are waited for when the server closes. */
const patience = "10 seconds"

/**
 * Starts a KV Connect server over the Kv of the program. It stops with the scope: it takes no more requests, answers those that it
 * is carrying out, and closes all watches and connections.
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { layerKv } from "effect-seams/layers/memory"
 * import * as KvConnect from "effect-seams/testing/kv-connect"
 *
 * export const program = Effect.gen(function* () {
 *   const server = yield* KvConnect.make({ accessTokens: [Redacted.make("a-long-secret")] })
 *   yield* Effect.log(`Deno.openKv("${server.url}")`)
 *   yield* Effect.never
 * }).pipe(Effect.scoped, Effect.provide(layerKv))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, KvConnectError | Kv.KvError, Kv.Kv | Scope.Scope> =>
  Effect.gen(function* () {
    const settings = yield* settingsOf(options)
    const kv = yield* Kv.Kv
    const databaseId = settings.databaseId ?? (yield* databaseIdOf(kv, settings.prefix))
    const tokens = makeTokens(settings.accessTokens, databaseId, settings.tokenLifetime)
    const plan = new FaultPlan()
    const watches = new OpenWatches()
    let isClosing = false
    const handler = makeHandler({
      kv,
      keyspace: settings.keyspace,
      tokens,
      databaseId,
      faults: plan,
      scheme: settings.tls === undefined ? "http" : "https",
      pingInterval: settings.pingInterval,
      spanned: spannedWhen(settings.tracing),
      watches,
      isClosing: () => isClosing
    })
    const requests = yield* FiberSet.make<void>()
    const run = yield* FiberSet.runtime(requests)()
    const fork = (effect: Effect.Effect<void>) => {
      const fiber = run(effect)
      return () => fiber.interruptUnsafe()
    }
    // A client that goes away needs no answer.
    const handle = (request: Request, response: Response) => response.once("close", fork(handler(request, response)))
    const { host, port, tls } = settings
    const listener = yield* Effect.acquireRelease(listen({ host, port, tls, handle, fork }), ({ close, stop }) => {
      const answered = Effect.as(FiberSet.clear(requests), "written" as const)
      // One who takes in nothing of a long answer is not waited for.
      const late = Effect.as(Effect.sleep(patience), "at once" as const)
      isClosing = true
      return stop.pipe(Effect.andThen(Effect.raceFirst(answered, late)), Effect.flatMap(close))
    })
    return KvConnect.of({
      url: `${tls === undefined ? "http" : "https"}://${reachable(host)}:${listener.port}`,
      port: listener.port,
      databaseId,
      faults: {
        inject: (fault, target) => Effect.sync(() => plan.inject(fault, target ?? {})),
        clear: Effect.sync(() => plan.clear()),
        expireTokens: Effect.sync(() => tokens.expireAll()),
        dropWatches: Effect.sync(() => watches.drop()),
        counts: Effect.sync(() => plan.counts)
      }
    })
  })

/** An address that listens everywhere is none to connect to. */
const reachable = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1"
  if (host === "::") return "[::1]"
  return host.includes(":") ? `[${host}]` : host
}

/**
 * {@link make} as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<KvConnect, KvConnectError | Kv.KvError, Kv.Kv> =>
  Layer.effect(KvConnect, make(options))

/**
 * {@link layer} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<KvConnect, KvConnectError | Kv.KvError | Config.ConfigError, Kv.Kv> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
