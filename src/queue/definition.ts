import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as SchemaModule from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Publication } from "../internal/envelope.ts"
import { messageIdsWith, fillFromPlatform } from "../internal/ids.ts"
import { messagingAttributes, spannedIn } from "../internal/telemetry.ts"
import { Op, type Step } from "../kv/op.ts"
import type { SharedQueue } from "../kv/ops.ts"
import { Kv } from "../kv/service.ts"
import { type BatchOptions, startBatchWorker } from "./batch.ts"
import type { DeadLetterOperations } from "./deadLetters.ts"
import { deadLetterOperations } from "./deadLetters.ts"
import type { EncodeRequest, MessageCodec } from "./encode.ts"
import { encodePublication, enqueueDefaults, allNow, mapNow, messageCodec } from "./encode.ts"
import type { Stats } from "./driver.ts"
import type {
  CurrentDelivery,
  Delivery,
  Enqueued,
  EnqueueDefaults,
  EnqueueOptions,
  MessageId,
  RetryOptions
} from "./model.ts"
import { QueueError, Unencodable } from "./QueueError.ts"
import { refusedBatch } from "./refusals.ts"
import type { Service } from "./service.ts"
import { Queue } from "./service.ts"
import { deliveryStream, type StreamOptions } from "./stream.ts"
import type { AnyHandler, WorkerOptions } from "./worker.ts"
import { startWorker } from "./worker.ts"

/**
 * One kind of message: its payload's schema, or that with the schemas of its handler's result.
 *
 * @since 0.1.0
 * @category models
 */
export type MessageSpec =
  | Schema.Top
  | {
      readonly payload: Schema.Top
      readonly success?: Schema.Top | undefined
      readonly error?: Schema.Top | undefined
    }

type Payload<X> = X extends { readonly payload: infer S extends Schema.Top } ? S : X extends Schema.Top ? X : never
type Ok<X> = X extends { readonly success: infer S extends Schema.Top } ? S["Type"] : unknown
type OkServices<X> = X extends { readonly success: infer S extends Schema.Top } ? S["EncodingServices"] : never
/** What every delivery brings with it. */
type Ambient = Scope.Scope | CurrentDelivery
type HandlerOf<X> = (
  payload: Payload<X>["Type"],
  delivery: Delivery<Payload<X>["Type"]>
) => Effect.Effect<Ok<X>, any, any>
type NoExtra<H, M> = { readonly [K in Exclude<keyof H, keyof M>]: never }

/**
 * What a definition can be told beside its messages and the defaults of enqueue.
 *
 * @since 0.1.0
 * @category options
 */
export interface DefinitionOptions<out I> {
  /** How failures are tried again. Default: three retries, exponential from one second, jittered. */
  readonly retry?: RetryOptions | undefined
  /** `false` skips the checks of the schemas (lengths, patterns, ...); coding always runs. Default: true. */
  readonly validate?: boolean | undefined
  /** A number for readers that must tell apart older payloads; carried in every message. */
  readonly schemaVersion?: number | undefined
  /** Another queue than `Queue.Queue`, made by `Queue.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * What every definition has, whatever its messages.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations<out A, out R, out I> {
  readonly name: string
  /** The queue it is kept in: `Queue.Queue`, unless the definition names another. */
  readonly store: Context.Key<I, Service>
  /** No worker of any process claims until `resume`; handlers that run go on. Durable. `Unsupported` where `pause` is missing. */
  readonly pause: Effect.Effect<void, QueueError, I>
  readonly resume: Effect.Effect<void, QueueError, I>
  /** Removes every message that is not claimed; dead letters stay. Answers how many. `Unsupported` where `purge` is missing. */
  readonly purge: Effect.Effect<number, QueueError, I>
  readonly stats: Effect.Effect<Stats, QueueError, I>
  /** Waits until no message is ready, delayed or claimed. `Unsupported` where the backend cannot count them (`counts`). */
  readonly awaitIdle: Effect.Effect<void, QueueError, I>
  readonly deadLetters: DeadLetterOperations<A, R, I>
  /** Deliveries to settle by hand, at most `concurrency` at a time; those left when the stream ends are released. */
  readonly stream: (options?: StreamOptions) => Stream.Stream<Delivery<A>, QueueError, I | R>
  /** Messages in batches: one run of the handler for up to `size` deliveries; what it does not settle by hand shares its end. */
  readonly workerBatch: <E, R2>(
    handler: (deliveries: ReadonlyArray<Delivery<A>>) => Effect.Effect<unknown, E, R2>,
    options: BatchOptions<E>
  ) => Layer.Layer<never, QueueError, I | R | Exclude<R2, Scope.Scope>>
}

