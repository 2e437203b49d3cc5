/**
 * Spans and metrics of the seams, with the OpenTelemetry names (semantic conventions for databases and messaging). The library
 * only creates them; exporting is the program's choice.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Tracer from "effect/Tracer"

export interface SpanShape {
  /** Default: `"client"`. */
  readonly kind?: Tracer.SpanKind | undefined
  /** Other traces this span has to do with. */
  readonly links?: ReadonlyArray<Tracer.AnySpan> | undefined
  /** Begins a trace of its own. */
  readonly root?: boolean | undefined
}

/** Wraps an operation in a span. */
export type Spanned = <A, E, R>(
  name: string,
  attributes: Record<string, unknown>,
  effect: Effect.Effect<A, E, R>,
  shape?: SpanShape
) => Effect.Effect<A, E, R>

const failing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.tapCause(effect, (cause) => Effect.annotateCurrentSpan("error.type", errorType(cause)))

/** What the registry calls the class of error: the reason that the seams give, else the tag or the name. */
const errorType = (cause: Cause.Cause<unknown>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "interrupted"
  const error = Cause.squash(cause)
  if (typeof error !== "object" || error === null) return "_OTHER"
  const { _tag, name, reason } = error as {
    readonly _tag?: unknown
    readonly name?: unknown
    readonly reason?: { readonly _tag?: unknown }
  }
  return [reason?._tag, _tag, name].find((one) => typeof one === "string") ?? "_OTHER"
}

/** Of a span about messages. */
export const messagingAttributes = (queue: string, operation: "publish" | "process" | "settle") => ({
  "messaging.system": "effect-seams",
  "messaging.operation.name": operation,
  "messaging.operation.type": operation === "publish" ? "send" : operation,
  "messaging.destination.name": queue
})

/** Of a span around one delivery. */
export const processAttributes = ({ attempt, deliveryCount, message }: Delivered) => ({
  ...messagingAttributes(message.queue, "process"),
  "messaging.message.id": message.id,
  "seams.attempt": attempt,
  "seams.delivery_count": deliveryCount
})

interface Delivered {
  readonly attempt: number
  readonly deliveryCount: number
  readonly message: { readonly id: string; readonly queue: string }
}

/** Of a span around several deliveries. */
export const batchAttributes = (queue: string, operation: "process" | "settle", count: number) => ({
  ...messagingAttributes(queue, operation),
  "messaging.batch.message_count": count
})

const spanned: Spanned = <A, E, R>(
  name: string,
  attributes: Record<string, unknown>,
  effect: Effect.Effect<A, E, R>,
  shape: SpanShape = {}
) =>
  // withSpan takes ParentSpan out of R; no effect given here asks for it.
  Effect.withSpan(failing(effect), name, {
    kind: shape.kind ?? "client",
    attributes,
    ...(shape.root === true ? { root: true } : undefined),
    // It would show this file, and costs more than everything else a span does.
    captureStackTrace: false,
    ...(shape.links === undefined ? undefined : { links: shape.links.map((span) => ({ span, attributes: {} })) })
  }) as Effect.Effect<A, E, R>

/** `undefined` when tracing is off: whoever makes a span asks first, and then prepares nothing for it. */
export const spannedWhen = (tracing: boolean): Spanned | undefined => (tracing ? spanned : undefined)

/** In a fiber: also `undefined` where the program has turned Effect's tracer off. */
export const spannedIn = (own: Spanned | undefined, fiber: Fiber.Fiber<unknown, unknown>): Spanned | undefined =>
  own !== undefined && fiber.cache.tracerEnabled ? own : undefined

/** Milliseconds, as a histogram from 0.05 ms to 30 s. */
export const durationBoundaries = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000
]

export const kvOperationDuration = (backend: string, operation: string): Metric.Histogram<number> =>
  Metric.withAttributes(
    Metric.histogram("seams_kv_operation_duration_milliseconds", {
      description: "Duration of Kv operations",
      boundaries: durationBoundaries
    }),
    { backend, operation }
  )
