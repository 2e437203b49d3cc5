import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Cron from "../Cron.ts"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import * as Kv from "../Kv.ts"
import * as Queue from "../Queue.ts"
import { choose, type Chosen, option, providerOf, showName, type StoreSeam } from "./choose.ts"
import { Connections, layerConnections } from "./connections.ts"
import { DiscoveryError, InvalidAddress, Unsupported } from "./errors.ts"
import type { CronProvider, Options } from "./options.ts"
import type { Choice, Report } from "./report.ts"
import { type Blame, blamed } from "./rooms.ts"
import { type Environment, noEnvironment, providerNames, readEnvironment } from "./variables.ts"

interface Settings {
  readonly options: Options
  readonly environment: Environment
  readonly probeTimeout: number
}

const readSettings = Effect.fnUntraced(function* (
  seam: string,
  options: Options
): Effect.fn.Return<Settings, DiscoveryError, Connections> {
  const probeTimeout = durationMillis(options.probeTimeout ?? 5_000)
  if (probeTimeout === undefined || !(probeTimeout > 0) || !Number.isFinite(probeTimeout))
    return yield* new DiscoveryError({
      reason: new InvalidAddress({
        seam,
        source: option("probeTimeout"),
        address: null,
        detail: `${describeInput(options.probeTimeout)} is no limit; give a finite duration above zero`
      })
    })
  const environment =
    options.autoDiscover === false
      ? noEnvironment
      : yield* Effect.mapError(
          readEnvironment,
          (cause) =>
            new DiscoveryError({
              reason: new Unsupported({ seam, source: "the environment", address: null, detail: cause.message }),
              cause
            })
        )
  yield* Effect.flatMap(Connections, ({ deny }) => deny(environment.denied))
  return { options, environment, probeTimeout }
})

const chooseFor = (seam: StoreSeam, { environment, options }: Settings): Effect.Effect<Chosen, DiscoveryError> =>
  Effect.fromResult(choose(seam, environment, options))

const blameFor = (seam: string, { address, source }: Chosen): Blame => ({ seam, source, address })

const openChosen = (seam: StoreSeam, chosen: Chosen, { options, probeTimeout }: Settings) =>
  Effect.flatMap(Connections, ({ open }) => open(chosen.place, options, blameFor(seam, chosen), probeTimeout))

/** Milliseconds of one round trip. */
const latencyOf = ({ health }: { readonly health: Effect.Effect<unknown> }): Effect.Effect<number> =>
  Effect.clockWith((clock) =>
    Effect.suspend(() => {
      const before = clock.currentTimeNanosUnsafe()
      return Effect.map(health, () => Number(clock.currentTimeNanosUnsafe() - before) / 1e6)
    })
  )

const missing = (seam: StoreSeam, chosen: Chosen) =>
  new DiscoveryError({
    reason: new Unsupported({ ...blameFor(seam, chosen), detail: `${chosen.place.backend} has no such seam` })
  })

const told = Effect.fnUntraced(function* (choice: Choice) {
  const connections = yield* Connections
  yield* connections.tell(choice)
  const others = choice.passedOver.map(({ reason, source }) => `${source} (${reason})`).join(", ")
  yield* Effect.logInfo(
    `effect-seams: ${choice.seam} on ${choice.backend}, ${choice.address}: ${choice.because}${others === "" ? "" : `; passed over: ${others}`}`
  )
})

const tellStore = (
  seam: StoreSeam,
  { address, because, passedOver, place, source }: Chosen,
  latency: number,
  durability: Choice["durability"]
) => told({ seam, backend: place.backend, source, address, because, passedOver, latency, durability })

const openKv = Effect.fnUntraced(function* (settings: Settings, chosen: Chosen) {
  const { kv } = yield* openChosen("kv", chosen, settings)
  if (kv === undefined) return yield* missing("kv", chosen)
  const service = yield* Effect.mapError(kv(settings.options), blamed(blameFor("kv", chosen)))
  return { service, latency: yield* latencyOf(service) }
})

