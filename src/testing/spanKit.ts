/** Spans as the suites look at them: caught by a tracer of the case's own, and held against the OpenTelemetry registry. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/**
 * The attributes of the registry that the seams use (opentelemetry.io/docs/specs/semconv/registry, groups messaging, db and error).
 * What has no name there begins with `seams.` or `cron.`.
 */
const registry = new Set([
  "db.operation.name",
  "db.system.name",
  "error.type",
  "messaging.batch.message_count",
  "messaging.destination.name",
  "messaging.message.id",
  "messaging.operation.name",
  "messaging.operation.type",
  "messaging.system"
])

/** A tracer, and the spans it made so far. */
export const catching = (): { readonly tracer: Tracer.Tracer; readonly spans: ReadonlyArray<Tracer.NativeSpan> } => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { tracer, spans }
}

export const traced = <A, E, R>(tracer: Tracer.Tracer, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Tracer.Tracer, tracer)

export const named = (spans: ReadonlyArray<Tracer.NativeSpan>, name: string): ReadonlyArray<Tracer.NativeSpan> =>
  spans.filter((span) => span.name === name)

export const parentOf = (span: Tracer.NativeSpan): string | undefined =>
  Option.getOrUndefined(Option.map(span.parent, ({ spanId }) => spanId))

/** How a span ended; `undefined` while it has not. */
export const outcomeOf = (span: Tracer.NativeSpan): "Success" | "Failure" | undefined =>
  span.status._tag !== "Ended" ? undefined : Exit.isSuccess(span.status.exit) ? "Success" : "Failure"

/** Every attribute has a name of the registry or one of ours, and a value that can be exported. */
export const assertAttributes = (
  span: Tracer.NativeSpan,
  kind: Tracer.SpanKind,
  expected: Readonly<Record<string, unknown>>
): void => {
  assert.strictEqual(span.kind, kind, span.name)
  for (const [name, value] of span.attributes) {
    assert.isTrue(registry.has(name) || /^(?:seams|cron)\.[a-z_.]+$/.test(name), `${span.name}: ${name}`)
    assert.include(["string", "number", "boolean"], typeof value, `${span.name}: ${name}`)
  }
  const found = Object.fromEntries(Object.keys(expected).map((name) => [name, span.attributes.get(name)]))
  assert.deepStrictEqual(found, expected, span.name)
}
