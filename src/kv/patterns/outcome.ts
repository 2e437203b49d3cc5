/** Results as they are kept: a success through its schema, a typed failure through its own. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { StoredValue } from "../driver.ts"
import { KvError, Undecodable, Unencodable } from "../KvError.ts"
import type { Entry, Key } from "../model.ts"
import { formatKey } from "../value.ts"

type Kind = "Success" | "Failure"

/** Codes results of one shape. `error` absent: failures are not kept. */
export interface OutcomeCodec<A, E, Enc, Dec> {
  readonly encodeSuccess: (key: Key, value: A) => Effect.Effect<StoredValue, KvError, Enc>
  /** `undefined`: this cause is not one failure that fits the schema, so it is not kept. */
  readonly encodeFailure: (
    key: Key,
    cause: Cause.Cause<unknown>
  ) => Effect.Effect<StoredValue | undefined, KvError, Enc>
  /** Fails with a kept failure, and with `Undecodable` for what cannot be read. */
  readonly decode: (entry: Entry) => Effect.Effect<A, E | KvError, Dec>
}

export const outcomeCodec = <S extends Schema.Top, X extends Schema.Top>(
  success: S,
  error: X | undefined
): OutcomeCodec<
  S["Type"],
  X["Type"],
  S["EncodingServices"] | X["EncodingServices"],
  S["DecodingServices"] | X["DecodingServices"]
> => {
  type Enc = S["EncodingServices"] | X["EncodingServices"]
  type Dec = S["DecodingServices"] | X["DecodingServices"]
  const coder = (schema: Schema.Top) => {
    const json = Schema.toCodecJson(schema)
    return {
      encode: Schema.encodeEffect(json) as (a: unknown) => Effect.Effect<Schema.Json, Schema.SchemaError, Enc>,
      decode: Schema.decodeUnknownEffect(json) as (u: unknown) => Effect.Effect<unknown, Schema.SchemaError, Dec>
    }
  }
  const good = coder(success)
  const bad = error === undefined ? undefined : coder(error)
  const fits = error === undefined ? () => false : Schema.is(error)

  const encoded = (key: Key, kind: Kind, coding: Effect.Effect<Schema.Json, Schema.SchemaError, Enc>) =>
    Effect.mapBoth(coding, {
      onSuccess: (value): StoredValue => ({ _tag: "Json", text: JSON.stringify({ _tag: kind, value }) }),
      onFailure: (problem) =>
        new KvError({ reason: new Unencodable({ key: formatKey(key), path: "$", detail: problem.message }) })
    })
  return {
    encodeSuccess: (key, value) => encoded(key, "Success", good.encode(value)),
    encodeFailure: (key, cause) => {
      const failure = onlyFailure(cause)
      return bad === undefined || failure === undefined || !fits(failure.error)
        ? Effect.undefined
        : encoded(key, "Failure", bad.encode(failure.error))
    },
    decode: (entry) => {
      const { _tag, value } = (entry.value ?? {}) as { readonly _tag?: unknown; readonly value?: unknown }
      if (_tag === "Success")
        return Effect.mapError(good.decode(value), (problem) => undecodable(entry, problem.message)) as Effect.Effect<
          S["Type"],
          KvError,
          Dec
        >
      if (_tag !== "Failure") return Effect.fail(undecodable(entry, "it is no kept result"))
      if (bad === undefined)
        return Effect.fail(undecodable(entry, "it is a kept failure, and no schema for errors is given"))
      return Effect.flatMap(
        Effect.mapError(bad.decode(value), (problem) => undecodable(entry, problem.message)),
        (failure) => Effect.fail(failure as X["Type"])
      )
    }
  }
}

const undecodable = (entry: Entry, detail: string) =>
  new KvError({ reason: new Undecodable({ key: formatKey(entry.key), detail }) })

/** The failure of a cause that consists of failures alone: a defect or an interruption beside it is no result. */
const onlyFailure = (cause: Cause.Cause<unknown>): Cause.Fail<unknown> | undefined => {
  let first: Cause.Fail<unknown> | undefined
  for (const reason of cause.reasons) {
    if (!Cause.isFailReason(reason)) return undefined
    first ??= reason
  }
  return first
}
