/**
 * W3C trace context in message headers: `traceparent`, `tracestate` and `baggage`, without `effect/http` (unstable, and
 * slow to import).
 *
 * How the three travel: {@link extract} makes a parent span of the headers and puts `tracestate` and `baggage` into its
 * annotations, {@link withExtracted} runs a consumer below it. What the consumer enqueues finds both again:
 * {@link inject} looks for them along the parents of the current span, so spans between need not know of them, and the
 * fiber's {@link CurrentBaggage} goes before the baggage that came in.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/**
 * Headers of a message: flat text.
 *
 * @since 0.1.0
 * @category models
 */
export type Headers = Readonly<Record<string, string>>

/**
 * The W3C `tracestate` of a span, as an annotation of it: vendor data that belongs to one trace and is passed on
 * unread. Default: none. Given by {@link extract}; set it on a span of your own with the `annotations` span option.
 *
 * @since 0.1.0
 * @category references
 */
export const TraceState: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "effect-seams/TraceState",
  { defaultValue: () => undefined }
)

/**
 * The W3C `baggage` header in force: in a fiber, what its messages carry; as an annotation of a span, what came in with
 * it. Default: none, then that of the nearest parent span is used. The empty text sends none at all.
 *
 * @since 0.1.0
 * @category references
 */
export const CurrentBaggage: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "effect-seams/CurrentBaggage",
  { defaultValue: () => undefined }
)

const traceIdPattern = /^[0-9a-f]{32}$/
const spanIdPattern = /^[0-9a-f]{16}$/
const headPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/
const noTrace = "0".repeat(32)
const noSpan = "0".repeat(16)

/**
 * The `traceparent` of a span, version 00. 64-bit trace ids are padded and ids lowered.
 *
 * **Gotchas**
 *
 * A span without W3C ids (a disabled one, or one from another tracer) gives a text that nobody accepts. {@link inject}
 * leaves it out instead.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toTraceparent = (span: Tracer.AnySpan): string =>
  `00-${wireTraceId(span)}-${span.spanId.toLowerCase()}-${span.sampled ? "01" : "00"}`

const wireTraceId = (span: Tracer.AnySpan): string => span.traceId.toLowerCase().padStart(32, "0")

/**
 * Reads a `traceparent` by the letter of the W3C recommendation: lower-case hex, no all-zero ids, version `ff` refused,
 * exactly four fields in version 00; of a later version the four known fields are taken and the rest is ignored.
 * Space around the value, as some transports leave it, is allowed.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromTraceparent = (header: string): Option.Option<Tracer.ExternalSpan> =>
  parseTraceparent(header, Context.empty())

const parseTraceparent = (header: string, annotations: Context.Context<never>): Option.Option<Tracer.ExternalSpan> => {
  const text = trim(header)
  const match = headPattern.exec(text)
  if (match === null) return Option.none()
  const [, version, traceId, spanId, flags] = match as unknown as [string, string, string, string, string]
  if (version === "ff" || (version === "00" && text.length !== 55)) return Option.none()
  if (traceId === noTrace || spanId === noSpan) return Option.none()
  return Option.some(
    Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1, annotations })
  )
}

/**
 * Further context to send with a span.
 *
 * @since 0.1.0
 * @category models
 */
export interface InjectOptions {
  /** The `baggage` to send, before that of the span's parents. Default: theirs. The empty text sends none. */
  readonly baggage?: string | undefined
}

/**
 * New headers that carry a span. A `traceparent` already there, in any case, is replaced; a given `tracestate` or
 * `baggage` stays, else those of the span's nearest parent that has some are added. Without a span that can be sent
 * (tracing disabled, foreign ids) the headers are only copied, plus baggage, which does not depend on a trace.
 *
 * @since 0.1.0
 * @category encoding
 */
export const inject = (
  headers: Headers,
  span: Tracer.AnySpan | undefined,
  options?: InjectOptions
): Record<string, string> => {
  const sent = propagated(span)
  const out: Record<string, string> = {}
  let hasState = false
  let hasBaggage = false
  for (const name of Object.keys(headers)) {
    const lower = name.toLowerCase()
    if (lower === "traceparent" && sent !== undefined) continue
    if (lower === "tracestate") hasState = true
    if (lower === "baggage") hasBaggage = true
    // Not a plain assignment: `__proto__` is a header name like any other.
    put(out, name, headers[name]!)
  }
  if (sent !== undefined) {
    out["traceparent"] = toTraceparent(sent)
    const state = hasState ? undefined : traceStateOf(sent)
    if (state !== undefined) out["tracestate"] = state
  }
  const baggage = hasBaggage ? undefined : cleanBaggage(options?.baggage ?? baggageOf(span))
  if (baggage !== undefined) out["baggage"] = baggage
  return out
}

/**
 * {@link inject} with the span and the baggage of a fiber's context; without both the headers as they are.
 *
 * @since 0.1.0
 * @category encoding
 */
export const injectFrom = (context: Context.Context<never>, headers: Headers): Headers => {
  const span = Context.getOrUndefined(context, Tracer.ParentSpan)
  const baggage = Context.get(context, CurrentBaggage)
  return span === undefined && baggage === undefined ? headers : inject(headers, span, { baggage })
}

/**
 * The span that sent the headers, `None` without a valid `traceparent`. Its annotations hold a valid {@link TraceState}
 * and {@link CurrentBaggage}. Names match in any case; two `traceparent` headers that differ count as none.
 *
 * @since 0.1.0
 * @category decoding
 */
