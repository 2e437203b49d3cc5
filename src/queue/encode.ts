/**
 * From a payload and options to what a driver publishes. Options of the call win over those of the definition.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import type { Dedupe, Publication } from "../internal/envelope.ts"
import { envelopeVersion } from "../internal/envelope.ts"
import { injectCurrent } from "../internal/traceContext.ts"
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

const messageOf = (error: Schema.SchemaError): string => error.message

/** The coding of one kind of message. The requirements of its schemas flow through the definition's types. */
export const messageCodec = (
  name: string,
  payload: Schema.Top,
  success: Schema.Top | undefined,
  validate: boolean
): MessageCodec => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(payload)) as unknown as Schema.Codec<unknown, string>
  const options = { disableChecks: !validate }
  const encodeText = Schema.encodeEffect(codec, options)
  const decodeText = Schema.decodeUnknownEffect(codec, options)
  const encodeSuccess =
    success === undefined
      ? undefined
      : Schema.encodeEffect(
          Schema.fromJsonString(Schema.toCodecJson(success)) as unknown as Schema.Codec<unknown, string>
        )
  return {
    name,
    encode: (input) =>
      payload.makeEffect(input, options).pipe(
        Effect.mapError((issue) => new Schema.SchemaError(issue).message),
        Effect.flatMap((made) =>
          Effect.mapBoth(encodeText(made), { onFailure: messageOf, onSuccess: (text) => ({ made, text }) })
        )
      ),
    decode: (text) => Effect.mapError(decodeText(text), messageOf),
    encodeSuccess: encodeSuccess === undefined ? undefined : (value) => Effect.mapError(encodeSuccess(value), messageOf)
  }
}

export interface EncodeRequest {
  readonly queue: string
  readonly codec: MessageCodec
  readonly defaults: EnqueueDefaults<any>
  readonly schemaVersion: number | undefined
  readonly nextId: (now: number) => string
}

export const encodePublication = (
  request: EncodeRequest,
  input: unknown,
  options: EnqueueOptions | undefined
): Effect.Effect<Publication, QueueError> =>
  Effect.gen(function* () {
    const { queue, codec } = request
    const bad = (detail: string) => new QueueError({ reason: new Unencodable({ queue, name: codec.name, detail }) })
    const { made, text } = yield* Effect.mapError(codec.encode(input), bad)
    const given = <K extends keyof EnqueueOptions>(key: K): EnqueueOptions[K] => {
      const own = options?.[key]
      if (own !== undefined) return own
      const byDefault: unknown = request.defaults[key as keyof EnqueueDefaults<any>]
      return (typeof byDefault === "function" ? byDefault(made) : byDefault) as EnqueueOptions[K]
    }
    const millis = (name: string, value: Duration.Input | undefined, least: number) =>
      Effect.suspend((): Effect.Effect<number | undefined, QueueError> => {
        if (value === undefined) return Effect.undefined
        const ms = durationMillis(value)
        return ms !== undefined && Number.isFinite(ms) && ms >= least
          ? Effect.succeed(ms)
          : Effect.fail(
              bad(
                `${name} is ${describeInput(value)}; give a finite duration ${least > 0 ? "above zero" : "from zero"}`
              )
            )
      })

    const at = options?.at === undefined ? undefined : DateTime.make(options.at)
    if (at !== undefined && Option.isNone(at))
      return yield* bad(
        `at is ${describeInput(options?.at)}, which is no instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text`
      )
    if (options?.at !== undefined && options.delay !== undefined)
      return yield* bad("delay and at exclude each other; give one of them")
    const delay = at === undefined ? yield* millis("delay", given("delay"), 0) : undefined
    const ttl = yield* millis("ttl", given("ttl"), Number.MIN_VALUE)
    const timeout = yield* millis("timeout", given("timeout"), Number.MIN_VALUE)
    const priority = given("priority") ?? 0
    if (!Number.isSafeInteger(priority))
      return yield* bad(`priority is ${describeInput(priority)}; give a whole number`)
    const id = given("id")
    if (id !== undefined && (typeof id !== "string" || id === "" || id.length > 255))
      return yield* bad("an id has 1 to 255 characters")
    const group = given("group")
    if (group === "") return yield* bad("a group is a text that is not empty; leave it out for none")
    for (const name of ["headers", "meta"] as const)
      for (const [key, value] of Object.entries<unknown>(given(name) ?? {}))
        if (typeof value !== "string")
          return yield* bad(`${name}.${key} is ${describeInput(value)}; headers and meta hold texts`)
    const dedupe = given("dedupe")
    const now = yield* Clock.currentTimeMillis
    const headers = yield* injectCurrent(given("headers") ?? {})
    return {
      message: {
        v: envelopeVersion,
        id: id ?? request.nextId(now),
        queue,
        name: codec.name,
        payload: text,
        encoding: "json",
        schemaVersion: request.schemaVersion,
        enqueuedAt: now,
        notBefore: at === undefined ? undefined : DateTime.toEpochMillis(at.value),
        priority,
        group,
        dedupe:
          dedupe === undefined
            ? undefined
            : yield* encodeDedupe(
                dedupe,
                at === undefined ? (delay ?? 0) : Math.max(0, DateTime.toEpochMillis(at.value) - now),
                millis,
                bad
              ),
        timeout,
        headers,
        meta: given("meta") ?? {}
      },
      delay,
      ttl
    }
  })

const encodeDedupe = (
  options: DedupeOptions,
  delay: number,
  millis: (
    name: string,
    value: Duration.Input | undefined,
    least: number
  ) => Effect.Effect<number | undefined, QueueError>,
  bad: (detail: string) => QueueError
): Effect.Effect<Dedupe, QueueError> =>
  typeof options.key !== "string" || options.key === ""
    ? Effect.fail(bad("dedupe.key is empty; give the text that makes two messages the same"))
    : Effect.map(millis("dedupe.for", options.for, Number.MIN_VALUE), (window) => ({
        key: options.key,
        window: window ?? defaultWindow + delay,
        onDuplicate: options.onDuplicate ?? "keep"
      }))
