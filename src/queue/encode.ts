/**
 * From a payload and options to what a driver publishes. Options of the call win over those of the definition.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import type { Dedupe, Envelope, Publication } from "../internal/envelope.ts"
import { envelopeVersion } from "../internal/envelope.ts"
import { injectFrom } from "../internal/traceContext.ts"
import type { DedupeOptions, EnqueueDefaults, EnqueueOptions } from "./model.ts"
import { QueueError, Unencodable } from "./QueueError.ts"

const defaultWindow = 300_000

export interface MessageCodec {
  readonly name: string
  readonly encode: (input: unknown) => Effect.Effect<{ readonly made: unknown; readonly text: string }, string>
  readonly decode: (text: string) => Effect.Effect<unknown, string>
  /** Of a success value, when the definition has a schema for it. */
  readonly encodeSuccess: ((value: unknown) => Effect.Effect<string, string>) | undefined
}

/** A schema without effects answers at once: what follows needs no further steps then. */
export const mapNow = <A, B, E, E2>(
  effect: Effect.Effect<A, E>,
  onSuccess: (value: A) => Effect.Effect<B, E2>,
  onFailure: (error: E) => E2
): Effect.Effect<B, E2> =>
  Exit.isExit(effect) && Exit.isSuccess(effect)
    ? onSuccess(effect.value as A)
    : Effect.flatMap(Effect.mapError(effect, onFailure), onSuccess)

/** One after the other; at once when all have answered. */
export const allNow = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>): Effect.Effect<ReadonlyArray<A>, E> => {
  const values: Array<A> = []
  for (const effect of effects) {
    if (!Exit.isExit(effect) || !Exit.isSuccess(effect)) return Effect.all(effects)
    values.push(effect.value as A)
  }
  return Effect.succeed(values)
}

const messageOf = (issue: SchemaIssue.Issue): string => new Schema.SchemaError(issue).message

/**
 * A schema as JSON text. Not `Schema.fromJsonString`: that costs several times what the schema and `JSON` take together, and this is
 * done for every message. Errors read the same, and show no value.
 */
const jsonText = (schema: Schema.Top, options?: { readonly disableChecks: boolean }) => {
  const codec = Schema.toCodecJson(schema) as unknown as Schema.Codec<unknown, unknown>
  const toJson = SchemaParser.encodeUnknownEffect(codec)
  const fromJson = SchemaParser.decodeUnknownEffect(codec)
  return {
    encode: (value: unknown): Effect.Effect<string, string> => mapNow(toJson(value, options), stringify, messageOf),
    decode: (text: string): Effect.Effect<unknown, string> =>
      mapNow(parse(text), (value) => mapNow(fromJson(value, options), Effect.succeed, messageOf), identity<string>)
  }
}

const stringify = (value: unknown): Effect.Effect<string, string> => {
  try {
    const text: string | undefined = JSON.stringify(value)
    if (text !== undefined) return Effect.succeed(text)
  } catch {
    // As below.
  }
  return Effect.fail("Expected a JSON-serializable value")
}

const parse = (text: string): Effect.Effect<unknown, string> => {
  try {
    return Effect.succeed(JSON.parse(text))
  } catch {
    return Effect.fail("Expected a valid JSON string")
  }
}

/** The coding of one kind of message. The requirements of its schemas flow through the definition's types. */
export const messageCodec = (
  name: string,
  payload: Schema.Top,
  success: Schema.Top | undefined,
  validate: boolean
): MessageCodec => {
  const options = { disableChecks: !validate }
  const { decode, encode } = jsonText(payload, options)
  return {
    name,
    encode: (input) =>
      mapNow(
        payload.makeEffect(input, options) as Effect.Effect<unknown, SchemaIssue.Issue>,
        (made) => mapNow(encode(made), (text) => Effect.succeed({ made, text }), identity<string>),
        messageOf
      ),
    decode,
    encodeSuccess: success === undefined ? undefined : jsonText(success).encode
  }
}

export interface EncodeRequest {
  readonly queue: string
  readonly codec: MessageCodec
  /** `undefined`: the definition has none. */
  readonly defaults: EnqueueDefaults<any> | undefined
  readonly schemaVersion: number | undefined
  readonly nextId: (now: number) => string
}

const optionNames: ReadonlyArray<keyof EnqueueDefaults<any>> = [
  "delay",
  "priority",
  "dedupe",
  "ttl",
  "headers",
  "meta",
  "group",
  "timeout",
  "id"
]

/** The enqueue options among those of a definition, `undefined` when it has none: most have none. */
export const enqueueDefaults = <A>(definition: EnqueueDefaults<A>): EnqueueDefaults<A> | undefined =>
  optionNames.some((name) => definition[name] !== undefined) ? definition : undefined

/** With the context of the fiber that enqueues: its clock, and the trace it is in. Most schemas answer at once. */
export const encodePublication = (
  request: EncodeRequest,
  input: unknown,
  options: EnqueueOptions | undefined,
  context: Context.Context<never>
): Effect.Effect<Publication, QueueError> =>
  mapNow(
    request.codec.encode(input),
    ({ made, text }) => {
      const publication = publicationOf(request, made, text, options, context)
      return publication instanceof QueueError ? Effect.fail(publication) : Effect.succeed(publication)
    },
    (detail) => unencodable(request, detail)
  )

const unencodable = ({ codec, queue }: EncodeRequest, detail: string): QueueError =>
  new QueueError({ reason: new Unencodable({ queue, name: codec.name, detail }) })