/**
 * A queue with one payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface Single<X extends { readonly payload: Schema.Top }, I = Queue> extends Operations<
  Payload<X>["Type"],
  Payload<X>["DecodingServices"],
  I
> {
  readonly enqueue: (
    payload: Payload<X>["~type.make.in"],
    options?: EnqueueOptions
  ) => Op<MessageId, QueueError, Payload<X>["EncodingServices"], I, Kv | SharedQueue>
  /** Like `enqueue`, and tells an accepted message from a duplicate. */
  readonly offer: (
    payload: Payload<X>["~type.make.in"],
    options?: EnqueueOptions
  ) => Op<Enqueued, QueueError, Payload<X>["EncodingServices"], I, Kv | SharedQueue>
  /** One round trip for all, accepted whole or not at all where the backend's batches are atomic. */
  readonly enqueueAll: (
    payloads: Iterable<Payload<X>["~type.make.in"]>,
    options?: EnqueueOptions | ((payload: Payload<X>["~type.make.in"], index: number) => EnqueueOptions)
  ) => Op<ReadonlyArray<Enqueued>, QueueError, Payload<X>["EncodingServices"], I, Kv | SharedQueue>
  /** A Layer that works the queue while it is provided. Closing it drains. */
  readonly worker: <E, R>(
    handler: (payload: Payload<X>["Type"], delivery: Delivery<Payload<X>["Type"]>) => Effect.Effect<Ok<X>, E, R>,
    options?: WorkerOptions<E>
  ) => Layer.Layer<never, QueueError, I | Payload<X>["DecodingServices"] | OkServices<X> | Exclude<R, Ambient>>
}

/**
 * A queue with several kinds of messages, told apart by name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Group<M extends { readonly [name: string]: MessageSpec }, I = Queue> extends Operations<
  Payload<M[keyof M]>["Type"],
  Payload<M[keyof M]>["DecodingServices"],
  I
> {
  readonly enqueue: <K extends keyof M & string>(
    name: K,
    payload: Payload<M[K]>["~type.make.in"],
    options?: EnqueueOptions
  ) => Op<MessageId, QueueError, Payload<M[K]>["EncodingServices"], I, Kv | SharedQueue>
  /** Like `enqueue`, and tells an accepted message from a duplicate. */
  readonly offer: <K extends keyof M & string>(
    name: K,
    payload: Payload<M[K]>["~type.make.in"],
    options?: EnqueueOptions
  ) => Op<Enqueued, QueueError, Payload<M[K]>["EncodingServices"], I, Kv | SharedQueue>
  /** One round trip for all, accepted whole or not at all where the backend's batches are atomic. */
  readonly enqueueAll: <K extends keyof M & string>(
    name: K,
    payloads: Iterable<Payload<M[K]>["~type.make.in"]>,
    options?: EnqueueOptions | ((payload: Payload<M[K]>["~type.make.in"], index: number) => EnqueueOptions)
  ) => Op<ReadonlyArray<Enqueued>, QueueError, Payload<M[K]>["EncodingServices"], I, Kv | SharedQueue>
  /** A Layer that works the queue while it is provided: one handler per name. Closing it drains. */
  readonly worker: <H extends { readonly [K in keyof M]: HandlerOf<M[K]> }>(
    handlers: H & NoExtra<H, M>,
    options?: WorkerOptions<Effect.Error<ReturnType<H[keyof M]>>>
  ) => Layer.Layer<
    never,
    QueueError,
    | I
    | Payload<M[keyof M]>["DecodingServices"]
    | OkServices<M[keyof M]>
    | Exclude<Effect.Services<ReturnType<H[keyof M]>>, Ambient>
  >
}

