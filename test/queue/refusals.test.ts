import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import * as Queue from "../../src/Queue.ts"
import { layerOver, until } from "./faultyDriver.ts"

const Jobs = Queue.define("jobs", { payload: Schema.Finite })

/** A driver that lacks one capability, and where nothing may arrive. */
const lacking = (capability: keyof Queue.Capabilities) =>
  layerOver({
    driver: (driver) => {
      const reached = () => Effect.die(new Error(`reached the driver without ${capability}`))
      return {
        capabilities: { ...driver.capabilities, backend: "test", [capability]: false },
        publish: reached,
        pause: reached,
        resume: reached,
        purge: reached,
        stats: reached,
        version: reached,
        activity: reached
      }
    }
  })

const uses: ReadonlyArray<
  readonly [keyof Queue.Capabilities, string, Effect.Effect<unknown, Queue.QueueError, Queue.Queue>]
> = [
  ["delay", "delay", Jobs.enqueue(1, { delay: "1 second" })],
  ["delay", "at", Jobs.enqueue(1, { at: 0 })],
  ["priority", "priority", Jobs.enqueue(1, { priority: -1 })],
  ["dedupe", "dedupe", Jobs.enqueue(1, { dedupe: { key: "k" } })],
  ["groups", "group", Jobs.enqueue(1, { group: "g" })],
  ["ttl", "ttl", Jobs.enqueue(1, { ttl: "1 second" })],
  ["ttl", "ttl of one in a batch", Jobs.enqueueAll([1, 2], (n) => (n === 2 ? { ttl: 1 } : {}))],
  ["pause", "pause", Jobs.pause],
  ["pause", "resume", Jobs.resume],
  ["purge", "purge", Jobs.purge],
  ["counts", "awaitIdle", Jobs.awaitIdle]
]

describe("what a backend lacks is refused before it is asked", () => {
  it.effect.each(uses)("%s: %s", ([capability, , use]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(use)
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.match(error.message, /not possible on the test queue: .*memory and sqlite/)
      assert.isFalse(error.isRetryable)
    }).pipe(Effect.provide(lacking(capability)))
  )

  it.live("leases: a delivery is not extended by hand, while heartbeats go on telling which claims are lost", () => {
    let heartbeats = 0
    const ends: Array<string> = []
    const layer = layerOver({
      driver: ({ capabilities }) => ({ capabilities: { ...capabilities, leases: false } }),
      consumer: ({ extend }) => ({
        extend: (tokens) =>
          Effect.map(extend(tokens), (states) => (++heartbeats < 3 ? states : states.map(() => "lost" as const)))
      })
    })
    const worker = Jobs.worker(
      (_, delivery) => {
        if (delivery.deliveryCount > 1) return Effect.void
        return Effect.gen(function* () {
          const error = yield* Effect.flip(delivery.extend)
          ends.push(error._tag === "QueueError" ? error.reason._tag : error._tag)
          return yield* Effect.never
        }).pipe(Effect.onInterrupt(() => Effect.sync(() => void ends.push(`interrupted after ${heartbeats}`))))
      },
      { lease: 150 }
    )
    return Effect.gen(function* () {
      yield* Layer.build(worker)
      yield* Jobs.enqueue(1)
      yield* until(() => ends.length === 2)
      assert.deepStrictEqual(ends, ["Unsupported", "interrupted after 3"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  })
})

describe("an enqueue of unknown outcome", () => {
  const unknown = (idempotentIds: boolean) =>
    layerOver({
      driver: ({ capabilities }) => ({
        capabilities: { ...capabilities, idempotentIds },
        publish: () =>
          Effect.fail(
            new Queue.QueueError({
              reason: new Queue.EnqueueUnknown({ queue: "jobs", ids: ["a"], detail: "the connection broke" })
            })
          )
      })
    })

  it.effect.each([
    [true, "is not added twice"],
    [false, "is added twice"]
  ] as const)("with idempotent ids %s: what had been accepted %s", ([idempotentIds, text]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Jobs.enqueue(1))
      assert.strictEqual(error.reason._tag, "EnqueueUnknown")
      assert.include(error.message, text)
    }).pipe(Effect.provide(unknown(idempotentIds)))
  )
})