export const extract = (headers: Headers): Option.Option<Tracer.ExternalSpan> => {
  let traceparent: string | undefined
  let state: string | undefined
  let baggage: string | undefined
  for (const name of Object.keys(headers)) {
    // Lengths first: a message has many headers, and lowering every name would cost more than all the rest.
    if (name.length !== 11 && name.length !== 10 && name.length !== 7) continue
    const lower = name.toLowerCase()
    const value = headers[name]
    // Headers come off the wire: the type may promise too much.
    if (typeof value !== "string") continue
    if (lower === "traceparent") {
      if (traceparent !== undefined && trim(traceparent) !== trim(value)) return Option.none()
      traceparent = value
    } else if (lower === "tracestate") {
      state = state === undefined ? value : state + "," + value
    } else if (lower === "baggage") {
      baggage = baggage === undefined ? value : baggage + "," + value
    }
  }
  if (traceparent === undefined) return Option.none()
  let annotations: Context.Context<never> = Context.empty()
  const cleanState = state === undefined ? undefined : cleanTraceState(state)
  if (cleanState !== undefined) annotations = Context.add(annotations, TraceState, cleanState)
  const clean = cleanBaggage(baggage)
  if (clean !== undefined) annotations = Context.add(annotations, CurrentBaggage, clean)
  return parseTraceparent(traceparent, annotations)
}

/**
 * The `baggage` of headers, also where they carry no trace.
 *
 * @since 0.1.0
 * @category decoding
 */
export const extractBaggage = (headers: Headers): string | undefined => {
  let baggage: string | undefined
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (name.length === 7 && name.toLowerCase() === "baggage" && typeof value === "string") {
      baggage = baggage === undefined ? value : baggage + "," + value
    }
  }
  return cleanBaggage(baggage)
}

/**
 * Runs a consumer as a child of the headers' span, with their baggage as {@link CurrentBaggage}. Headers without a trace
 * change nothing but the baggage.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withExtracted = (
  headers: Headers,
  span: Option.Option<Tracer.ExternalSpan> = extract(headers)
): (<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) => {
  const baggage = extractBaggage(headers)
  if (Option.isNone(span) && baggage === undefined) return identity
  return <A, E, R>(self: Effect.Effect<A, E, R>) => {
    const carried = baggage === undefined ? self : Effect.provideService(self, CurrentBaggage, baggage)
    return Option.isNone(span) ? carried : (Effect.withParentSpan(carried, span.value) as Effect.Effect<A, E, R>)
  }
}

/**
 * The `tracestate` a span inherits: its own, or that of its nearest parent in the same trace.
 *
 * @since 0.1.0
 * @category getters
 */
export const traceStateOf = (span: Tracer.AnySpan | undefined): string | undefined => {
  const state = inherited(span, TraceState)
  return state === undefined || state === "" ? undefined : state
}

/**
 * The `baggage` a span inherits: its own, or that of its nearest parent.
 *
 * @since 0.1.0
 * @category getters
 */
export const baggageOf = (span: Tracer.AnySpan | undefined): string | undefined => inherited(span, CurrentBaggage)

const inherited = (
  span: Tracer.AnySpan | undefined,
  reference: Context.Reference<string | undefined>
): string | undefined => {
  let at = span
  while (at !== undefined) {
    const found = Context.get(at.annotations, reference)
    if (found !== undefined) return found
    at = parentOf(at)
  }
  return undefined
}

const parentOf = (span: Tracer.AnySpan): Tracer.AnySpan | undefined =>
  span._tag === "Span" ? Option.getOrUndefined(span.parent) : undefined

// A disabled span stands for its parent, as when Effect itself picks the parent of a new span.
const propagated = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined => {
  let at = span
  while (at !== undefined && Context.get(at.annotations, Tracer.DisablePropagation)) at = parentOf(at)
  return at !== undefined && hasWireIds(at) ? at : undefined
}

const hasWireIds = (span: Tracer.AnySpan): boolean => {
  const traceId = wireTraceId(span)
  const spanId = span.spanId.toLowerCase()
  return traceIdPattern.test(traceId) && traceId !== noTrace && spanIdPattern.test(spanId) && spanId !== noSpan
}

const trim = (text: string): string => text.replace(/^[ \t]+|[ \t]+$/g, "")

const put = (out: Record<string, string>, name: string, value: string): void => {
  Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true })
}

const stateKey = /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})$/
const stateValue = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/

// Malformed vendor data is dropped as a whole, as the recommendation asks; the trace itself goes on.
const cleanTraceState = (header: string): string | undefined => {
  const members: Array<string> = []
  const seen = new Set<string>()
  for (const raw of header.split(",")) {
    const member = trim(raw)
    if (member === "") continue
    const equals = member.indexOf("=")
    const key = member.slice(0, Math.max(0, equals))
    if (!stateKey.test(key) || !stateValue.test(member.slice(equals + 1)) || seen.has(key)) return undefined
    seen.add(key)
    if (members.push(member) > 32) return undefined
  }
  return members.length === 0 ? undefined : members.join(",")
}

const baggageText = /^[\x20-\x7e\t]+$/
const maxBaggage = 8192

// Not parsed: it is passed on. But a line break in it would become a header of its own in some transports.
const cleanBaggage = (header: string | undefined): string | undefined => {
  if (header === undefined) return undefined
  const text = trim(header)
  return text.length <= maxBaggage && baggageText.test(text) ? text : undefined
}
