import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as path from "node:path"
import { runExample, type Span, treeOf } from "../../scripts/otlp.ts"
import { draw } from "../../scripts/trace-picture.ts"
import { serverUrl } from "../servers/index.ts"
import { temporaryFile } from "../support/processes.ts"

const backends: ReadonlyArray<readonly [string, Effect.Effect<Readonly<Record<string, string>>, unknown>]> = [
  ["a file", Effect.succeed({})],
  ["Redis", Effect.map(serverUrl("redis"), (REDIS_URI) => ({ REDIS_URI }))],
  ["RabbitMQ", Effect.map(serverUrl("rabbitmq"), (RABBITMQ_URI) => ({ RABBITMQ_URI }))]
]

describe("what the telemetry example sends over OTLP", () => {
  for (const [name, more] of backends)
    it.live(`over ${name}: one trace from the cron slot to the Kv, and metrics of all three seams`, () =>
      Effect.gen(function* () {
        const env = { SEAMS_DATA: path.dirname(yield* temporaryFile), ...(yield* Effect.orDie(more)) }
        const { code, metrics, output, spans } = yield* Effect.promise(() => runExample(2, env))
        assert.strictEqual(code, 0, output)
        const handled = spans.filter((span) => span.name === "process orders" && !span.failed)
        // Messages of a run of before may still be in a shared server.
        const trace = handled
          .map(({ traceId }) => treeOf(spans, traceId))
          .find((one) => one[0]!.span.name === "run place-orders")
        assert.isDefined(trace, output)
        const below = (parent: Span) =>
          trace!.flatMap(({ span }) => (span.parentSpanId === parent.spanId ? [span] : []))
        // A queue without dedupe has its marks in the Kv: these are written below the run, too.
        const publish = below(trace![0]!.span).find((span) => span.name === "publish orders")
        assert.strictEqual(publish?.kind, 4)
        const process = below(publish!).find((span) => span.name === "process orders")
        assert.strictEqual(process?.kind, 5)
        const writes = below(process!)
        assert.isAtLeast(writes.length, 2)
        for (const span of writes) {
          assert.strictEqual(span.kind, 3, span.name)
          assert.isString(span.attributes["db.system.name"])
        }
        const names = new Set(metrics.map((metric) => metric.name))
        for (const metric of [
          "seams_queue_messages_enqueued",
          "seams_queue_messages_delivered",
          "seams_queue_messages_settled",
          "seams_queue_handler_duration_milliseconds",
          "seams_queue_start_delay_milliseconds",
          "seams_kv_operation_duration_milliseconds",
          "seams_cron_runs",
          "seams_cron_lateness_milliseconds"
        ])
          assert.isTrue(names.has(metric), metric)
        const picture = draw(spans, trace![0]!.span.traceId)
        for (const { span } of trace!) assert.include(picture, `>${span.name}</text>`)
      })
    )
})