/**
 * Defines a queue: a pure value that needs `Queue.Queue` (or its `store`) when used. With `payload` it has one kind of message,
 * with `messages` several. Every enqueue option may be set here, as a value or a function of the payload.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Effect, Schedule, Schema } from "effect"
 * import { Queue } from "effect-seams"
 *
 * class Email extends Schema.Class<Email>("Email")({ to: Schema.String, body: Schema.String }) {}
 *
 * const Emails = Queue.define("emails", {
 *   payload: Email,
 *   retry: { times: 5, schedule: Schedule.exponential("1 second") }
 * })
 *
 * export const send = Emails.enqueue({ to: "ada@example.com", body: "Hello" }, { delay: "5 minutes" })
 * export const EmailWorker = Emails.worker((email) => Effect.log(`to ${email.to}`), { concurrency: 16 })
 * ```
 */
export const define: {
  <const P extends Schema.Top, const S extends Schema.Top | undefined = undefined, I = Queue>(
    name: string,
    options: { readonly payload: P; readonly success?: S } & DefinitionOptions<I> &
      EnqueueDefaults<P["Type"]> & { readonly messages?: never }
  ): Single<{ readonly payload: P; readonly success: S }, I>
  <const M extends { readonly [name: string]: MessageSpec }, I = Queue>(
    name: string,
    options: DefinitionOptions<I> &
      EnqueueDefaults<Payload<M[keyof M]>["Type"]> & { readonly messages: M; readonly payload?: never }
  ): Group<M, I>
} = ((name: string, options: AnyDefinition): unknown => {
  const grouped = options.messages !== undefined
  const specs: Record<string, MessageSpec> = options.messages ?? {
    "": { payload: options.payload!, success: options.success }
  }
  const validate = options.validate !== false
  const codecs = new Map<string, MessageCodec>()
  const requests = new Map<string, EncodeRequest>()
  const { schemaVersion } = options
  const defaults = enqueueDefaults(options)
  const nextId = messageIdsWith(fillFromPlatform)
  for (const [key, spec] of Object.entries(specs)) {
    const { payload, success } = SchemaModule.isSchema(spec) ? { payload: spec, success: undefined } : spec
    const codec = messageCodec(key, payload, success, validate)
    codecs.set(key, codec)
    requests.set(key, { queue: name, codec, defaults, schemaVersion, nextId })
  }
  const store = options.store ?? (Queue as Context.Key<any, Service>)
  const encode = (
    kind: string,
    payload: unknown,
    enqueueOptions: EnqueueOptions | undefined,
    context: Context.Context<never>
  ) => {
    const request = requests.get(kind)
    if (request !== undefined) return encodePublication(request, payload, enqueueOptions, context)
    const detail = `the definition has no message of this name, it has ${Array.from(codecs.keys()).join(", ")}`
    return Effect.fail(new QueueError({ reason: new Unencodable({ queue: name, name: kind, detail }) }))
  }

  const attributes = messagingAttributes(name, "publish")
  const spannedPublish = <B>(
    queue: Service,
    fiber: Fiber.Fiber<unknown, unknown>,
    effect: Effect.Effect<B, QueueError>
  ): Effect.Effect<B, QueueError> =>
    spannedIn(queue.spanned, fiber)?.(`publish ${name}`, attributes, effect, { kind: "producer" }) ?? effect
  const ownStore = options.store !== undefined

  type Encoding = (context: Context.Context<never>) => Effect.Effect<ReadonlyArray<Publication>, QueueError>
  /** An Op around encoded messages: published alone, or steps of a commit. */
  const publish = <A>(
    encoded: Encoding,
    pick: (published: ReadonlyArray<Enqueued>) => A
  ): Op<A, QueueError, never, any, any> => {
    const steps = (queue: Service | undefined) =>
      Effect.withFiber((fiber) =>
        Effect.flatMap(encoded(fiber.context), (all): Effect.Effect<ReadonlyArray<Step>, QueueError> => {
          // The Kv, which is asked in a commit, knows nothing of what the queue takes.
          const refused = queue === undefined ? undefined : refusedBatch(queue.capabilities, all)
          if (refused !== undefined) return Effect.fail(refused)
          const of = queue?.store
          return Effect.succeed(
            all.map((publication) => ({ _tag: "Enqueue", publication, named: ownStore, store: of }))
          )
        })
      )
    return new Op<A, QueueError, never, any, any>(
      Kv,
      // A commit needs no queue service; where there is one, its choice about tracing counts.
      Effect.withFiber((fiber) => {
        const queue = Context.getOrUndefined(fiber.context, store)
        return queue === undefined ? steps(undefined) : spannedPublish(queue, fiber, steps(queue))
      }),
      Effect.withFiber((fiber) => {
        const queue = Context.getUnsafe(fiber.context, store)
        const published = Effect.withFiber((within) =>
          mapNow(encoded(within.context), (batch) => Effect.map(queue.publish(batch), pick), identity)
        )
        return spannedPublish(queue, fiber, published)
      })
    )
  }
  const one =
    (kind: string, payload: unknown, enqueueOptions: EnqueueOptions | undefined): Encoding =>
    (context) =>
      mapNow(
        encode(kind, payload, enqueueOptions, context),
        (publication) => Effect.succeed([publication]),
        identity<QueueError>
      )
  const many =
    (
      kind: string,
      payloads: Iterable<unknown>,
      enqueueOptions: EnqueueOptions | ((payload: unknown, index: number) => EnqueueOptions) | undefined
    ): Encoding =>
    (context) =>
      allNow(
        Array.from(payloads, (payload, index) => {
          const given = typeof enqueueOptions === "function" ? enqueueOptions(payload, index) : enqueueOptions
          return encode(kind, payload, given, context)
        })
      )
  /** Of a definition with one payload the name is not an argument. */
  const named = <A extends ReadonlyArray<unknown>, B>(f: (kind: string, ...rest: A) => B) =>
    grouped ? f : (...rest: A) => f("", ...rest)

  const on = <A>(use: (queue: Service) => Effect.Effect<A, QueueError>) => Effect.flatMap(store, use)
  const workerOf = (handlerOf: (kind: string) => AnyHandler | undefined, workerOptions: WorkerOptions<any> = {}) =>
    Layer.effectDiscard(
      Effect.flatMap(store, (queue) =>
        startWorker({ queue: name, codecs, handlerOf, retry: options.retry, options: workerOptions }, queue)
      )
    )

  return {
    name,
    store,
    enqueue: named((kind: string, payload: unknown, o?: EnqueueOptions) =>
      publish(one(kind, payload, o), (published) => published[0]!.id)
    ),
    offer: named((kind: string, payload: unknown, o?: EnqueueOptions) =>
      publish(one(kind, payload, o), (published) => published[0]!)
    ),
    enqueueAll: named((kind: string, payloads: Iterable<unknown>, o?: EnqueueOptions) =>
      publish(many(kind, payloads, o), (published) => published)
    ),
    worker: (handlers: AnyHandler | Record<string, AnyHandler>, workerOptions?: WorkerOptions<any>) =>
      workerOf(
        typeof handlers === "function"
          ? (kind) => (kind === "" ? handlers : undefined)
          : (kind) => (Object.hasOwn(handlers, kind) ? handlers[kind] : undefined),
        workerOptions
      ),
    workerBatch: (
      handler: (deliveries: ReadonlyArray<Delivery<any>>) => Effect.Effect<unknown, any, any>,
      batch: BatchOptions<any>
    ) =>
      Layer.effectDiscard(
        Effect.flatMap(store, (queue) =>
          startBatchWorker({ queue: name, codecs, retry: options.retry, handler, options: batch }, queue)
        )
      ),
    stream: (streamOptions: StreamOptions = {}) =>
      deliveryStream({ queue: name, codecs, retry: options.retry, options: streamOptions }, store),
    pause: on((queue) => queue.pause(name)),
    resume: on((queue) => queue.resume(name)),
    purge: on((queue) => queue.purge(name)),
    stats: on((queue) => queue.stats(name)),
    awaitIdle: on((queue) => queue.awaitIdle(name)),
    deadLetters: deadLetterOperations(name, codecs, store)
  }
}) as never

type AnyDefinition = DefinitionOptions<any> &
  EnqueueDefaults<any> & {
    readonly payload?: Schema.Top | undefined
    readonly success?: Schema.Top | undefined
    readonly messages?: Record<string, MessageSpec> | undefined
  }
