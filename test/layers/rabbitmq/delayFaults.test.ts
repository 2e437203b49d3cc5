/** Messages that wait for their time in the broker, while the broker is killed. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import { startServer } from "../../servers/index.ts"
import { rejections, until } from "../../support/faults.ts"
import { depthOf, freshNamespace, Jobs, queueOver, writeDown } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const total = 10_000
const batch = 100

describe("a broker killed while ten thousand messages wait for their time", () => {
  it.live("delivers all of them after its restart, none early, none lost", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const server = yield* startServer("rabbitmq")
      const namespace = freshNamespace()
      const room = yield* queueOver({ url: server.url, namespace, commandTimeout: "10 seconds" })
      yield* Effect.gen(function* () {
        const due = new Map<number, number>()
        const handled = new Map<number, Array<number>>()
        yield* Layer.build(
          Jobs.worker((n) => Effect.sync(() => void handled.set(n, [...(handled.get(n) ?? []), Date.now()])), {
            concurrency: 16,
            prefetch: 64
          })
        )
        // From one to five seconds, behind the crash and before it.
        const delayOf = (n: number) => 1_000 + ((n * 37) % 4_000)
        // One of each first, so that all that has to be declared is.
        const all = Array.from({ length: total }, (_, n) => n)
        const enqueue = (some: ReadonlyArray<number>) =>
          Effect.suspend(() => {
            const now = Date.now()
            for (const n of some) due.set(n, now + delayOf(n))
            return Jobs.enqueueAll(some, (n) => ({ delay: delayOf(n) }))
          })
        yield* enqueue(all.slice(0, batch * 20))
        yield* writeDown(server)
        const rest = Array.from({ length: (total - batch * 20) / batch }, (_, i) =>
          all.slice(batch * (20 + i), batch * (21 + i))
        )
        const begun = performance.now()
        yield* Effect.forEach(rest, enqueue, { concurrency: 8, discard: true })
        const enqueued = Math.round(performance.now() - begun)
        const before = handled.size
        // After a restart a bucket may pass messages on before the queue has a leader. It waits three minutes for the confirms that
        // never come, and then passes them on again: they are late, and not lost.
        fs.writeFileSync(
          path.join(server.directory!, "advanced.config"),
          "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 3000}]}].\n"
        )
        yield* server.kill
        yield* server.start
        yield* until("all are handled", () => handled.size === total, "40 seconds")
        const times = [...handled.values()].reduce((sum, one) => sum + one.length, 0)
        const early = [...handled].filter(([n, at]) => Math.min(...at) < due.get(n)!)
        const lost = yield* depthOf(server.url, `${namespace}.delay.lost`)
        console.log(
          `${total} delayed messages, the last ${total - batch * 20} enqueued in ${enqueued} ms: ${before} handled before the ` +
            `broker was killed, ${total - handled.size} lost, ${early.length} early, ${times - total} duplicated`
        )
        assert.isBelow(before, total / 2, "most of them were waiting when it was killed")
        assert.deepStrictEqual(early, [])
        assert.strictEqual(lost, 0, "none has lost its way")
      }).pipe(Effect.provide(room))
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})
