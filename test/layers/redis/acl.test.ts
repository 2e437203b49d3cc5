/** The rights that `docs/redis.md` lists are enough: they are read from there and given to a user. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { startRedis, withRedis } from "../../servers/index.ts"

const guide = fs.readFileSync(path.resolve(import.meta.dirname, "../../../docs/redis.md"), "utf8")

const documented = (): ReadonlyArray<string> => {
  const section = guide.slice(guide.indexOf("## What the user must be allowed"))
  const rights = /```text\n(.*?)\n```/s.exec(section)?.[1] ?? assert.fail("the guide lists no rights")
  return rights.split(/\s+/)
}

const Jobs = Queue.define("jobs", { payload: Schema.Finite })

describe("a user with the rights that the guide lists", () => {
  it.live.each(["auto", "never"] as const)("can do everything both seams do (scripts: %s)", (scripts) =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      yield* withRedis(server, (redis) =>
        redis.call("ACL", "SETUSER", "app", "on", ">pw", "~{shop*", "&{shop*", ...documented())
      )
      const url = `redis://app:pw@127.0.0.1:${server.port}`
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* kv.set(["soon"], 1, { expireIn: "100 millis" })
        yield* Kv.sum(["n"], 1n)
        yield* kv.delete(["n"])
        yield* Jobs.enqueue(1)
        yield* Jobs.enqueue(2, { delay: "100 millis", group: "g", dedupe: { key: "k" }, ttl: "1 minute" })
        yield* Jobs.enqueue(3)
        const seen: Array<number> = []
        const worker = Jobs.worker((n) => (n === 3 ? Queue.deadLetter("no") : Effect.sync(() => void seen.push(n))))
        yield* Effect.provide(Jobs.awaitIdle, worker)
        assert.deepStrictEqual([seen, yield* Jobs.deadLetters.count], [[1, 2], 1])
        assert.strictEqual(yield* Jobs.deadLetters.purge("all"), 1)
        assert.isFalse(yield* kv.has(["soon"]))
        assert.strictEqual((yield* kv.health).status, "up")
      }).pipe(Effect.provide(Redis.layer({ url, namespace: `shop-${scripts}`, scripts })))
    })
  )
})
