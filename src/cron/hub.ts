/**
 * Hands events to subscribers without ever waiting for one: each has a buffer of its own that drops its oldest events.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as EffectQueue from "effect/Queue"
import * as Stream from "effect/Stream"

/** @internal */
export interface Hub<A> {
  readonly publish: (event: A) => void
  /** What is published from the moment it is pulled; ends when the hub closes, after the buffered events. */
  readonly stream: Stream.Stream<A>
  readonly close: () => void
}

/** @internal */
export const makeHub = <A>(capacity: number): Hub<A> => {
  const subscribers = new Set<EffectQueue.Queue<A, Cause.Done>>()
  let closed = false
  const subscribe = Effect.acquireRelease(
    Effect.tap(EffectQueue.sliding<A, Cause.Done>(capacity), (queue) =>
      Effect.sync(() => {
        if (closed) EffectQueue.endUnsafe(queue)
        else subscribers.add(queue)
      })
    ),
    (queue) => Effect.sync(() => subscribers.delete(queue))
  )
  return {
    publish: (event) => {
      for (const queue of subscribers) EffectQueue.offerUnsafe(queue, event)
    },
    stream: Stream.unwrap(Effect.map(subscribe, Stream.fromQueue)),
    close: () => {
      closed = true
      for (const queue of subscribers) EffectQueue.endUnsafe(queue)
      subscribers.clear()
    }
  }
}
