import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { messageCodec } from "../../src/queue/encode.ts"

class Person extends Schema.Class<Person>("Person")({
  name: Schema.String.check(Schema.isMinLength(1)),
  born: Schema.Date
}) {}

const born = new Date("1815-12-10T00:00:00Z")
const cases: ReadonlyArray<{
  readonly schema: Schema.Top
  readonly values: ReadonlyArray<unknown>
  readonly texts: ReadonlyArray<string>
}> = [
  {
    schema: Person,
    values: [new Person({ name: "Ada", born }), { name: "Ada", born }, { name: "", born }, null],
    texts: [
      `{"name":"Ada","born":"${born.toISOString()}"}`,
      `{"name":"","born":"${born.toISOString()}"}`,
      '{"name":"Ada"',
      '{"name":7}',
      "7",
      "null",
      ""
    ]
  },
  { schema: Schema.Void, values: [undefined, 1], texts: ["null", "1", "x"] },
  { schema: Schema.Undefined, values: [undefined, 1], texts: ["null"] },
  { schema: Schema.Any, values: [undefined, 1n, { a: 1 }], texts: ["1"] },
  { schema: Schema.Unknown, values: [1, undefined, born, 1n], texts: ["[1]", "x"] },
  { schema: Schema.BigInt, values: [5n, 5], texts: ['"5"', "5"] }
]

const messageOf = (error: Schema.SchemaError): string => error.message

/** What Effect itself makes of it: the value, or what the error says. */
const reference = (schema: Schema.Top, validate: boolean) => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(schema)) as unknown as Schema.Codec<unknown, string>
  const options = { disableChecks: !validate }
  return {
    encode: (value: unknown) => Effect.mapError(Schema.encodeUnknownEffect(codec, options)(value), messageOf),
    decode: (text: string) => Effect.mapError(Schema.decodeEffect(codec, options)(text), messageOf)
  }
}
const outcome = (effect: Effect.Effect<unknown, string>) =>
  Effect.match(effect, { onSuccess: (value) => ({ value }), onFailure: (refused) => ({ refused }) })

describe("the coding of a payload is that of Schema.fromJsonString, in texts, values and errors", () => {
  for (const { schema, texts, values } of cases)
    for (const validate of [true, false])
      it.effect(`${schema.ast._tag}, ${values.length} values, ${texts.length} texts, checks ${String(validate)}`, () =>
        Effect.gen(function* () {
          const ours = messageCodec("", schema, schema, validate)
          const theirs = reference(schema, validate)
          for (const text of texts)
            assert.deepStrictEqual(yield* outcome(ours.decode(text)), yield* outcome(theirs.decode(text)), text)
          // A result is encoded with its checks, whatever the definition says of payloads.
          for (const value of values)
            assert.deepStrictEqual(
              yield* outcome(ours.encodeSuccess!(value)),
              yield* outcome(reference(schema, true).encode(value))
            )
        })
      )

  it.effect("also of a made payload", () =>
    Effect.gen(function* () {
      const { text } = yield* messageCodec("", Person, undefined, true).encode({ name: "Ada", born })
      assert.strictEqual(text, yield* reference(Person, true).encode(new Person({ name: "Ada", born })))
    })
  )
})
