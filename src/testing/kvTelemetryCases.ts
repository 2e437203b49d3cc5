import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { assertAttributes, catching, named, outcomeOf, parentOf, traced } from "./spanKit.ts"

/** How many durations of an operation were measured. */
const measured = (backend: string, operation: string) =>
  Effect.map(Metric.snapshot, (all) => {
    const found = all.find(
      ({ attributes, id }) =>
        id === "seams_kv_operation_duration_milliseconds" &&
        attributes?.["backend"] === backend &&
        attributes["operation"] === operation
    )
    return found?.type === "Histogram" ? found.state.count : 0
  })

export const telemetryCases = (test: Cases): void => {
  describe("telemetry", () => {
    test("every operation is a client span below the program's own, with the names of the registry", ({ key, kv }) =>
      Effect.gen(function* () {
        const { backend } = kv.capabilities
        const { spans, tracer } = catching()
        const before = yield* measured(backend, "set")
        const own = yield* traced(
          tracer,
          Effect.gen(function* () {
            yield* kv.set(key("a"), 1)
            yield* kv.get(key("a"))
            yield* kv.getMany([key("a")])
            yield* Stream.runDrain(kv.list({ prefix: key("none") }))
            yield* Kv.atomic([Kv.set(key("b"), 1), Kv.delete(key("a"))]).pipe(Effect.provideService(Kv.Kv, kv))
            yield* kv.delete(key("b"))
            return yield* Effect.currentSpan
          }).pipe(Effect.withSpan("program"))
        )
        for (const operation of ["set", "get", "getMany", "list", "commit", "delete"]) {
          const all = named(spans, operation).filter((span) => parentOf(span) === own.spanId)
          assert.isAtLeast(all.length, 1, operation)
          for (const span of all) {
            assertAttributes(span, "client", { "db.system.name": backend, "db.operation.name": operation })
            assert.strictEqual(span.traceId, own.traceId)
            assert.strictEqual(outcomeOf(span), "Success")
          }
        }
        assert.isAtLeast((yield* measured(backend, "set")) - before, 1)
      }))

    test("a failure is the status of its span, and its class an attribute", ({ key, kv }) =>
      Effect.gen(function* () {
        const { spans, tracer } = catching()
        yield* kv.set(key("a"), 1)
        const commit = Kv.atomic([Kv.check(key("a"), null), Kv.set(key("a"), 2)])
        yield* traced(tracer, Effect.flip(Effect.provideService(commit, Kv.Kv, kv)))
        const [span] = named(spans, "commit")
        assert.strictEqual(outcomeOf(span!), "Failure")
        assertAttributes(span!, "client", { "error.type": "Conflict" })
      }))
  })
}