const cronChoice = ({
  environment,
  options
}: Settings): Effect.Effect<{ readonly named: CronProvider | undefined; readonly source: string }, DiscoveryError> => {
  const provider = providerOf("cron", environment, options)
  if (provider === undefined) return Effect.succeed({ named: undefined, source: "default" })
  return provider.value === "kv" || provider.value === "memory" || provider.value === "deno"
    ? Effect.succeed({ named: provider.value, source: provider.source })
    : Effect.fail(
        new DiscoveryError({
          reason: new Unsupported({
            seam: "cron",
            source: provider.source,
            address: null,
            detail: `${showName(provider.value)} is none of kv, memory, deno`
          })
        })
      )
}

const scheduler = Effect.fnUntraced(function* (
  settings: Settings,
  kv: Effect.Effect<
    { readonly service: Kv.Service; readonly chosen: Chosen },
    DiscoveryError,
    Connections | Scope.Scope
  >
) {
  const { named, source } = yield* cronChoice(settings)
  const store = named === undefined || named === "kv" ? yield* kv : undefined
  const backend = named ?? (store?.service.capabilities.shared === true ? "kv" : "memory")
  const failed = (error: Cron.CronError) =>
    new DiscoveryError({
      reason: new Unsupported({ seam: "cron", source, address: null, detail: error.message.replace(/\.$/, "") }),
      cause: error
    })
  const layer: Layer.Layer<Cron.Scheduler, DiscoveryError> =
    backend === "kv" && store !== undefined
      ? Cron.layerKvWith(settings.options.scheduler ?? {}).pipe(
          Layer.provide(Layer.succeed(Kv.Kv, store.service)),
          (one) => Layer.catch(one, (error) => Layer.effectContext(Effect.fail(failed(error))))
        )
      : backend === "deno"
        ? Layer.unwrap(
            Effect.map(
              Effect.promise(() => import("../layers/deno/index.ts")),
              ({ layerCron }) => Layer.catch(layerCron, (error) => Layer.effectContext(Effect.fail(failed(error))))
            )
          )
        : Cron.layerProcess
  const context = yield* Layer.build(Layer.fresh(layer))
  const other = providerNames.cron
  yield* told({
    seam: "cron",
    backend,
    source,
    address: backend === "kv" && store !== undefined ? store.chosen.address : "this process",
    because:
      named !== undefined
        ? `${source} names ${named}`
        : backend === "kv"
          ? "other processes can reach the chosen Kv"
          : "no other process can reach the chosen Kv",
    passedOver:
      source === option("cron") && settings.environment.values.has(other)
        ? [{ source: other, reason: `${source} decides` }]
        : [],
    latency: backend === "kv" && store !== undefined ? yield* latencyOf(store.service) : 0,
    durability: store?.service.capabilities.durability
  })
  return Context.get(context, Cron.Scheduler)
})

/**
 * The key-value store alone, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvWith = (options: Options): Layer.Layer<Kv.Kv | Report, DiscoveryError> =>
  Layer.provideMerge(
    Layer.effect(
      Kv.Kv,
      Effect.gen(function* () {
        const settings = yield* readSettings("kv", options)
        const chosen = yield* chooseFor("kv", settings)
        const { latency, service } = yield* openKv(settings, chosen)
        yield* tellStore("kv", chosen, latency, service.capabilities.durability)
        return service
      })
    ),
    layerConnections
  ) as Layer.Layer<Kv.Kv | Report, DiscoveryError>

const openQueue = Effect.fnUntraced(function* (settings: Settings, chosen: Chosen) {
  const { queue } = yield* openChosen("queue", chosen, settings)
  if (queue === undefined) return yield* missing("queue", chosen)
  const service = yield* Effect.mapError(queue(settings.options), blamed(blameFor("queue", chosen)))
  return { service, latency: yield* latencyOf(service) }
})

/**
 * The message queue alone, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueWith = (options: Options): Layer.Layer<Queue.Queue | Report, DiscoveryError> =>
  Layer.provideMerge(
    Layer.effect(
      Queue.Queue,
      Effect.gen(function* () {
        const settings = yield* readSettings("queue", options)
        const chosen = yield* chooseFor("queue", settings)
        const { latency, service } = yield* openQueue(settings, chosen)
        yield* tellStore("queue", chosen, latency, service.capabilities.durability)
        return service
      })
    ),
    layerConnections
  ) as Layer.Layer<Queue.Queue | Report, DiscoveryError>

/**
 * The scheduler alone, with options. Where it is kept in a Kv, that is chosen as for {@link layerKvWith} and shares its connection.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCronWith = (options: Options): Layer.Layer<Cron.Scheduler | Report, DiscoveryError> =>
  Layer.provideMerge(
    Layer.effect(
      Cron.Scheduler,
      Effect.gen(function* () {
        const settings = yield* readSettings("cron", options)
        return yield* scheduler(
          settings,
          Effect.gen(function* () {
            const chosen = yield* chooseFor("kv", settings)
            const { service } = yield* openKv(settings, chosen)
            return { service, chosen }
          })
        )
      })
    ),
    layerConnections
  ) as Layer.Layer<Cron.Scheduler | Report, DiscoveryError>

const sameStore = (kv: Chosen, queue: Chosen): boolean => JSON.stringify(kv.place) === JSON.stringify(queue.place)

/**
 * All three seams, with options. Where Kv and queue are on one store, commits may hold messages: the context has `Kv.SharedQueue` then,
 * which a program that works with one store and with two asks for by `Effect.serviceOption(Kv.SharedQueue)`.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Discovery } from "effect-seams"
 *
 * export const backends = Discovery.layerWith({ queue: "postgres", namespace: "shop", probeTimeout: "2 seconds" })
 * ```
 */
