import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { pack, packedSize } from "../internal/keyCodec.ts"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { conflict, failure, some } from "./kvSupport.ts"

const keySize = (key: Kv.Key) => packedSize(pack(key) as Kv.Packed)

/** A JSON text of exactly this many bytes. */
const textOfSize = (bytes: number) => "x".repeat(bytes - 2)

const megabyte = 1_048_576

export const limitCases = (test: Cases, title: string): void => {
  describe(title, () => {
    test("offer the portable floor at least", ({ key, kv }) =>
      Effect.gen(function* () {
        const { limits } = kv.capabilities
        for (const name of ["key", "value", "checks", "mutations", "commit"] as const) {
          assert.isAtLeast(limits[name], Kv.portableLimits[name], name)
        }
        assert.deepStrictEqual(Kv.portableLimits, {
          key: 2_048,
          value: 65_536,
          checks: 8,
          mutations: 1_000,
          commit: 819_200
        })
        yield* kv.set(key("json"), textOfSize(65_536))
        yield* kv.set(key("bytes"), new Uint8Array(65_536))
        assert.strictEqual((some(yield* kv.get(key("json"))).value as string).length, 65_534)
        assert.strictEqual((some(yield* kv.get(key("bytes"))).value as Uint8Array).length, 65_536)
        yield* Kv.atomic([
          ...Array.from({ length: 8 }, (_, i) => Kv.check(key("none", i), null)),
          ...Array.from({ length: 1_000 }, (_, i) => Kv.set(key("many", i), i))
        ])
        assert.isTrue(yield* kv.has(key("many", 999)))
        const twelve = Array.from({ length: 12 }, (_, i) => Kv.set(key("large", i), new Uint8Array(65_536)))
        yield* Kv.atomic(twelve)
        assert.isTrue(yield* kv.has(key("large", 11)))
      }))

    test("refuse a value of one byte too many, counted as it is stored", ({ key, kv }) =>
      Effect.gen(function* () {
        const limit = kv.capabilities.limits.value
        const bytes = yield* failure("TooLarge", kv.set(key("a"), new Uint8Array(limit + 1)))
        assert.deepStrictEqual([bytes.what, bytes.actual, bytes.limit], ["value", limit + 1, limit])
        yield* failure("TooLarge", kv.set(key("a"), textOfSize(limit + 1)))
        const wide = yield* failure("TooLarge", Kv.atomic([Kv.set(key("a"), "\u20ac".repeat(Math.ceil(limit / 3)))]))
        assert.strictEqual(wide.what, "value")
        assert.isFalse(yield* kv.has(key("a")))
        if (limit > 16 * megabyte) return
        yield* kv.set(key("a"), textOfSize(limit))
        yield* kv.set(key("b"), new Uint8Array(limit))
        assert.isTrue(yield* kv.has(key("b")))
      }))

    test("refuse one check or one mutation too many, and write nothing", ({ key, kv }) =>
      Effect.gen(function* () {
        const { limits } = kv.capabilities
        if (Number.isFinite(limits.checks) && limits.checks <= 100_000) {
          const checks = Array.from({ length: limits.checks }, () => Kv.check(key("none"), null))
          yield* Kv.atomic([...checks, Kv.set(key("a"), 1)])
          const reason = yield* failure(
            "TooLarge",
            Kv.atomic([...checks, Kv.check(key("none"), null), Kv.set(key("b"), 1)])
          )
          assert.deepStrictEqual(
            [reason.what, reason.actual, reason.limit],
            ["checks", limits.checks + 1, limits.checks]
          )
        }
        if (Number.isFinite(limits.mutations) && limits.mutations <= 100_000) {
          const deletes = Array.from({ length: limits.mutations }, () => Kv.delete(key("none")))
          yield* Kv.atomic(deletes)
          const reason = yield* failure("TooLarge", Kv.atomic([...deletes, Kv.set(key("b"), 1)]))
          assert.strictEqual(reason.what, "mutations")
          assert.strictEqual(reason.actual, limits.mutations + 1)
        }
        assert.isFalse(yield* kv.has(key("b")))
      }))

    test("refuse a commit that is too large as a whole", ({ key, kv }) =>
      Effect.gen(function* () {
        const { limits } = kv.capabilities
        if (limits.commit > 2 * megabyte) return
        const full: Array<Kv.Op<Kv.Versionstamp, Kv.KvError, never>> = []
        let left = limits.commit
        for (let i = 0; left > 0; i++) {
          const room = left - keySize(key("a", i))
          const value = Math.min(limits.value, room)
          if (value < 3) break
          full.push(Kv.set(key("a", i), new Uint8Array(value)))
          left -= keySize(key("a", i)) + value
        }
        assert.isBelow(left, 100)
        yield* Kv.atomic(full)
        const reason = yield* failure("TooLarge", Kv.atomic([...full, Kv.set(key("b"), "x".repeat(100))]))
        assert.strictEqual(reason.what, "commit")
        assert.isFalse(yield* kv.has(key("b")))
      }))

    test("are no Conflict: with too much to write a stale check is not even looked at", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        const stale = Kv.check(key("a"), null)
        yield* conflict(Kv.atomic([stale]))
        yield* failure(
          "TooLarge",
          Kv.atomic([stale, Kv.set(key("b"), new Uint8Array(kv.capabilities.limits.value + 1))])
        )
      }))
  })
}
