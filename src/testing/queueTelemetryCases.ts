/** Cases of the queue's contract suite: traces and metrics. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Tracer from "effect/Tracer"
import { type Case, metric, Refused, start } from "./queueServiceKit.ts"
import { assertAttributes, catching, named, outcomeOf, parentOf, traced } from "./spanKit.ts"

export const telemetryCases = <E>(kit: Case<E>) => {
  const { advance, can, counted, idle, jobs, options, quiet, test, unit, untilEffect } = kit
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
        yield* quiet(Jobs, () => spans.length === 1)
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
        yield* idle(Jobs, () => spans.length === 2)
        assert.deepStrictEqual(
          spans.map(({ traceId }) => traceId),
          [producer.traceId, producer.traceId]
        )
        assert.notStrictEqual(spans[0]!.spanId, spans[1]!.spanId)
      }))

    test("publish, process and settle are spans with the names of the registry; a failed attempt says of which class", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        const { spans, tracer } = catching()
        let ended = 0
        yield* traced(
          tracer,
          Effect.gen(function* () {
            const id = yield* Jobs.enqueue({ n: 1 })
            yield* start(
              Jobs.worker(() =>
                Effect.suspend(() => (++ended === 1 ? Effect.fail(new Refused({ what: "once" })) : Effect.void))
              )
            )
            yield* untilEffect(
              "two settles",
              Effect.sync(
                () => named(spans, `settle ${Jobs.name}`).filter((span) => outcomeOf(span) !== undefined).length >= 2
              )
            )
            const destination = { "messaging.system": "effect-seams", "messaging.destination.name": Jobs.name }
            const [publish] = named(spans, `publish ${Jobs.name}`)
            assertAttributes(publish!, "producer", {
              ...destination,
              "messaging.operation.name": "publish",
              "messaging.operation.type": "send"
            })
            const [failed, succeeded] = named(spans, `process ${Jobs.name}`)
            for (const span of [failed!, succeeded!]) {
              assertAttributes(span, "consumer", {
                ...destination,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": id
              })
              assert.strictEqual(parentOf(span), publish!.spanId)
            }
            assert.deepStrictEqual([outcomeOf(failed!), outcomeOf(succeeded!)], ["Failure", "Success"])
            assert.strictEqual(failed!.attributes.get("error.type"), "Refused")
            assert.isFalse(succeeded!.attributes.has("error.type"))
            for (const span of named(spans, `settle ${Jobs.name}`))
              assertAttributes(span, "client", {
                ...destination,
                "messaging.operation.name": "settle",
                "messaging.operation.type": "settle",
                "messaging.batch.message_count": 1
              })
          })
        )
      }))

    test("a batch is a trace of its own, with a link to each message", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const { spans, tracer } = catching()
        const sizes: Array<number> = []
        yield* traced(
          tracer,
          Effect.gen(function* () {
            yield* Jobs.enqueueAll([{ n: 1 }, { n: 2 }, { n: 3 }])
            yield* start(
              Jobs.workerBatch((all) => Effect.sync(() => void sizes.push(all.length)), {
                size: 3,
                within: unit
              })
            )
            yield* quiet(Jobs, () => sizes.reduce((sum, n) => sum + n, 0) === 3)
          })
        )
        const all = named(spans, `process ${Jobs.name}`)
        const runs = all.filter((span) => span.attributes.has("messaging.batch.message_count"))
        const members = new Set(all.filter((span) => !runs.includes(span)).map(({ spanId }) => spanId))
        assert.strictEqual(members.size, 3)
        assert.deepStrictEqual(
          runs.map((span) => span.attributes.get("messaging.batch.message_count")),
          sizes
        )
        const linked = runs.flatMap((span) => span.links.map(({ span: { spanId } }) => spanId))
        assert.deepStrictEqual(new Set(linked), members)
        for (const run of runs) assert.isUndefined(parentOf(run))
      }))

    if (can("delay") && options.clock === "virtual") {
      test("after a long delay the trace is a new one with a link to the producer's", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const spans: Array<Tracer.Span> = []
          const producer = yield* Effect.andThen(Jobs.enqueue({ n: 1 }, { delay: "2 hours" }), Effect.currentSpan).pipe(
            Effect.withSpan("producer")
          )
          yield* start(Jobs.worker(() => Effect.map(Effect.currentSpan, (span) => void spans.push(span))))
          yield* advance(2 * 3_600_000)
          yield* quiet(Jobs, () => spans.length === 1)
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
        const value = (name: string, attributes?: Record<string, string>) => metric(Jobs.name, name, attributes)
        yield* Jobs.enqueueAll([{ n: 0 }, { n: 1 }, { n: 2 }])
        const expires = can("ttl")
        if (expires) yield* Jobs.enqueue({ n: 9 }, { ttl: unit })
        yield* advance(unit)
        // A broker may count what is past its time until it comes to it.
        if (can("counts")) yield* counted(Jobs, { ready: 3 })
        const { ready } = yield* Jobs.stats
        assert.strictEqual(yield* value("seams_queue_depth", { state: "ready" }), ready)
        const states = Effect.map(Metric.snapshot, (all) =>
          all
            .filter(({ attributes, id }) => id === "seams_queue_depth" && attributes?.["queue"] === Jobs.name)
            .map(({ attributes }) => attributes?.["state"])
        )
        // What is not known is not set.
        assert.deepStrictEqual(
          (yield* states).toSorted(),
          can("counts") ? ["claimed", "dead", "delayed", "ready"] : ["dead", "ready"]
        )
        yield* start(
          Jobs.worker(({ n }, { attempt }) => (n === 0 || (n === 1 && attempt === 1) ? Effect.fail("x") : Effect.void))
        )
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
        )
        yield* untilEffect(
          "the last settle",
          Effect.map(value("seams_queue_messages_settled", { outcome: "ack" }), (n) => n === 2)
        )
        assert.strictEqual(yield* value("seams_queue_messages_enqueued"), expires ? 4 : 3)
        assert.strictEqual(yield* value("seams_queue_messages_delivered"), 5)
        assert.strictEqual(yield* value("seams_queue_messages_settled", { outcome: "retry" }), 2)
        assert.strictEqual(yield* value("seams_queue_messages_settled", { outcome: "deadLetter" }), 1)
        yield* untilEffect(
          "the drop",
          Effect.map(value("seams_queue_messages_expired"), (n) => n === (expires ? 1 : 0))
        )
        assert.strictEqual(yield* value("seams_queue_handler_duration_milliseconds"), 5)
        // Of first deliveries only: of a retry the due time is not the first one.
        assert.strictEqual(yield* value("seams_queue_start_delay_milliseconds"), 3)
      }))
  })
}
