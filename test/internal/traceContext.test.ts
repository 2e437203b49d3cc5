import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Option, Tracer } from "effect"
import * as TraceContext from "../../src/internal/traceContext.ts"

const traceId = "0af7651916cd43dd8448eb211c80319c"
const spanId = "b7ad6b7169203331"
const valid = `00-${traceId}-${spanId}-01`

const external = (annotations?: Context.Context<never>): Tracer.ExternalSpan =>
  Tracer.externalSpan({ traceId, spanId, sampled: true, annotations })

const some = <A>(option: Option.Option<A>): A => {
  if (Option.isNone(option)) throw new Error("expected Some")
  return option.value
}

const injectCurrent = (headers: TraceContext.Headers) =>
  Effect.withFiber((fiber) => Effect.succeed(TraceContext.injectFrom(fiber.context, headers)))

describe("traceparent is read by the letter of the W3C recommendation", () => {
  const accepted: ReadonlyArray<readonly [name: string, header: string, sampled: boolean]> = [
    ["a sampled one", valid, true],
    ["one that is not sampled", `00-${traceId}-${spanId}-00`, false],
    ["unknown flags beside sampled", `00-${traceId}-${spanId}-ff`, true],
    ["unknown flags without sampled", `00-${traceId}-${spanId}-fe`, false],
    ["the random flag of level 2", `00-${traceId}-${spanId}-03`, true],
    ["a later version of the same length", `cc-${traceId}-${spanId}-01`, true],
    ["a later version with more fields", `cc-${traceId}-${spanId}-01-what-the-future-will-be-like`, true],
    ["space around it", ` \t${valid}\t `, true]
  ]
  it.each(accepted.map(([name, header, sampled]) => ({ name, header, sampled })))(
    "takes $name",
    ({ header, sampled }) => {
      const span = some(TraceContext.fromTraceparent(header))
      assert.deepStrictEqual(
        { tag: span._tag, traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
        { tag: "ExternalSpan", traceId, spanId, sampled }
      )
    }
  )

  const refused: ReadonlyArray<readonly [name: string, header: string]> = [
    ["nothing", ""],
    ["version ff", `ff-${traceId}-${spanId}-01`],
    ["a version that is not hex", `.0-${traceId}-${spanId}-01`],
    ["a version of one digit", `0-${traceId}-${spanId}-01`],
    ["a fifth field in version 00", `${valid}-extra`],
    ["a dash at the end in version 00", `${valid}-`],
    ["a later version with text glued on", `cc-${traceId}-${spanId}-01.what`],
    ["a later version cut short", `cc-${traceId}-${spanId}-0`],
    ["an all-zero trace id", `00-${"0".repeat(32)}-${spanId}-01`],
    ["an all-zero span id", `00-${traceId}-${"0".repeat(16)}-01`],
    ["upper case in the trace id", `00-${traceId.toUpperCase()}-${spanId}-01`],
    ["upper case in the span id", `00-${traceId}-${spanId.toUpperCase()}-01`],
    ["upper case in the flags", `00-${traceId}-${spanId}-0A`],
    ["a trace id too short", `00-${traceId.slice(1)}-${spanId}-01`],
    ["a trace id too long", `00-0${traceId}-${spanId}-01`],
    ["a span id too short", `00-${traceId}-${spanId.slice(1)}-01`],
    ["a trace id that is not hex", `00-${traceId.slice(1)}.-${spanId}-01`],
    ["flags that are not hex", `00-${traceId}-${spanId}-.0`],
    ["other separators", valid.replaceAll("-", "_")],
    ["a line break at the end", `${valid}\n`],
    ["a list of two", `${valid},${valid}`]
  ]
  it.each(refused.map(([name, header]) => ({ name, header })))("refuses $name", ({ header }) => {
    assert.isTrue(Option.isNone(TraceContext.fromTraceparent(header)))
  })
})

describe("traceparent is written so that others can read it", () => {
  it("has version 00, the ids and the sampled flag", () => {
    assert.strictEqual(TraceContext.toTraceparent(external()), valid)
    assert.strictEqual(TraceContext.toTraceparent({ ...external(), sampled: false }), `00-${traceId}-${spanId}-00`)
  })

  it("pads 64-bit trace ids and lowers upper case", () => {
    const span = Tracer.externalSpan({ traceId: "ABCDEF0123456789", spanId: "B7AD6B7169203331" })
    const header = TraceContext.toTraceparent(span)
    assert.strictEqual(header, `00-0000000000000000abcdef0123456789-${spanId}-01`)
    assert.isTrue(Option.isSome(TraceContext.fromTraceparent(header)))
  })

  it.effect("reads back the span of a running fiber", () =>
    Effect.gen(function* () {
      const span = yield* Effect.currentSpan
      const back = some(TraceContext.fromTraceparent(TraceContext.toTraceparent(span)))
      assert.deepStrictEqual([back.traceId, back.spanId, back.sampled], [span.traceId, span.spanId, span.sampled])
    }).pipe(Effect.withSpan("work"))
  )
})

describe("inject gives new headers that carry the span", () => {
  it("keeps all other headers and leaves the given ones alone", () => {
    const headers = { a: "1", tracestate: "v=1", baggage: "k=1" }
    const out = TraceContext.inject(headers, external())
    assert.deepStrictEqual(out, { a: "1", tracestate: "v=1", baggage: "k=1", traceparent: valid })
    assert.deepStrictEqual(headers, { a: "1", tracestate: "v=1", baggage: "k=1" })
  })

  it("replaces a traceparent in any case, and keeps tracestate and baggage in any case", () => {
    const out = TraceContext.inject({ TraceParent: "old", TRACESTATE: "v=1", Baggage: "k=1" }, external(), {
      baggage: "x=1"
    })
    assert.deepStrictEqual(out, { TRACESTATE: "v=1", Baggage: "k=1", traceparent: valid })
  })

  it("prefers given tracestate and baggage to those the span inherits", () => {
    const span = external(
      Context.make(TraceContext.TraceState, "mine=1").pipe(Context.add(TraceContext.CurrentBaggage, "mine=1"))
    )
    const inherited = TraceContext.inject({}, span)
    assert.deepStrictEqual(inherited, { traceparent: valid, tracestate: "mine=1", baggage: "mine=1" })
    const given = TraceContext.inject({ TraceState: "v=1", Baggage: "k=1" }, span)
    assert.deepStrictEqual(given, { TraceState: "v=1", Baggage: "k=1", traceparent: valid })
  })

  it("adds no trace for a span without W3C ids, and keeps the caller's own", () => {
    for (const ids of [
      { traceId: "noop", spanId: "noop" },
      { traceId: "0".repeat(32), spanId },
      { traceId, spanId: "0".repeat(16) },
      { traceId, spanId: "123" }
    ]) {
      assert.deepStrictEqual(TraceContext.inject({ traceparent: valid }, Tracer.externalSpan(ids)), {
        traceparent: valid
      })
      assert.deepStrictEqual(TraceContext.inject({}, Tracer.externalSpan(ids)), {})
    }
    assert.deepStrictEqual(TraceContext.inject({ a: "1" }, undefined), { a: "1" })
  })

  it("copies a header that is called __proto__", () => {
    const headers = JSON.parse('{"__proto__":"x"}') as Record<string, string>
    assert.strictEqual(JSON.stringify(TraceContext.inject(headers, undefined)), '{"__proto__":"x"}')
  })

  it.effect("sends the nearest enabled parent of disabled spans", () =>
    Effect.gen(function* () {
      const outer = yield* Effect.currentSpan
      const switchedOff = yield* Effect.currentParentSpan.pipe(
        Effect.withSpan("hidden"),
        Effect.withSpan("hidden too"),
        Effect.withTracerEnabled(false)
      )
      const annotated = yield* Effect.currentParentSpan.pipe(
        Effect.withSpan("hidden", { annotations: Context.make(Tracer.DisablePropagation, true) })
      )
      for (const span of [switchedOff, annotated]) {
        assert.strictEqual(span.traceId, "noop")
        assert.deepStrictEqual(TraceContext.inject({}, span), { traceparent: TraceContext.toTraceparent(outer) })
      }
    }).pipe(Effect.withSpan("outer"))
  )
})

describe("extract finds the sender's span", () => {
  it("whatever the case of the names", () => {
    const span = some(TraceContext.extract({ TRACEPARENT: valid, TraceState: "a=1", BAGGAGE: "k=v" }))
    assert.strictEqual(span.traceId, traceId)
    assert.strictEqual(TraceContext.traceStateOf(span), "a=1")
    assert.strictEqual(TraceContext.baggageOf(span), "k=v")
  })

  it("gives none without a valid traceparent, whatever else is there", () => {
    for (const headers of [
      {},
      { tracestate: "a=1", baggage: "k=v" },
      { traceparent: "bad" },
      { traceparent: 7 as never }
    ]) {
      assert.isTrue(Option.isNone(TraceContext.extract(headers)))
    }
  })

  it("gives none for two that differ, and the one for two that agree", () => {
    const other = `00-${traceId}-${"1".repeat(16)}-01`
    assert.isTrue(Option.isNone(TraceContext.extract({ traceparent: valid, Traceparent: other })))
    assert.isTrue(Option.isSome(TraceContext.extract({ traceparent: valid, Traceparent: valid })))
  })

  const states: ReadonlyArray<readonly [name: string, given: string, kept: string | undefined]> = [
    ["one member", "rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"],
    ["several members, in order", "rojo=1,congo=t61rcWkgMzE", "rojo=1,congo=t61rcWkgMzE"],
    ["space and empty members", " foo=1 ,, bar=2\t,", "foo=1,bar=2"],
    ["a tenant key", "0a1_-*/@vendor-1=x y", "0a1_-*/@vendor-1=x y"],
    [
      "32 members",
      Array.from({ length: 32 }, (_, i) => `k${i}=1`).join(","),
      Array.from({ length: 32 }, (_, i) => `k${i}=1`).join(",")
    ],
    ["33 members", Array.from({ length: 33 }, (_, i) => `k${i}=1`).join(","), undefined],
    ["the same key twice", "foo=1,foo=2", undefined],
    ["no value", "foo=", undefined],
    ["no equals sign", "foo", undefined],
    ["an upper-case key", "FOO=1", undefined],
    ["a second equals sign", "foo=bar=baz", undefined],
    ["a line break", "foo=1\r\nx-evil: 1", undefined],
    ["nothing", "", undefined]
  ]
  it.each(states.map(([name, given, kept]) => ({ name, given, kept })))("tracestate with $name", ({ given, kept }) => {
    const span = some(TraceContext.extract({ traceparent: valid, tracestate: given }))
    assert.strictEqual(span.traceId, traceId)
    assert.strictEqual(TraceContext.traceStateOf(span), kept)
  })

  it("drops baggage with control characters, and baggage that is out of all measure", () => {
    for (const baggage of ["a=1\r\nx-evil: 1", "a=\u0000", "ä=1", "", " ", "a=" + "x".repeat(8192)]) {
      assert.isUndefined(TraceContext.baggageOf(some(TraceContext.extract({ traceparent: valid, baggage }))))
      assert.isUndefined(TraceContext.extractBaggage({ baggage }))
    }
    assert.strictEqual(TraceContext.extractBaggage({ Baggage: " a=1;p=2 , b=%20 " }), "a=1;p=2 , b=%20")
  })
})

describe("a consumer continues the producer's trace and passes its context on", () => {
  const incoming = { traceparent: valid, tracestate: "rojo=1", baggage: "user=7" }

  it.effect("through spans that know nothing of it", () =>
    Effect.gen(function* () {
      const span = yield* Effect.currentSpan
      const out = yield* injectCurrent({})
      assert.deepStrictEqual(out, {
        traceparent: TraceContext.toTraceparent(span),
        tracestate: "rojo=1",
        baggage: "user=7"
      })
      assert.strictEqual(span.traceId, traceId)
      assert.notStrictEqual(span.spanId, spanId)
    }).pipe(Effect.withSpan("inner"), Effect.withSpan("process"), TraceContext.withExtracted(incoming))
  )

  it.effect("when only the span was handed on, not the fiber", () =>
    Effect.gen(function* () {
      const span = yield* Effect.currentSpan
      assert.strictEqual(TraceContext.baggageOf(span), "user=7")
      const out = TraceContext.inject({}, span)
      assert.deepStrictEqual([out["tracestate"], out["baggage"]], ["rojo=1", "user=7"])
    }).pipe(Effect.withSpan("process"), Effect.withParentSpan(some(TraceContext.extract(incoming))))
  )

  it.effect("with the fiber's own baggage first, and none when that is empty", () =>
    Effect.gen(function* () {
      const send = injectCurrent({})
      const own = yield* Effect.provideService(send, TraceContext.CurrentBaggage, "user=8")
      const none = yield* Effect.provideService(send, TraceContext.CurrentBaggage, "")
      assert.strictEqual(own["baggage"], "user=8")
      assert.isFalse("baggage" in none)
    }).pipe(Effect.withSpan("process"), TraceContext.withExtracted(incoming))
  )

  it.effect("without tracestate once a new trace has begun", () =>
    Effect.gen(function* () {
      const out = yield* injectCurrent({})
      assert.isFalse("tracestate" in out)
      assert.strictEqual(out["baggage"], "user=7")
      assert.notInclude(out["traceparent"], traceId)
    }).pipe(Effect.withSpan("fresh", { root: true }), TraceContext.withExtracted(incoming))
  )

  it.effect("carries baggage also where there is no trace", () =>
    Effect.gen(function* () {
      const out = yield* injectCurrent({})
      assert.deepStrictEqual(out, { baggage: "user=7" })
    }).pipe(TraceContext.withExtracted({ baggage: "user=7" }))
  )

  it.effect("leaves an effect alone when the headers carry nothing", () =>
    Effect.gen(function* () {
      const work = Effect.succeed(1)
      assert.strictEqual(TraceContext.withExtracted({ a: "1" })(work), work)
      assert.deepStrictEqual(yield* injectCurrent({ a: "1" }), { a: "1" })
    })
  )
})
