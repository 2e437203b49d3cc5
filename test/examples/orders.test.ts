import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { randomUUID } from "node:crypto"
import * as path from "node:path"
import { makeShop } from "../../examples/orders/orders.ts"
import { ordersFrom } from "../../examples/orders/shop.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { adminOf } from "../layers/postgres/supportFaults.ts"
import { serverUrl } from "../servers/index.ts"
import { startProcess, temporaryFile } from "../support/processes.ts"

/** What a shop of that many orders comes to: whose cents are a multiple of 25 has no money. */
const expected = (orders: number): string => {
  const all = ordersFrom(0, orders, orders)
  const paid = all.filter(({ cents }) => cents % 25 !== 0)
  const cents = paid.reduce((sum, one) => sum + one.cents, 0)
  return `${paid.length} orders paid, ${all.length - paid.length} declined, ${cents / 100} in all`
}

type Backend = "memory" | "sqlite" | "redis" | "postgres" | "rabbitmq" | "denokv"
const kvs: ReadonlyArray<Backend> = ["memory", "sqlite", "redis", "postgres"]
const queues: ReadonlyArray<Backend> = ["memory", "sqlite", "redis", "postgres", "rabbitmq", "denokv"]

/** A database of its own: who shares a Kv shares its outbox, whose messages then go to the queue of whoever relays them. */
const ownDatabase = Effect.gen(function* () {
  const url = new URL(yield* serverUrl("postgres"))
  const name = `shop_${randomUUID().slice(0, 8)}`
  const admin = yield* adminOf(url.href)
  yield* Effect.acquireRelease(admin(`CREATE DATABASE ${name}`), () => admin(`DROP DATABASE ${name} WITH (FORCE)`))
  url.pathname = `/${name}`
  return url.href
})

let databases = 0
const ownRedis = Effect.map(serverUrl("redis"), (address) => {
  const url = new URL(address)
  url.pathname = `/${++databases}`
  return url.href
})

/** The variables of a machine that has everything; the providers say what is used of it. */
const environment = Effect.gen(function* () {
  const folder = path.dirname(yield* temporaryFile)
  return {
    SEAMS_DATA: folder,
    DENO_KV_PATH: path.join(folder, "deno.kv"),
    REDIS_URI: yield* serverUrl("redis"),
    DATABASE_URL: yield* serverUrl("postgres"),
    RABBITMQ_URI: yield* serverUrl("rabbitmq")
  }
})

const shop = (name: string, orders: number, env: Readonly<Record<string, string>>) =>
  startProcess("node", "examples/orders/main.ts", ["--shop", name, "--orders", String(orders)], { env })

describe.concurrent("the shop, unchanged over every combination of backends", () => {
  for (const kv of kvs)
    for (const queue of queues)
      it.live(`Kv on ${kv}, queue on ${queue}`, () =>
        Effect.gen(function* () {
          const env = {
            ...(yield* environment),
            CACHE_PROVIDER: kv,
            QUEUE_PROVIDER: queue,
            ...(kv === "redis" ? { REDIS_URI: yield* ownRedis } : undefined),
            ...(kv === "postgres" ? { DATABASE_URL: yield* ownDatabase } : undefined)
          }
          const child = yield* shop(`${kv}-${queue}-${process.pid}`, 20, env)
          assert.strictEqual(yield* child.exit, 0, `${child.errors()}\n${child.lines.join("\n")}`)
          assert.strictEqual(child.lines.at(-1), expected(20))
          const chosen = child.lines.join("\n")
          assert.include(chosen, `kv on ${kv},`)
          assert.include(chosen, `queue on ${queue},`)
        })
      )
})

describe("the shop's totals stay exact", () => {
  it.live("when one of two processes is killed in the middle", () =>
    Effect.gen(function* () {
      const env = { ...(yield* environment), CACHE_PROVIDER: "redis", QUEUE_PROVIDER: "redis" }
      const name = `killed-${process.pid}`
      const [first, second] = [yield* shop(name, 100, env), yield* shop(name, 100, env)]
      yield* Effect.sleep("10 millis").pipe(
        Effect.andThen(makeShop(name, 100).totals),
        Effect.repeat({ until: ({ paid }) => paid > 10n }),
        Effect.provide(Redis.layerKv({ url: env.REDIS_URI })),
        Effect.timeout("120 seconds")
      )
      yield* first.kill("SIGKILL")
      assert.strictEqual(yield* first.exit, "SIGKILL", "it was killed half-way")
      assert.strictEqual(yield* second.exit, 0, `${second.errors()}\n${second.lines.join("\n")}`)
      assert.strictEqual(second.lines.at(-1), expected(100))
    })
  )
})
