import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { MessageCodec } from "./encode.ts"
import type { Delivery, RetryOptions } from "./model.ts"
import type { QueueError } from "./QueueError.ts"
import type { Service } from "./service.ts"
import { type AnyHandler, startWorker, type WorkerOptions } from "./worker.ts"

/**
 * How a stream of deliveries claims and holds them.
 *
 * @since 0.1.0
 * @category options
 */
export interface StreamOptions extends Omit<WorkerOptions<never>, "timeout" | "retryWhile" | "prefetch" | "drain"> {
  /** How many deliveries may be unsettled at the same time. Default: 1. */
  readonly concurrency?: number | undefined
}

export interface StreamSpec {
  readonly queue: string
  readonly codecs: ReadonlyMap<string, MessageCodec>
  readonly retry: RetryOptions | undefined
  readonly options: StreamOptions
}

/**
 * A worker whose handler hands the delivery over and then does nothing until the delivery is settled by hand. A delivery that is
 * still open when the stream ends is released.
 */
export const deliveryStream = (
  spec: StreamSpec,
  store: Context.Key<any, Service>
): Stream.Stream<Delivery<any>, QueueError, any> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const service = yield* store
      const handed = yield* Queue.unbounded<Delivery<any>>()
      const handler: AnyHandler = (_payload, delivery, control) => {
        Queue.offerUnsafe(handed, delivery)
        return control.settled
      }
      yield* startWorker(
        {
          queue: spec.queue,
          codecs: spec.codecs,
          handlerOf: () => handler,
          retry: spec.retry,
          options: { ...spec.options, drain: 0 }
        },
        service
      )
      return Stream.fromQueue(handed)
    })
  )
