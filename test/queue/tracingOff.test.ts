/** What tracing costs when it is off: nothing. V8 tells who allocates; a driver tells who looks at what a span would hold. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Latch, Layer, Option, Schema, Tracer } from "effect"
import { Session } from "node:inspector"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"
import { layerOver, NoDrain } from "./faultyDriver.ts"

interface Node {
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly selfSize: number
  readonly children: ReadonlyArray<Node>
}

/** Bytes by file and function, of every object that was made meanwhile, also of those that are gone already. */
const allocated = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const made = new Session()
          made.connect()
          return made
        }),
        (made) => Effect.sync(() => made.disconnect())
      )
      const post = (method: string, parameters: object) =>
        Effect.callback<unknown, Error>((resume) =>
          session.post(method, parameters, (error, answer) =>
            resume(error === null ? Effect.succeed(answer) : Effect.fail(error))
          )
        )
      yield* post("HeapProfiler.startSampling", {
        samplingInterval: 1,
        includeObjectsCollectedByMajorGC: true,
        includeObjectsCollectedByMinorGC: true
      })
      yield* effect
      const { profile } = (yield* post("HeapProfiler.stopSampling", {})) as { profile: { head: Node } }
      const bytes = new Map<string, number>()
      const visit = ({ callFrame, children, selfSize }: Node): void => {
        const at = `${callFrame.url.replace(/^.*\/(?=(?:src|dist)\/)/, "")} ${callFrame.functionName}`
        bytes.set(at, (bytes.get(at) ?? 0) + selfSize)
        children.forEach(visit)
      }
      visit(profile.head)
      return bytes
    })
  )

/** Where spans, what they hold, and what comes of headers is made: here, and in Effect itself. */
const ofSpans = /telemetry\.ts|traceContext\.ts|Tracer\.[jt]s|span/i

const messages = 100
/** Bytes: what is less than this for each message are V8's own notes about a function, not objects that the function makes. */
const leastObject = 16

/** A span's attributes cannot be made without reading `deliveryCount`, a parent not without looking through the headers. */
const counted = () => {
  const reads = { deliveryCount: 0, headers: 0 }
  const seen = (claimed: Queue.Claimed): Queue.Claimed => ({
    ...claimed,
    get deliveryCount() {
      reads.deliveryCount++
      return claimed.deliveryCount
    },
    message: {
      ...claimed.message,
      headers: new Proxy(claimed.message.headers, {
        ownKeys: (target) => {
          reads.headers++
          return Reflect.ownKeys(target)
        },
        get: (target, key) => {
          reads.headers++
          return Reflect.get(target, key) as unknown
        }
      })
    }
  })
  return { reads, seen }
}

const measure = (tracing: boolean) =>
  Effect.gen(function* () {
    const { reads, seen } = counted()
    const Jobs = Queue.define("jobs", { payload: Schema.Finite })
    const headers = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-own": "1" }
    let parents = 0
    const done = Latch.makeUnsafe(false)
    let left = 0
    const handled = (n: number) =>
      Effect.withFiber(({ context }) => {
        if (Option.isSome(Context.getOption(context, Tracer.ParentSpan))) parents += n
        left -= n
        if (left === 0) done.openUnsafe()
        return Effect.void
      })
    const Many = Queue.define("many", { payload: Schema.Finite })
    const worker = Layer.merge(
      Jobs.worker(() => handled(1)),
      // In runs of one, so that what a run costs is seen as much as what a message costs.
      Many.workerBatch((all) => handled(all.length), { size: 1 })
    )
    const work = Effect.gen(function* () {
      left = 2 * messages
      done.closeUnsafe()
      for (let i = 0; i < messages; i++) {
        yield* Jobs.enqueue(i, { headers })
        yield* Many.enqueueAll([i], { headers })
        yield* Kv.set(["k", i % 3], i)
        const kv = yield* Kv.Kv
        yield* kv.get(["k", i % 3])
      }
      yield* done.await
      yield* Effect.all([Jobs.awaitIdle, Many.awaitIdle])
    })
    const [first, second] = yield* Effect.gen(function* () {
      yield* Layer.build(worker)
      // What is made once is no matter of messages.
      yield* work
      const once = yield* allocated(work)
      Object.assign(reads, { deliveryCount: 0, headers: 0 })
      parents = 0
      return [once, yield* allocated(work)] as const
    }).pipe(
      Effect.provide([
        Memory.layerKvWith({ tracing }),
        layerOver({
          consumer: (consumer) => ({
            claim: (request) => Effect.map(consumer.claim(request), (all) => all.map(seen)),
            settle: (batch, next) =>
              Effect.map(consumer.settle(batch, next), (answer) => ({ ...answer, claimed: answer.claimed.map(seen) }))
          }),
          make: { tracing }
        }),
        NoDrain
      ])
    )
    const spansOf = (bytes: ReadonlyMap<string, number>) =>
      Array.from(bytes).flatMap(([at, n]) => (n >= leastObject * messages && ofSpans.test(at) ? [at] : []))
    const again = new Set(spansOf(second))
    const spans = spansOf(first)
    // V8 takes notes about a function once, and on a busy machine late.
    return { parents, reads, spans, lasting: spans.filter((at) => again.has(at)), total: first.size }
  })

describe("what tracing costs a message and an operation of the Kv", () => {
  it.live("when it is on: what this test looks for is seen", () =>
    Effect.gen(function* () {
      const { parents, reads, spans } = yield* measure(true)
      for (const name of ["processAttributes", "batchAttributes", "spanned", "parseTraceparent"])
        assert.isTrue(
          spans.some((at) => at.endsWith(` ${name}`)),
          `${name}: ${spans.join(", ")}`
        )
      assert.strictEqual(parents, 2 * messages)
      assert.strictEqual(reads.deliveryCount, 4 * messages)
      assert.isAtLeast(reads.headers, 2 * messages)
    })
  )

  const nothing = (measured: Effect.Success<ReturnType<typeof measure>>) => {
    assert.deepStrictEqual(measured.lasting, [], "no span, no attributes, nothing made of headers")
    assert.isAbove(measured.total, 100, "V8 has counted")
    // Once, for the metrics.
    assert.deepStrictEqual(measured.reads, { deliveryCount: 2 * messages, headers: 0 })
    assert.strictEqual(measured.parents, 0)
  }

  it.live("nothing with `tracing: false`", () => Effect.map(measure(false), nothing))

  it.live("nothing where the program has turned Effect's tracer off", () =>
    Effect.map(measure(true).pipe(Effect.withTracerEnabled(false)), nothing)
  )
})