export const layerWith = (
  options: Options
): Layer.Layer<Kv.Kv | Queue.Queue | Cron.Scheduler | Report, DiscoveryError> =>
  Layer.provideMerge(
    Layer.effectContext(
      Effect.gen(function* () {
        const settings = yield* readSettings("kv", options)
        // Everything is chosen before anything is connected: a mistake in one variable leaves no half-built program.
        const kv = yield* chooseFor("kv", settings)
        const queue = yield* chooseFor("queue", settings)
        yield* cronChoice(settings)
        const stores = yield* openStores(settings, kv, queue)
        const cron = yield* scheduler(settings, Effect.succeed({ service: Context.get(stores, Kv.Kv), chosen: kv }))
        return Context.add(stores, Cron.Scheduler, cron)
      })
    ),
    layerConnections
  ) as Layer.Layer<Kv.Kv | Queue.Queue | Cron.Scheduler | Report, DiscoveryError>

const openStores = Effect.fnUntraced(function* (settings: Settings, kv: Chosen, queue: Chosen) {
  const { both } = sameStore(kv, queue) ? yield* openChosen("kv", kv, settings) : { both: undefined }
  if (both !== undefined) {
    const services = yield* Effect.mapError(both(settings.options), blamed(blameFor("kv", kv)))
    const store = Context.get(services, Kv.Kv)
    const latency = yield* latencyOf(store)
    yield* tellStore("kv", kv, latency, store.capabilities.durability)
    yield* tellStore("queue", queue, latency, Context.get(services, Queue.Queue).capabilities.durability)
    return services
  }
  const one = yield* openKv(settings, kv)
  yield* tellStore("kv", kv, one.latency, one.service.capabilities.durability)
  const other = yield* openQueue(settings, queue)
  yield* tellStore("queue", queue, other.latency, other.service.capabilities.durability)
  return Context.make(Kv.Kv, one.service).pipe(Context.add(Queue.Queue, other.service))
})

/**
 * All three seams, from the environment alone: with nothing set the embedded SQLite file, with `REDIS_URI`, `RABBITMQ_URI` and so on the
 * servers there. Logs one line for each seam.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Discovery, Kv } from "effect-seams"
 *
 * export const main = Effect.provide(Kv.sum(["visits"], 1n), Discovery.layer)
 * ```
 */
export const layer: Layer.Layer<Kv.Kv | Queue.Queue | Cron.Scheduler | Report, DiscoveryError> = layerWith({})

/**
 * The key-value store alone, from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKv: Layer.Layer<Kv.Kv | Report, DiscoveryError> = layerKvWith({})

/**
 * The message queue alone, from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue: Layer.Layer<Queue.Queue | Report, DiscoveryError> = layerQueueWith({})

/**
 * The scheduler alone, from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCron: Layer.Layer<Cron.Scheduler | Report, DiscoveryError> = layerCronWith({})
