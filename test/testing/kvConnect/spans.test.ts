import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted, Tracer } from "effect"
import * as Memory from "../../../src/layers/memory/index.ts"
import { MutationType, ValueEncoding } from "../../../src/testing/kvConnect/datapath_pb.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { catching, parentOf } from "../../../src/testing/spanKit.ts"
import { accessToken } from "./clients.ts"
import { connect, packed } from "./wire.ts"

const mutation = {
  key: packed("k"),
  value: { data: new Uint8Array([1]), encoding: ValueEncoding.VE_BYTES },
  mutationType: MutationType.M_SET
}

describe("a request", () => {
  const spansOf = (tracing: boolean) =>
    Effect.gen(function* () {
      const { spans, tracer } = catching()
      yield* Effect.gen(function* () {
        const { faults, url: base } = yield* KvConnect.make({ accessTokens: [Redacted.make(accessToken)], tracing })
        const { write } = yield* connect(base)
        yield* write({ mutations: [mutation] })
        yield* faults.inject({ _tag: "Status", status: 503 })
        yield* write({ mutations: [mutation] })
      }).pipe(Effect.scoped, Effect.withSpan("program"), Effect.provideService(Tracer.Tracer, tracer))
      return spans
    }).pipe(Effect.provide(Layer.fresh(Memory.layerKv)))

  it.live("has a span that says what it was and how it ended", () =>
    Effect.gen(function* () {
      const spans = yield* spansOf(true)
      const requests = spans.filter((span) => span.kind === "server")
      assert.deepStrictEqual(
        requests.map(({ attributes, name }) => [
          name,
          attributes.get("http.response.status_code"),
          attributes.get("error.type")
        ]),
        [
          ["POST /", 200, undefined],
          ["POST /v3/atomic_write", 200, undefined],
          ["POST /v3/atomic_write", 503, "503"]
        ]
      )
      for (const span of requests) assert.isTrue(Option.isNone(span.parent))
      // What the store did for it stands below it.
      const below = spans.filter((span) => parentOf(span) === requests[1]!.spanId)
      assert.deepStrictEqual(
        below.map(({ name }) => name),
        ["commit"]
      )
    })
  )

  it.live("has none when tracing is off", () =>
    Effect.map(spansOf(false), (spans) => {
      assert.deepStrictEqual(
        spans.filter((span) => span.kind === "server"),
        []
      )
      assert.isUndefined(spans.find(({ name }) => name === "program")?.attributes.get("http.response.status_code"))
    })
  )
})
