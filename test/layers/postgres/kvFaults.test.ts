/** Commits of the Kv on PostgreSQL whose answer does not come: found out, applied once or fenced, never guessed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { serverUrl } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { atomic, count, freshSchema, inTransaction, newRoot, room, roomOver, stampAt, valueAt } from "./support.ts"

const schema = freshSchema()

const here = Effect.suspend(() => room({ schema }))

describe("a commit whose answer is lost", () => {
  const rig = Effect.gen(function* () {
    const url = yield* serverUrl("postgres")
    const proxy = yield* faultProxy(Number(new URL(url).port))
    return { proxy, far: yield* roomOver({ url: proxy.through(url), schema }), near: yield* here }
  })

  it.live("is found out to be applied", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const { far, proxy } = yield* rig
      yield* far.kv.set([root, "a"], 0)
      for (let i = 1; i < 4; i++) {
        // Connections for all that goes on, so that none is being made when they break.
        yield* Effect.all(
          Array.from({ length: 6 }, () => far.client.unsafe("SELECT pg_sleep(0.05)")),
          { concurrency: "unbounded" }
        ).pipe(Effect.retry({ times: 5 }))
        yield* proxy.delay(60)
        const sent = yield* Effect.forkChild(count(far.kv, [root, "n"]), { startImmediately: true })
        yield* Effect.sleep("90 millis")
        yield* proxy.cut
        yield* proxy.delay(0)
        const stamp = yield* Fiber.join(sent)
        assert.deepStrictEqual(
          [yield* valueAt(far.kv, root, "n"), yield* stampAt(far.kv, [root, "n"])],
          [BigInt(i), stamp]
        )
      }
    })
  )

  it.live("is refused when it arrives after its outcome was asked for", () =>
    Effect.gen(function* () {
      const root = newRoot()
      const { far, near, proxy } = yield* rig
      yield* near.kv.set([root, "a"], "before")
      let result: Result.Result<unknown, Kv.KvError | Kv.Conflict> | undefined
      yield* inTransaction(
        near,
        Effect.gen(function* () {
          yield* atomic(near.kv, [Kv.set([root, "a"], "held"), Kv.set([root, "c"], "held")])
          // These wait for the transaction, in the server, which does not notice that nobody waits for their answers.
          const sent = yield* Effect.forkChild(
            Effect.all(
              [
                Effect.result(far.kv.set([root, "a"], "late")),
                Effect.result(atomic(far.kv, [Kv.set([root, "b"], "late"), Kv.set([root, "c"], "late")]))
              ],
              { concurrency: "unbounded" }
            )
          )
          yield* Effect.sleep("100 millis")
          yield* proxy.cut
          for (const one of yield* Fiber.join(sent)) {
            result = one
            assert.isTrue(
              Result.isFailure(one) && one.failure instanceof Kv.KvError && one.failure.reason._tag === "Unavailable",
              String(one)
            )
          }
        })
      )
      assert.isDefined(result)
      yield* Effect.sleep("200 millis")
      assert.deepStrictEqual(
        [yield* valueAt(near.kv, root, "a"), yield* valueAt(near.kv, root, "b")],
        ["held", undefined]
      )
      const late = yield* Effect.orDie(
        near.client.unsafe(`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${schema}%'`)
      )
      assert.strictEqual(late.length, 0)
    })
  )

  it.live("is not known when the log may have lost it, or when another asked", () =>
    Effect.gen(function* () {
      const { near } = yield* rig
      assert.strictEqual(yield* near.driver.outcome("0123456789abcdef0123"), "unknown")
      const stamp = yield* near.kv.set([newRoot()], 1)
      assert.deepStrictEqual(yield* near.driver.outcome(stamp.slice(16)), { _tag: "Committed", versionstamp: stamp })
    })
  )
})
