/** Commits whose answer does not come: found out, applied once or fenced, never guessed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { serverUrl, startRedis, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import {
  freshNamespace,
  inspectKv,
  kvOver,
  modes,
  reasonIn,
  reasonOf,
  succeeds,
  sum,
  timed,
  using,
  valueAt,
  working
} from "./supportFaults.ts"
import { machinePace } from "../../../src/testing/pace.ts"

for (const { mode, scripts } of modes) {
  /** The request that decides: the script, or the whole transaction at its EXEC. */
  const commitOf = (namespace: string) =>
    scripts === "always"
      ? new RegExp(`^evalsha [^{]*\\{${namespace}\\}:v `)
      : new RegExp(`^multi\\nincr \\{${namespace}\\}:v\\n`)

  const rig = Effect.gen(function* () {
    const url = yield* serverUrl("redis")
    const namespace = freshNamespace()
    const proxy = yield* faultProxy(Number(new URL(url).port))
    const kv = yield* kvOver({ url: proxy.through(url), namespace, scripts })
    yield* sum(kv, "n")
    return { url, namespace, proxy, kv, commit: commitOf(namespace) }
  })

  describe(`a commit whose answer is lost, ${mode}`, () => {
    it.live("is found out to be applied, and is applied once", () =>
      Effect.gen(function* () {
        const { commit, kv, namespace, proxy, url } = yield* rig
        for (let i = 0; i < 5; i++) {
          const trap = yield* proxy.cutAfterRequest(commit)
          const stamp = yield* succeeds("the sum", 3_000, sum(kv, "n"))
          yield* trap.sprung
          const entry = yield* Effect.flatMap(kv.get(["n"]), Effect.fromOption)
          assert.deepStrictEqual([entry.value, entry.versionstamp], [BigInt(i + 2), stamp])
          yield* working(kv)
        }
        const { problems } = yield* inspectKv({ url }, namespace)
        assert.deepStrictEqual(problems, [])
      })
    )

    it.live("is no Conflict when it was its own write that made the check stale", () =>
      Effect.gen(function* () {
        const { commit, kv, proxy } = yield* rig
        const old = yield* kv.get(["n"])
        yield* proxy.cutAfterRequest(commit)
        yield* succeeds(
          "the commit",
          3_000,
          using(kv)(Kv.atomic([Kv.check(["n"], old), Kv.set(["n"], "mine"), Kv.sum(["m"], 1n)]))
        )
        assert.deepStrictEqual([yield* valueAt(kv, "n"), yield* valueAt(kv, "m")], ["mine", 1n])
        yield* working(kv)
        yield* proxy.cutAfterRequest(commit)
        const stale = yield* reasonOf(
          "the stale one",
          3_000,
          using(kv)(Kv.atomic([Kv.check(["n"], old), Kv.sum(["m"], 1n)]))
        )
        // Without an answer a commit that failed its check and one that never arrived look the same.
        assert.include(["Conflict", "Unavailable"], stale._tag)
        assert.strictEqual(yield* valueAt(kv, "m"), 1n)
      })
    )

    it.live("is refused when it arrives after it was told to be not applied", () =>
      Effect.gen(function* () {
        const { commit, kv, namespace, proxy, url } = yield* rig
        const old = yield* kv.get(["n"])
        const steps = [
          Kv.sum(["n"], 1n),
          Kv.atomic([Kv.check(["n"], old), Kv.sum(["n"], 1n), Kv.set(["beside"], 1)]),
          Kv.delete(["n"]),
          Kv.set(["n"], "blind", { expireIn: "1 hour" })
        ]
        for (const step of steps) {
          const trap = yield* proxy.holdRequest(commit)
          const reason = yield* reasonOf("the held commit", 3_000, using(kv)(step))
          yield* trap.sprung
          assert.strictEqual(reason._tag, "Unavailable")
          assert.isTrue(reason.isRetryable)
          const held = yield* proxy.releaseHeld
          assert.isAbove(held, 0, "the request arrived after all")
          assert.strictEqual(yield* valueAt(kv, "n"), 1n, "it was not applied")
          yield* working(kv)
        }
        const { indexed, problems } = yield* inspectKv({ url }, namespace)
        assert.deepStrictEqual([indexed, problems], [1, []])
        // What was refused may be tried again.
        yield* sum(kv, "n")
        assert.strictEqual(yield* valueAt(kv, "n"), 2n)
      })
    )

    it.live("is found out to be applied when it arrives before it is asked for", () =>
      Effect.gen(function* () {
        const { commit, kv, namespace, proxy, url } = yield* rig
        const trap = yield* proxy.holdRequest(commit)
        yield* proxy.refuse
        const fiber = yield* Effect.forkChild(sum(kv, "n"))
        yield* trap.sprung
        yield* proxy.releaseHeld
        yield* proxy.accept
        yield* succeeds("the sum", 6_000, Fiber.join(fiber))
        assert.strictEqual(yield* valueAt(kv, "n"), 2n)
        const { commits, problems } = yield* inspectKv({ url }, namespace)
        assert.deepStrictEqual([commits, problems], [2, []])
      })
    )

    it.live("stays unknown only when the server stays away for the limit, and an interruption waits for that", () =>
      Effect.gen(function* () {
        const { commit, kv, namespace, proxy } = yield* rig
        const away = Effect.gen(function* () {
          const trap = yield* proxy.cutAfterRequest(commit)
          // Without scripts the question for the outcome has a connection of its own.
          yield* proxy.holdRequest(`set {${namespace}}:o:`)
          yield* proxy.refuse
          return trap
        })
        const trap = yield* away
        const asked = yield* Effect.forkChild(timed("the sum", 8_000, sum(kv, "n")))
        yield* trap.sprung
        // What was never sent fails at once.
        const unsent = yield* reasonOf("a commit without a connection", 500, sum(kv, "n"))
        assert.strictEqual(unsent._tag, "Unavailable")
        const { millis, result } = yield* Fiber.join(asked)
        const reason = Result.isFailure(result) ? result.failure.reason : undefined
        assert.deepStrictEqual([reason?._tag, reason?.isRetryable], ["CommitUnknown", false])
        assert.isAbove(millis, 4_500, "it was asked for until the limit")
        assert.isBelow(millis, 6_500)
        yield* proxy.accept
        yield* working(kv)
        assert.strictEqual(yield* valueAt(kv, "n"), 2n)

        const again = yield* away
        const stopped = yield* Effect.forkChild(sum(kv, "n"))
        yield* again.sprung
        const start = performance.now()
        const stopping = yield* Effect.forkChild(Fiber.interrupt(stopped))
        yield* Effect.sleep("300 millis")
        yield* proxy.accept
        yield* Effect.timeout(Fiber.join(stopping), "6 seconds")
        assert.isAbove(performance.now() - start, 290, "the interruption waited for the outcome")
        yield* working(kv)
        assert.strictEqual(yield* valueAt(kv, "n"), 3n)
      })
    )

    it.live("leaves no doubt in a storm of cuts: what was acknowledged is there, what was refused is not", () =>
      Effect.gen(function* () {
        const { kv, namespace, proxy, url } = yield* rig
        const acknowledged = new Set<string>()
        const refused = new Set<string>()
        const unknown: Array<string> = []
        const writer = (w: number) =>
          Effect.gen(function* () {
            const end = performance.now() + 1_500 * machinePace
            for (let i = 0; performance.now() < end; i++) {
              const id = `${w}-${i}`
              const step = Kv.atomic([Kv.sum(["total"], 1n), Kv.set(["done", id], i)])
              const result = yield* Effect.result(using(kv)(step))
              if (Result.isSuccess(result)) acknowledged.add(id)
              else if (reasonIn(result.failure)._tag === "Unavailable") {
                refused.add(id)
                yield* Effect.sleep("5 millis")
              } else unknown.push(reasonIn(result.failure).message)
            }
          })
        yield* Effect.forkChild(
          Effect.repeat(Effect.andThen(Effect.sleep("100 millis"), proxy.cut), { times: 14 * machinePace })
        )
        yield* Effect.timeout(
          Effect.forEach([0, 1, 2, 3, 4, 5], writer, { concurrency: "unbounded", discard: true }),
          12_000 * machinePace
        )
        yield* working(kv)
        const total = yield* valueAt(kv, "total")
        const found = yield* withRedis({ url }, (redis) => redis.keys(`{${namespace}}:k:*done*`))
        console.log(
          `storm of cuts ${mode}: acknowledged ${acknowledged.size}, refused ${refused.size}, unknown ${unknown.length}, applied ${String(total)}`
        )
        assert.isAbove(acknowledged.size, 50)
        assert.deepStrictEqual(unknown, [])
        assert.deepStrictEqual([total, found.length], [BigInt(acknowledged.size), acknowledged.size])
        const { problems } = yield* inspectKv({ url }, namespace)
        assert.deepStrictEqual(problems, [])
      })
    )
  })
}

describe("a script that the server has forgotten", () => {
  it.live("is sent again whole; cut in between, the commit was not applied and says so", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const namespace = freshNamespace()
      const proxy = yield* faultProxy(server.port)
      const kv = yield* kvOver({ url: proxy.through(server.url), namespace })
      yield* sum(kv, "n")
      yield* withRedis(server, (redis) => redis.script("FLUSH"))
      yield* sum(kv, "n")
      yield* withRedis(server, (redis) => redis.script("FLUSH"))
      yield* proxy.cutAfterRequest(/^evalsha /)
      const reason = yield* reasonOf("the commit", 3_000, sum(kv, "n"))
      assert.strictEqual(reason._tag, "Unavailable")
      assert.strictEqual(yield* valueAt(kv, "n"), 2n)
      yield* withRedis(server, (redis) => redis.script("FLUSH"))
      yield* proxy.cutAfterRequest(/^eval /)
      yield* succeeds("the commit", 3_000, sum(kv, "n"))
      assert.strictEqual(yield* valueAt(kv, "n"), 3n)
    })
  )
})
