import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { isKeyProblem, pack, type Packed, packPrefix, prefixRange } from "../../../src/internal/keyCodec.ts"
import type * as Kv from "../../../src/Kv.ts"
import * as DenoKv from "../../../src/layers/denokv/index.ts"
import { selectorOf } from "../../../src/layers/denokv/kv/ranges.ts"

const packed = (...parts: ReadonlyArray<Kv.KeyPart>): Packed => {
  const found = pack(parts)
  return isKeyProblem(found) ? assert.fail(found.detail) : found
}
const after = (key: Packed): Packed => `${key}\u0000` as Packed

/** Keys that lie close to each other in every way in which keys can. */
const keys: ReadonlyArray<Packed> = [
  packed(Uint8Array.of(0)),
  packed(Uint8Array.of(0), 1),
  packed("a"),
  packed("a", new Uint8Array(0)),
  packed("a", Uint8Array.of(0)),
  packed("a", "b"),
  packed("a", "b", -1),
  packed("a", 1n),
  packed("a", 1),
  packed("a", false),
  packed("a", true),
  packed("a", true, true),
  packed("a\0"),
  packed("a\0b"),
  packed("b"),
  packed("k".repeat(2_044), true),
  packed("k".repeat(2_046)),
  packed("l".repeat(2_044)),
  packed("l".repeat(2_044), true),
  packed(1),
  packed(true),
  packed(true, true)
].toSorted()

const prefixes = [[], ["a"], ["a", "b"], ["a\0"], ["k".repeat(2_044)], [true]].map((parts) => {
  const prefix = packPrefix(parts as ReadonlyArray<Kv.KeyPart>)
  return isKeyProblem(prefix) ? assert.fail(prefix.detail) : prefixRange(prefix)
})

describe("a range as Deno KV selects it", () => {
  it.live("shows the driver's entries of every range between any two bounds, upwards and downwards", () =>
    Effect.gen(function* () {
      const connection = yield* DenoKv.makeConnection({ path: ":memory:" })
      const driver = yield* DenoKv.makeKvDriver(connection)
      yield* driver.commit({
        id: "0".repeat(20),
        checks: [],
        mutations: keys.map((key) => ({ _tag: "Set", key, value: { _tag: "Json", text: "1" }, expireIn: undefined })),
        size: 0
      })
      const starts = [...keys, ...keys.map(after), ...prefixes.map(({ start }) => start)]
      const ends = [...keys, ...keys.map(after), ...prefixes.map(({ end }) => end)]
      let compared = 0
      for (const [i, start] of starts.entries())
        for (const [j, end] of ends.entries()) {
          // All of them are some thousands; every third is enough to meet each kind with each.
          if ((i + j) % 3 !== 0 && !end.endsWith("\u00ff")) continue
          const wanted = keys.filter((key) => key >= start && key < end)
          for (const reverse of [false, true]) {
            const { entries } = yield* driver.list({ start, end }, { limit: 100, reverse })
            const found = entries.map(({ key }) => key)
            assert.deepStrictEqual(found, reverse ? wanted.toReversed() : wanted, JSON.stringify([start, end, reverse]))
            compared++
          }
        }
      assert.isAbove(compared, 1_000)
      assert.isUndefined(selectorOf({ start: packed("b"), end: packed("a") }))
    })
  )
})
