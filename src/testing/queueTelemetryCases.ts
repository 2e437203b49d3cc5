/** Cases of the queue's contract suite: traces and metrics. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Tracer from "effect/Tracer"
import { type Case, start } from "./queueServiceKit.ts"

export const telemetryCases = <E>({ advance, idle, jobs, options, test, unit, untilEffect }: Case<E>) => {
  describe("a message carries its trace", () => {
    test("the handler's span continues the producer's; headers of the program travel too", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const spans: Array<Tracer.Span> = []
        const headers: Array<Readonly<Record<string, string>>> = []
        const producer = yield* Effect.gen(function* () {
          yield* Jobs.enqueue({ n: 1 }, { headers: { "x-own": "1" } })
          return yield* Effect.currentSpan
        }).pipe(Effect.withSpan("producer"))
        yield* start(
          Jobs.worker((_, delivery) =>
            Effect.map(Effect.currentSpan, (span) => {
              spans.push(span)
              headers.push(delivery.headers)
            })
          )
        )
        yield* Jobs.awaitIdle
        const [span] = spans
        assert.strictEqual(span!.name, `process ${Jobs.name}`)
        assert.strictEqual(span!.kind, "consumer")
        assert.strictEqual(span!.traceId, producer.traceId)
        assert.strictEqual(span!.attributes.get("messaging.destination.name"), Jobs.name)
        assert.match(headers[0]!["traceparent"]!, new RegExp(`^00-${producer.traceId}-[0-9a-f]{16}-0[01]$`))
        assert.strictEqual(headers[0]!["x-own"], "1")
      }))

    test("each retry is a span of the same trace", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        const spans: Array<Tracer.Span> = []
        const producer = yield* Effect.andThen(Jobs.enqueue({ n: 1 }), Effect.currentSpan).pipe(
          Effect.withSpan("producer")
        )
        yield* start(
          Jobs.worker(() =>
            Effect.flatMap(Effect.currentSpan, (span) => {
              spans.push(span)
              return spans.length === 1 ? Effect.fail("once") : Effect.void
            })
          )
        )
        yield* idle(Jobs)
        assert.deepStrictEqual(
          spans.map(({ traceId }) => traceId),
          [producer.traceId, producer.traceId]
        )
        assert.notStrictEqual(spans[0]!.spanId, spans[1]!.spanId)
      }))

    if (options.capabilities?.delay !== false && options.clock === "virtual") {
      test("after a long delay the trace is a new one with a link to the producer's", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const spans: Array<Tracer.Span> = []
          const producer = yield* Effect.andThen(Jobs.enqueue({ n: 1 }, { delay: "2 hours" }), Effect.currentSpan).pipe(
            Effect.withSpan("producer")
          )
          yield* start(Jobs.worker(() => Effect.map(Effect.currentSpan, (span) => void spans.push(span))))
          yield* advance(2 * 3_600_000)
          yield* Jobs.awaitIdle
          assert.notStrictEqual(spans[0]!.traceId, producer.traceId)
          assert.deepStrictEqual(
            spans[0]!.links.map(({ span }) => span.traceId),
            [producer.traceId]
          )
        }))
    }
  })

  describe("metrics count what happens to messages", () => {
    test("enqueued, delivered, settled by outcome, expired, depth", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        const queue = Jobs.name
        const value = (name: string, attributes: Record<string, string> = {}) =>
          Effect.map(Metric.snapshot, (all) => {
            const found = all.find(
              (one) =>
                one.id === name &&
                Object.entries({ queue, ...attributes }).every(([key, text]) => one.attributes?.[key] === text)
            )
            const state = found?.state as { readonly count?: number; readonly value?: number } | undefined
            return Number(state?.count ?? state?.value ?? 0)
          })
        yield* Jobs.enqueueAll([{ n: 0 }, { n: 1 }, { n: 2 }])
        const expires = options.capabilities?.ttl !== false
        if (expires) yield* Jobs.enqueue({ n: 9 }, { ttl: unit })
        yield* advance(unit)
        assert.strictEqual((yield* Jobs.stats).ready, 3)
        assert.strictEqual(yield* value("seams_queue_depth", { state: "ready" }), 3)
        yield* start(
          Jobs.worker(({ n }, { attempt }) => (n === 0 || (n === 1 && attempt === 1) ? Effect.fail("x") : Effect.void))
        )
        yield* idle(Jobs)
        yield* untilEffect(
          "the last settle",
          Effect.map(value("seams_queue_messages_settled", { outcome: "ack" }), (n) => n === 2)
        )
        assert.strictEqual(yield* value("seams_queue_messages_enqueued"), expires ? 4 : 3)
        assert.strictEqual(yield* value("seams_queue_messages_delivered"), 5)
        assert.strictEqual(yield* value("seams_queue_messages_settled", { outcome: "retry" }), 2)
        assert.strictEqual(yield* value("seams_queue_messages_settled", { outcome: "deadLetter" }), 1)
        assert.strictEqual(yield* value("seams_queue_messages_expired"), expires ? 1 : 0)
        assert.strictEqual(yield* value("seams_queue_handler_duration_milliseconds"), 5)
        // Of first deliveries only: of a retry the due time is not the first one.
        assert.strictEqual(yield* value("seams_queue_start_delay_milliseconds"), 3)
      }))
  })
}
