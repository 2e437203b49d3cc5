/** What a process of the proof of `Queue.limits` does, over the Kv and queue of whatever backend: handle messages, and say so. */
import * as fs from "node:fs"
import { Effect, Layer, Schema } from "effect"
import type * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

/** Bounded by how many run at the same time. */
export const Narrow = Queue.define("narrow", { payload: Schema.Finite })
/** Bounded by how many begin in a window, over all and for each group. */
export const Slow = Queue.define("slow", {
  payload: Schema.Struct({ n: Schema.Finite, group: Schema.optionalKey(Schema.String) }),
  group: ({ group }) => group
})

export const maxConcurrency = 3
export const rateLimit = { limit: 10, window: 2_000 }
export const groupRateLimit = { limit: 1, window: 2_000 }
/** Of the permits and of the claims. */
export const lease = 4_000

// At once, so that a process which is killed has said it.
const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

/** Monotonic, and the same for all processes of a machine. */
export const microseconds = (): number => Number(process.hrtime.bigint() / 1_000n)

/** Says `start <queue> <n> <attempt> <microseconds>` and `end <queue> <n> <microseconds>` of each handler. */
const handler = (queue: string, n: number, attempt: number, millis: number) =>
  Effect.gen(function* () {
    yield* say("start", queue, n, attempt, microseconds())
    yield* Effect.sleep(millis)
    yield* say("end", queue, n, microseconds())
  })

/** Runs until it is killed. */
export const runLimitsChild = <E>(store: Layer.Layer<Kv.Kv | Queue.Queue, E>): Promise<never> => {
  const workers = Layer.unwrap(
    Effect.gen(function* () {
      const narrow = yield* Queue.limits({ maxConcurrency, lease })
      const slow = yield* Queue.limits({ rateLimit, groupRateLimit, lease })
      return Layer.merge(
        Narrow.worker((n, { attempt }) => handler("narrow", n, attempt, 200), {
          concurrency: maxConcurrency,
          lease,
          limits: narrow
        }),
        Slow.worker(({ n }, { attempt }) => handler("slow", n, attempt, 1), { concurrency: 4, lease, limits: slow })
      )
    })
  )
  return Effect.runPromise(
    Layer.launch(Layer.provide(Layer.provideMerge(Layer.effectDiscard(say("ready")), workers), store))
  )
}
