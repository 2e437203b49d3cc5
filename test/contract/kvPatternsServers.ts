/** The patterns over a server, and limits that many clients of it share. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Result } from "effect"
import type { Scope } from "effect"
import * as Kv from "../../src/Kv.ts"
import { overdrawnBucket, overfullWindow } from "../../src/testing/kvLimiterOracle.ts"
import { kvPatternsSuite } from "../../src/testing/kvPatternsSuite.ts"

export const kvPatternsServerSuites = (name: string, layer: Layer.Layer<Kv.Kv, unknown>): void => {
  const service = Effect.orDie(
    Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, Kv.Kv))
  ) as Effect.Effect<Kv.Service, never, Scope.Scope>

  kvPatternsSuite(name, {
    layer: Layer.orDie(layer),
    clock: "live",
    pair: Effect.all([service, service]),
    lease: 2_500,
    timeout: 90_000
  })

  describe(`A limit that a hundred consumers of ten clients share, on ${name}`, () => {
    const consumers = <A, E>(work: (n: number) => Effect.Effect<A, E, Kv.Kv>) =>
      Effect.gen(function* () {
        const clients = yield* Effect.replicateEffect(service, 10)
        return yield* Effect.forEach(
          Array.from({ length: 100 }, (_, n) => n),
          (n) => Effect.provideService(work(n), Kv.Kv, clients[n % clients.length]!),
          { concurrency: "unbounded" }
        )
      }).pipe(Effect.scoped)

    it.live("is used up exactly", () =>
      Effect.gen(function* () {
        const key: Kv.Key = [`exact-${randomUUID()}`]
        const window = Kv.limiter([...key, "window"], { limit: 60, window: "1 hour" })
        const bucket = Kv.limiter([...key, "bucket"], {
          algorithm: "token-bucket",
          limit: 1,
          window: "1 hour",
          burst: 60
        })
        for (const limiter of [window, bucket]) {
          const results = yield* consumers(() => Effect.result(limiter.take()))
          assert.strictEqual(results.filter(Result.isSuccess).length, 60)
        }
      })
    )

    it.live("is kept in every window while all of them wait and ask again", () =>
      Effect.gen(function* () {
        const key: Kv.Key = [`storm-${randomUUID()}`]
        const rule = { limit: 40, window: 500 }
        const drips = { limit: 50, window: 500, burst: 10 }
        const window = Kv.limiter([...key, "window"], rule)
        const bucket = Kv.limiter([...key, "bucket"], { algorithm: "token-bucket", ...drips })
        const granted = yield* consumers(() =>
          Effect.gen(function* () {
            const at: Array<readonly [number, number]> = []
            for (let i = 0; i < 3; i++) {
              const kv = yield* Kv.Kv
              const one = yield* window.take([], { wait: true })
              assert.isAtMost(one.at, yield* kv.now)
              const other = yield* bucket.take([], { wait: true })
              at.push([one.at, other.at])
            }
            return at
          })
        )
        const all = granted.flat()
        const dated = (i: 0 | 1) => all.map((at) => ({ at: at[i], cost: 1 }))
        assert.strictEqual(all.length, 300)
        assert.isUndefined(overfullWindow(dated(0), rule))
        assert.isUndefined(overdrawnBucket(dated(1), drips))
        const took = Math.max(...all.map(([at]) => at)) - Math.min(...all.map(([at]) => at))
        // Seven full windows and a rest.
        console.log(`${name}: 300 grants of 40 per 500 ms took ${took} ms, 3500 at the least`)
        assert.isAtLeast(took, 3_500)
      })
    )
  })
}