const noTexts: Readonly<Record<string, string>> = Object.freeze({})

/** Options as the record of a message has them. */
interface Encoded extends Pick<
  Envelope,
  "notBefore" | "priority" | "group" | "dedupe" | "timeout" | "headers" | "meta"
> {
  readonly id: string | undefined
  readonly delay: number | undefined
  readonly ttl: number | undefined
}

const noOptions: Encoded = {
  id: undefined,
  delay: undefined,
  ttl: undefined,
  notBefore: undefined,
  priority: 0,
  group: undefined,
  dedupe: undefined,
  timeout: undefined,
  headers: noTexts,
  meta: noTexts
}

/** Everything but the coding, in one step: an enqueue is what programs do most. */
const publicationOf = (
  request: EncodeRequest,
  made: unknown,
  text: string,
  options: EnqueueOptions | undefined,
  context: Context.Context<never>
): Publication | QueueError => {
  const now = Context.get(context, Clock.Clock).currentTimeMillisUnsafe()
  const encoded =
    options === undefined && request.defaults === undefined ? noOptions : encodeOptions(request, made, options, now)
  if (encoded instanceof QueueError) return encoded
  return {
    message: {
      v: envelopeVersion,
      id: encoded.id ?? request.nextId(now),
      queue: request.queue,
      name: request.codec.name,
      payload: text,
      encoding: "json",
      schemaVersion: request.schemaVersion,
      enqueuedAt: now,
      notBefore: encoded.notBefore,
      priority: encoded.priority,
      group: encoded.group,
      dedupe: encoded.dedupe,
      timeout: encoded.timeout,
      headers: injectFrom(context, encoded.headers),
      meta: encoded.meta
    },
    delay: encoded.delay,
    ttl: encoded.ttl
  }
}

const encodeOptions = (
  request: EncodeRequest,
  made: unknown,
  options: EnqueueOptions | undefined,
  now: number
): Encoded | QueueError => {
  const bad = (detail: string) => unencodable(request, detail)
  const given = <K extends keyof EnqueueOptions>(key: K): EnqueueOptions[K] => {
    const own = options?.[key]
    if (own !== undefined) return own
    const byDefault: unknown = request.defaults?.[key as keyof EnqueueDefaults<any>]
    return (typeof byDefault === "function" ? byDefault(made) : byDefault) as EnqueueOptions[K]
  }
  const at = options?.at === undefined ? undefined : DateTime.make(options.at)
  if (at !== undefined && Option.isNone(at))
    return bad(
      `at is ${describeInput(options?.at)}, which is no instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text`
    )
  if (at !== undefined && options?.delay !== undefined) return bad("delay and at exclude each other; give one of them")
  const delay = at === undefined ? millis("delay", given("delay"), 0, bad) : undefined
  if (delay instanceof QueueError) return delay
  const ttl = millis("ttl", given("ttl"), Number.MIN_VALUE, bad)
  if (ttl instanceof QueueError) return ttl
  const timeout = millis("timeout", given("timeout"), Number.MIN_VALUE, bad)
  if (timeout instanceof QueueError) return timeout
  const priority = given("priority") ?? 0
  if (!Number.isSafeInteger(priority)) return bad(`priority is ${describeInput(priority)}; give a whole number`)
  const id = given("id")
  if (id !== undefined && (typeof id !== "string" || id === "" || id.length > 255))
    return bad("an id has 1 to 255 characters")
  const group = given("group")
  if (group === "") return bad("a group is a text that is not empty; leave it out for none")
  const headers = given("headers") ?? noTexts
  const meta = given("meta") ?? noTexts
  const notText = firstNotText("headers", headers) ?? firstNotText("meta", meta)
  if (notText !== undefined) return bad(notText)
  const notBefore = at === undefined ? undefined : DateTime.toEpochMillis(at.value)
  const asked = given("dedupe")
  const dedupe =
    asked === undefined
      ? undefined
      : encodeDedupe(asked, notBefore === undefined ? (delay ?? 0) : Math.max(0, notBefore - now), bad)
  if (dedupe instanceof QueueError) return dedupe
  return { id, delay, ttl, notBefore, priority, group, dedupe, timeout, headers, meta }
}

const millis = (
  name: string,
  value: Duration.Input | undefined,
  least: number,
  bad: (detail: string) => QueueError
): number | undefined | QueueError => {
  if (value === undefined) return undefined
  const ms = durationMillis(value)
  return ms !== undefined && Number.isFinite(ms) && ms >= least
    ? ms
    : bad(`${name} is ${describeInput(value)}; give a finite duration ${least > 0 ? "above zero" : "from zero"}`)
}

const firstNotText = (name: string, record: Readonly<Record<string, unknown>>): string | undefined => {
  if (record === noTexts) return undefined
  for (const [key, value] of Object.entries(record))
    if (typeof value !== "string") return `${name}.${key} is ${describeInput(value)}; headers and meta hold texts`
  return undefined
}

const encodeDedupe = (
  options: DedupeOptions,
  delay: number,
  bad: (detail: string) => QueueError
): Dedupe | QueueError => {
  if (typeof options.key !== "string" || options.key === "")
    return bad("dedupe.key is empty; give the text that makes two messages the same")
  const window = millis("dedupe.for", options.for, Number.MIN_VALUE, bad)
  return window instanceof QueueError
    ? window
    : { key: options.key, window: window ?? defaultWindow + delay, onDuplicate: options.onDuplicate ?? "keep" }
}
