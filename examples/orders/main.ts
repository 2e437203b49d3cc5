/**
 * A shop over whatever backends the environment names: with nothing set a file, else REDIS_URI, RABBITMQ_URI, CACHE_PROVIDER and so on.
 *
 *   npm run orders
 *   REDIS_URI=redis://localhost:6379 npm run orders -- --shop berlin --orders 500
 *
 * Start it in several terminals: they share the work. Kill one with `kill -9`: the totals stay exact.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
// Installed, a program writes: import { Discovery } from "effect-seams"
import * as Discovery from "../../src/Discovery.ts"
import { makeShop } from "./orders.ts"

const program = (name: string, orders: number) => {
  const shop = makeShop(name, orders)
  return Effect.gen(function* () {
    yield* Effect.provide(shop.awaitAll, shop.layer)
    const { cents, declined, paid } = yield* shop.totals
    console.log(`${paid} orders paid, ${declined} declined, ${Number(cents) / 100} in all`)
  }).pipe(Effect.provide(Discovery.layer))
}

const { values } = parseArgs({ options: { shop: { type: "string" }, orders: { type: "string" } } })
const orders = Number(values.orders ?? 200)
if (Number.isSafeInteger(orders) && orders > 0) NodeRuntime.runMain(program(values.shop ?? "corner", orders))
else {
  console.error(`--orders is "${values.orders}"; give a whole number from 1`)
  process.exitCode = 2
}
