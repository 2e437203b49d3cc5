import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type * as Scope from "effect/Scope"
import { type AnySpan, ParentSpan } from "effect/Tracer"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import { batchAttributes, spannedIn } from "../internal/telemetry.ts"
import type { MessageCodec } from "./encode.ts"
import type { Delivery, RetryOptions } from "./model.ts"
import type { QueueError } from "./QueueError.ts"
import type { Service } from "./service.ts"
import type { AnyHandler, WorkerOptions } from "./worker.ts"
import { startWorker, within as endWithin } from "./worker.ts"

/**
 * How a batch worker collects deliveries and runs its handler.
 *
 * @since 0.1.0
 * @category options
 */
export interface BatchOptions<in E> extends Omit<WorkerOptions<E>, "prefetch"> {
  /** Most deliveries of one run. */
  readonly size: number
  /** How long the first delivery of a batch waits for others at most. Default: 50 milliseconds. */
  readonly within?: Duration.Input | undefined
  /** How many batches run at the same time. Default: 1. */
  readonly concurrency?: number | undefined
}

export interface BatchSpec {
  readonly queue: string
  readonly codecs: ReadonlyMap<string, MessageCodec>
  readonly retry: RetryOptions | undefined
  readonly handler: (deliveries: ReadonlyArray<Delivery<any>>) => Effect.Effect<unknown, any, any>
  readonly options: BatchOptions<any>
}

interface Batch {
  readonly deliveries: Array<Delivery<any>>
  /** Of its members, as far as they have some. */
  spans: Map<Delivery<any>, AnySpan> | undefined
  readonly full: Deferred.Deferred<void>
  /** Resolved with the run of the handler, which every member waits for. */
  readonly run: Deferred.Deferred<Fiber.Fiber<unknown, unknown>>
  members: number
  leader: Fiber.Fiber<void> | undefined
  started: boolean
}

/**
 * A worker whose handlers meet in a batch. The first member opens it, waits until it is full or `within` is over, and runs the
 * handler for all; each member ends as that run ends. When members are interrupted (timeout, drain) the run is, with the last. The run
 * is a trace of its own, with a link to the span of each member.
 */
export const startBatchWorker = (spec: BatchSpec, service: Service): Effect.Effect<void, QueueError, Scope.Scope> =>
  Effect.suspend(() => {
    const { size, within = "50 millis", concurrency = 1, ...options } = spec.options
    if (!Number.isSafeInteger(size) || size < 1)
      return Effect.die(new Error(`workerBatch of queue "${spec.queue}": size is ${size}; give a whole number from 1`))
    if (durationMillis(within) === undefined)
      return Effect.die(
        new Error(`workerBatch of queue "${spec.queue}": within is ${describeInput(within)}; give a duration from zero`)
      )
    let open: Batch | undefined
    const turns = Semaphore.makeUnsafe(concurrency)

    const spans = Effect.withFiber((fiber) => Effect.succeed(spannedIn(service.spanned, fiber)))

    const lead = (batch: Batch): Effect.Effect<void, never, any> =>
      Effect.andThen(
        Effect.timeoutOption(Deferred.await(batch.full), within),
        // A batch that waits for its turn goes on filling.
        turns.withPermit(
          Effect.gen(function* () {
            if (open === batch) open = undefined
            batch.started = true
            // A trace of its own: a run belongs to no single message.
            const handled = Effect.suspend(() => spec.handler(batch.deliveries))
            const spanned = yield* spans
            const run =
              spanned === undefined
                ? handled
                : spanned(
                    `process ${spec.queue}`,
                    batchAttributes(spec.queue, "process", batch.deliveries.length),
                    handled,
                    { kind: "consumer", root: true, links: Array.from(batch.spans?.values() ?? []) }
                  )
            const fiber = yield* Effect.forkDetach(endWithin(Effect.scoped(run), options.timeout))
            Deferred.doneUnsafe(batch.run, Exit.succeed(fiber))
            yield* Fiber.await(fiber)
          })
        )
      )

    const handler: AnyHandler = (_payload, delivery) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const batch = (open ??= {
            deliveries: [],
            spans: undefined,
            full: Deferred.makeUnsafe<void>(),
            run: Deferred.makeUnsafe<Fiber.Fiber<unknown, unknown>>(),
            members: 0,
            leader: undefined,
            started: false
          })
          // Before anything yields: a member that comes in between must not lead too.
          const first = batch.members++ === 0 && batch.leader === undefined
          batch.deliveries.push(delivery)
          if ((yield* spans) !== undefined) {
            const span = yield* Effect.serviceOption(ParentSpan)
            if (Option.isSome(span)) (batch.spans ??= new Map<Delivery<any>, AnySpan>()).set(delivery, span.value)
          }
          if (batch.deliveries.length >= size) {
            open = undefined
            Deferred.doneUnsafe(batch.full, Exit.void)
          }
          // The leader starts the run even when it is interrupted itself: the others count on it.
          if (first) batch.leader = yield* Effect.forkDetach(Effect.interruptible(lead(batch)))
          const leave = Effect.suspend((): Effect.Effect<unknown> => {
            batch.members--
            if (batch.started)
              // The run still holds this delivery: it ends with the run, and is handed out again no earlier.
              return batch.members > 0
                ? Effect.flatMap(Deferred.await(batch.run), Fiber.await)
                : Effect.flatMap(Deferred.await(batch.run), Fiber.interrupt)
            batch.deliveries.splice(batch.deliveries.indexOf(delivery), 1)
            batch.spans?.delete(delivery)
            if (batch.members > 0) return Effect.void
            if (open === batch) open = undefined
            return Fiber.interrupt(batch.leader!)
          })
          const fiber = yield* restore(Deferred.await(batch.run)).pipe(Effect.onInterrupt(() => leave))
          const exit = yield* restore(Fiber.await(fiber)).pipe(Effect.onInterrupt(() => leave))
          return yield* exit
        })
      )

    return startWorker(
      {
        queue: spec.queue,
        // The result of a run belongs to no single message.
        codecs: new Map(Array.from(spec.codecs, ([name, codec]) => [name, { ...codec, encodeSuccess: undefined }])),
        handlerOf: () => handler,
        retry: spec.retry,
        timesItself: true,
        options: { ...options, concurrency: size * concurrency }
      },
      service
    )
  })
