/**
 * The model of the queue drivers, against the scripts on a real server. The model wants a clock that it moves, and the scripts ask the
 * server's: here they are sent with another clock, whose time travels with each call as one key more.
 */
import { Clock, Effect, type Scope } from "effect"
import { beforeAll } from "vitest"
import * as Redis from "../../../src/layers/redis/index.ts"
import { type Script, script } from "../../../src/layers/redis/script.ts"
import type * as Queue from "../../../src/Queue.ts"
import { queueModelSuite } from "../../../src/testing/queueModel.ts"
import { startRedis } from "../../servers/index.ts"
import { newNamespace, once } from "./support.ts"

const server = once(startRedis())
// It takes the real clock to start.
beforeAll(() => Effect.runPromise(server))
const namespace = newNamespace()

const scripts = new Map<string, Script>()
const withClock = (one: Script): Script => {
  const known = scripts.get(one.sha)
  if (known !== undefined) return known
  const time = "{ math.floor(KEYS[#KEYS] / 1000), (KEYS[#KEYS] % 1000) * 1000 }"
  const made = script(one.name, one.lua.replaceAll("redis.call('TIME')", time))
  if (made.lua === one.lua) throw new Error(`script ${one.name} asks for no time`)
  scripts.set(one.sha, made)
  return made
}

const driver: Effect.Effect<Queue.Driver, Redis.RedisError, Scope.Scope> = Effect.gen(function* () {
  const { url } = yield* server
  const connection = yield* Redis.makeConnection({ url, namespace })
  return yield* Redis.makeQueueDriver({
    ...connection,
    now: Clock.currentTimeMillis,
    run: (one, keys, args) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => connection.run(withClock(one), [...keys, String(now)], args))
  })
})

queueModelSuite("redis", { driver, runs: 300 })
