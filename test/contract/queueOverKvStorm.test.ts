/**
 * Several processes over one Kv behind a bad network, on a virtual clock: calls that take a while and overtake each other, stores that
 * cannot be reached, commits whose outcome nobody learns. In the end every message must have had its one end, in the order of its
 * group, and nothing may be left in the store but what is meant to stay.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Option, References, Schedule, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { leftovers, memoryDriver, randomOf, type Storm, stormy } from "./queueOverKvSupport.ts"

const Jobs = Queue.define("storm", {
  payload: Schema.Struct({ n: Schema.Finite, group: Schema.optionalKey(Schema.String), end: Schema.String }),
  retry: { times: 50, schedule: Schedule.spaced(5) }
})

const processes = 4
const messages = 240

const play = (seed: number, weather: Omit<Storm, "random">) =>
  Effect.gen(function* () {
    const random = randomOf(seed)
    const pick = <A>(values: ReadonlyArray<A>): A => values[Math.floor(random() * values.length)]!
    const calm = yield* memoryDriver
    const calmKv = yield* Kv.make(calm)
    const queue = yield* Queue.make(yield* Queue.makeKvQueueDriver(calmKv))
    const services: Array<Queue.Service> = []
    for (let i = 0; i < processes; i++) {
      const kv = yield* Kv.make(stormy(calm, { random, ...weather }))
      services.push(yield* Queue.make(yield* Queue.makeKvQueueDriver(kv)))
    }
    const runs: Array<{ readonly n: number; readonly group: string | undefined }> = []
    const begun = new Map<number, number>()
    const scope = yield* Effect.scope
    const open = (service: Queue.Service, concurrency: number, prefetch: number) =>
      Effect.gen(function* () {
        const own = yield* Scope.fork(scope)
        yield* Layer.buildWithScope(
          Jobs.worker(
            ({ end, group, n }) =>
              Effect.gen(function* () {
                runs.push({ n, group })
                yield* Effect.sleep(Math.floor(random() * 6))
                const before = begun.get(n) ?? 0
                begun.set(n, before + 1)
                if (end === "dead") return yield* Queue.deadLetter("as asked")
                if (end === "discard") return yield* Queue.discard
                if (end === "retry" && before < 2) return yield* Effect.fail("again")
                if (end === "snooze" && before < 2) return yield* Queue.snooze(3)
              }),
            { concurrency, prefetch, lease: 400 }
          ),
          own
        ).pipe(Effect.provideService(Queue.Queue, service))
        return own
      })
    const workers: Array<Scope.Closeable> = []
    for (const service of services) workers.push(yield* open(service, pick([1, 3, 8]), pick([0, 4])))

    // One producer, whose order is the order of the groups; it enqueues again what it does not know the outcome of.
    const sent: Array<{ readonly n: number; readonly group: string | undefined; readonly end: string }> = []
    const produce = Effect.gen(function* () {
      for (let n = 0; n < messages;) {
        const size = Math.min(pick([1, 1, 2, 5, 20]), messages - n)
        const batch = Array.from({ length: size }, (_, i) => {
          const group = pick([undefined, "a", "b", "c", "delayed"])
          const end = pick(["ack", "ack", "ack", "retry", "snooze", "dead", "discard"])
          return { n: n + i, end, ...(group === undefined ? undefined : { group }) }
        })
        const delay = pick([0, 0, 30])
        const service = pick(services)
        yield* Effect.gen(function* () {
          for (const job of batch) {
            const options = { id: `m${job.n}`, group: job.group, priority: pick([0, 0, 1]) }
            // A line is entered when a message is due, so that its order is another one.
            const free = job.group === undefined || job.group === "delayed"
            const timing = free && delay > 0 ? { delay: pick([1, 5, delay]) } : {}
            yield* Effect.retry(Jobs.enqueue(job, { ...options, ...timing }), Schedule.spaced(7))
            // Within one millisecond processes have no order among them.
            yield* Effect.sleep(1)
          }
        }).pipe(Effect.provideService(Queue.Queue, service))
        for (const { end, group, n: number } of batch) sent.push({ n: number, group, end })
        n += size
        yield* Effect.sleep(pick([0, 1, 10, 60]))
      }
    })
    const producer = yield* Effect.forkChild(produce)
    /** Only this fiber moves the clock, which a call that met conflicts again and again waits for. */
    const whileTimePasses = <A, E, R>(call: Effect.Effect<A, E, R>) =>
      Effect.gen(function* () {
        const calling = yield* Effect.forkChild(call)
        for (let i = 0; i < 10_000 && calling.pollUnsafe() === undefined; i++) yield* TestClock.adjust(1)
        return yield* Fiber.join(calling)
      })
    const idle = whileTimePasses(
      Effect.map(queue.stats(Jobs.name), (found) => found.ready === 0 && found.delayed === 0 && found.claimed === 0)
    )
    let steps = 0
    for (; steps < 60_000 && (producer.pollUnsafe() === undefined || !(yield* idle)); steps++) {
      yield* TestClock.adjust(producer.pollUnsafe() === undefined ? 1 : 5)
      // A worker leaves now and then, and another comes: what it held is released, or left to its lease.
      if (steps % 300 === 299) {
        const i = Math.floor(random() * processes)
        yield* Effect.forkChild(Scope.close(workers[i]!, Exit.void))
        workers[i] = yield* open(services[i]!, pick([1, 3, 8]), pick([0, 4]))
      }
    }
    assert.isTrue(yield* idle, `seed ${seed}: the queue became idle`)
    for (const worker of workers) {
      yield* whileTimePasses(Scope.close(worker, Exit.void))
    }

    const seen = new Set(runs.map(({ n }) => n))
    assert.strictEqual(seen.size, messages, `seed ${seed}: every message was handled`)
    const dead = yield* Stream.runCollect(Jobs.deadLetters.list()).pipe(Effect.provideService(Queue.Queue, queue))
    assert.deepStrictEqual(
      dead.map(({ payload }) => Option.getOrThrow(payload).n).toSorted((a, b) => a - b),
      sent.filter(({ end }) => end === "dead").map(({ n }) => n),
      `seed ${seed}: dead is what was given up`
    )
    for (const group of ["a", "b", "c"]) {
      const line = runs.filter((run) => run.group === group).map(({ n }) => n)
      assert.deepStrictEqual(
        line,
        line.toSorted((a, b) => a - b),
        `seed ${seed}: group ${group} is in order`
      )
    }
    const { i: _, ...left } = yield* leftovers(calmKv, Jobs.name)
    assert.deepStrictEqual(
      left,
      { b: dead.length, n: dead.length, o: dead.length, v: 1, wake: 1 },
      `seed ${seed}: nothing else is left`
    )
    return { runs: runs.length, steps }
  }).pipe(
    Effect.scoped,
    Effect.provideService(Queue.DrainLimit, Option.some(Duration.zero)),
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.provide(TestClock.layer())
  )

describe("processes over one Kv behind a bad network", () => {
  const first = Number(process.env["STORM_SEED"] ?? 1)
  const seeds = Array.from({ length: Number(process.env["STORM_RUNS"] ?? 6) }, (_, i) => first + i)
  it.live.each(seeds)("seed %i: overtaking calls only", (seed) => play(seed, { latency: 4, failures: 0, unknowns: 0 }))
  it.live.each(seeds)("seed %i: with outages and unknown outcomes", (seed) =>
    play(seed, { latency: 4, failures: 8, unknowns: 8 })
  )
})
