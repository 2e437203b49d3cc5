import { Effect, Layer, type Scope } from "effect"
import { makeQueueDriver } from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"

export const down = (operation: string) =>
  new Queue.QueueError({ reason: new Queue.Unavailable({ backend: "test", operation, detail: "the test says so" }) })

export interface Hooks {
  readonly driver?: (driver: Queue.Driver) => Partial<Queue.Driver>
  readonly consumer?: (consumer: Queue.Consumer, queue: string) => Partial<Queue.Consumer>
  readonly make?: Queue.MakeOptions
}

/** The policy over a memory driver of which a test replaces some members. */
export const layerOver = (hooks: Hooks): Layer.Layer<Queue.Queue> =>
  Layer.effect(
    Queue.Queue,
    Effect.gen(function* () {
      const memory = yield* makeQueueDriver()
      const driver: Queue.Driver = {
        ...memory,
        consumer: (queue, options): Effect.Effect<Queue.Consumer, Queue.QueueError, Scope.Scope> =>
          Effect.map(memory.consumer(queue, options), (c) => ({ ...c, ...hooks.consumer?.(c, queue) })),
        ...hooks.driver?.(memory)
      }
      return yield* Queue.make(driver, hooks.make)
    })
  )

export const NoDrain = Queue.layerNoDrain

/** Until a condition holds, on the real clock, for two seconds at most. */
export const until = (holds: () => boolean) =>
  Effect.gen(function* () {
    for (let i = 0; i < 400 && !holds(); i++) yield* Effect.sleep("5 millis")
  })
