import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Kv from "../Kv.ts"
import type { Cases, KvSuiteOptions } from "./kvSupport.ts"
import { assertOrdered, some, untilEqual, valueOf, watching } from "./kvSupport.ts"

export const storeCases = <E>(test: Cases, options: KvSuiteOptions<E>): void => {
  describe("the store", () => {
    test("declares what it can, and for people what a commit survives", ({ kv }) =>
      Effect.sync(() => {
        const { capabilities } = kv
        for (const [name, value] of Object.entries(options.capabilities ?? {})) {
          assert.deepStrictEqual(capabilities[name as keyof Kv.Capabilities], value, name)
        }
        assert.match(capabilities.backend, /^[a-z][a-z0-9]*$/)
        assert.isAbove(capabilities.durability.detail.length, 20)
        assert.strictEqual(typeof kv.store, "symbol")
      }))

    test("has a clock that goes forward", ({ advance, kv }) =>
      Effect.gen(function* () {
        const before = yield* kv.now
        yield* advance(40)
        const after = yield* kv.now
        assert.isAtLeast(after - before, options.clock === "virtual" ? 40 : 20)
      }))

    test("is healthy, and names the parts that work in the background", (c) =>
      Effect.gen(function* () {
        const { kv, root } = c
        const before = yield* kv.health
        assert.strictEqual(before.status, "up")
        assert.isTrue(before.parts.some((part) => part.name === kv.capabilities.backend))
        assert.isTrue(before.parts.every((part) => part.status === "up"))
        const w = yield* watching(c, kv.watchPrefix([root]))
        yield* w.synced
        const during = yield* kv.health
        assert.strictEqual(during.status, "up")
        assert.isAbove(during.parts.length, before.parts.length)
        yield* w.stop
        assert.strictEqual((yield* kv.health).parts.length, before.parts.length)
      }))

    test("has values in none of its error messages, and tells what can be tried again", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const secret = "hunter2-hunter2"
        const Secrets = Kv.collection([root, "typed"], {
          key: Schema.String,
          value: Schema.Struct({ password: Schema.Literal("x") })
        })
        yield* kv.set(key("a"), secret)
        yield* kv.set(key("typed", "a"), { password: secret })
        const large = secret.repeat(Math.ceil(kv.capabilities.limits.value / secret.length) + 1)
        const failing: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown, Kv.Kv>]> = [
          ["NotACounter", Kv.sum(key("a"), 1n)],
          ["Unencodable", kv.set(key("b"), { password: secret, more: undefined } as never)],
          ["Unencodable", kv.set(key("b"), { password: { toString: () => secret } } as never)],
          ["Unencodable", Secrets.set("b", { password: secret as never })],
          ["Undecodable", Secrets.get("a")],
          ["TooLarge", kv.set(key("b"), large)],
          ["InvalidExpiry", kv.set(key("b"), secret, { expireIn: 0 })],
          ["InvalidKey", kv.set(["a", { secret } as never], secret)],
          ["Conflict", Kv.atomic([Kv.check(key("a"), null), Kv.set(key("a"), secret)])]
        ]
        for (const [tag, effect] of failing) {
          const result = yield* Effect.result(effect)
          if (Result.isSuccess(result)) return assert.fail(`${tag} did not fail`)
          const error = result.failure as Kv.KvError | Kv.Conflict
          assert.strictEqual(error._tag === "Conflict" ? "Conflict" : error.reason._tag, tag)
          assert.isAbove(error.message.length, 30)
          assert.notInclude(error.message, secret)
          if (error._tag === "KvError") assert.isFalse(error.isRetryable)
        }
      }))

    test("under a name of its own is another store", ({ kv, root }) =>
      Effect.gen(function* () {
        const Cache = Kv.named("effect-seams-testing-cache")
        const Here = Kv.collection([root], { key: Schema.String, value: Schema.String })
        const There = Kv.collection([root], { key: Schema.String, value: Schema.String, store: Cache })
        yield* Effect.gen(function* () {
          const cache = yield* Cache
          const one = yield* There.set("a", "there")
          assert.strictEqual(some(yield* cache.get([root, "a"])).versionstamp, one)
          const old = yield* There.get("a")
          yield* Kv.atomic([Kv.check(There.at("a"), old), There.set("a", "there again"), There.set("b", "B")])
          assert.strictEqual(some(yield* There.get("a")).value, "there again")
          assert.strictEqual((yield* There.update("b", () => Effect.succeed("C"))).value, "C")
          if (kv.capabilities.backend !== "memory") return
          assert.notStrictEqual(cache.store, kv.store)
          assert.isTrue(Option.isNone(yield* Here.get("a")))
        }).pipe(
          Effect.provide(Kv.layerAs(Cache, options.layer) as Layer.Layer<Kv.Named<"effect-seams-testing-cache">, E>)
        )
      }))
  })
}

/** Two clients of one store, as two processes have them. */
export const pairCases = <E>(test: Cases, pair: NonNullable<KvSuiteOptions<E>["pair"]>): void => {
  describe("two clients of one store", () => {
    test("see each other's commits, conflicts and counters", ({ key, settle }) =>
      Effect.gen(function* () {
        const [one, two] = yield* pair
        const stamp = yield* one.set(key("a"), 1)
        assert.strictEqual(some(yield* two.get(key("a"))).versionstamp, stamp)
        const bump = (kv: Kv.Service) =>
          Kv.transact(
            Effect.gen(function* () {
              const old = yield* kv.get(key("n"))
              const next = Option.isNone(old) ? 1 : (old.value.value as number) + 1
              yield* Kv.atomic([Kv.check(key("n"), old), Kv.set(key("n"), next), Kv.sum(key("count"), 1n)])
            })
          ).pipe(Effect.provideService(Kv.Kv, kv))
        yield* settle(
          Effect.all(
            Array.from({ length: 40 }, (_, i) => bump(i % 2 === 0 ? one : two)),
            { concurrency: "unbounded", discard: true }
          )
        )
        assert.deepStrictEqual((yield* one.getMany([key("n"), key("count")])).map(valueOf), [40, 40n])
      }))

    test("are told of each other's changes by their watches, and of an expiry exactly once each", (c) =>
      Effect.gen(function* () {
        const { advance, key, root, settle } = c
        const [one, two] = yield* pair
        yield* one.set(key("before"), 1)
        const watchers = [yield* watching(c, one.watchPrefix([root])), yield* watching(c, two.watchPrefix([root]))]
        for (const w of watchers) yield* w.synced
        yield* one.set(key("goes"), 1, { expireIn: 300 })
        yield* settle(
          Effect.forEach(
            Array.from({ length: 60 }, (_, i) => i),
            (i) => (i % 9 === 0 ? two.delete(key(i % 5)) : (i % 2 === 0 ? one : two).set(key(i % 5), i)),
            { concurrency: 6, discard: true }
          )
        )
        yield* advance(400)
        for (const w of watchers) {
          yield* settle(w.until("the expiry", () => w.events.some((event) => event._tag === "Expire")))
          yield* settle(untilEqual({ ...c, kv: two }, w, [root]))
          assert.strictEqual(w.events.filter((event) => event._tag === "Expire").length, 1)
          assertOrdered(w.events)
        }
      }))
  })
}
