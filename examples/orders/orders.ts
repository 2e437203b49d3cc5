/**
 * What is done with orders, whatever the backends are: a job takes new ones from where it left off, and workers charge them.
 *
 * - The cursor and the messages are one commit (`Kv.outbox`): killed at any moment, the job neither loses an order nor forgets that it
 *   took it. The relay may send a message twice.
 * - An order is counted once, however often its message comes (`Kv.once`): the counters and the result are one commit.
 * - The provider takes a limited number of payments per second, from all processes together (`Kv.limiter`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
// Installed, a program writes: import { Cron, Kv, Queue } from "effect-seams"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { charge, Declined, Order, ordersFrom } from "./shop.ts"

/** Orders taken by one run of the job. */
const batchSize = 50

export interface Totals {
  readonly paid: bigint
  readonly declined: bigint
  readonly cents: bigint
}

/** Several shops may share the backends. */
export const makeShop = (name: string, all: number) => {
  const Orders = Queue.define(`orders-${name}`, { payload: Order })
  const Cursors = Kv.collection(["shops", name, "cursors"], { key: Schema.String, value: Schema.Int })
  const Payments = Kv.limiter(["shops", name, "payments"], { limit: 200, window: "1 second" })
  const counter = (what: keyof Totals) => ["shops", name, "totals", what] as const
  const count = (what: keyof Totals, by: bigint) => Kv.sum(counter(what), by)

  const importOrders = Cron.job(
    `import-${name}`,
    { schedule: Cron.every("1 second") },
    Effect.fn("importOrders")(function* () {
      const cursor = yield* Cursors.get("imported")
      const from = Option.match(cursor, { onNone: () => 0, onSome: ({ value }) => value })
      const orders = ordersFrom(from, batchSize, all)
      if (orders.length === 0) return
      yield* Kv.atomic([
        Kv.check(Cursors.at("imported"), cursor),
        Cursors.set("imported", from + orders.length),
        Kv.outbox(Orders.enqueueAll(orders))
      ])
    })
  )

  const payment = (order: Order) =>
    Kv.once(["shops", name, "paid", order.id], { error: Declined })((run) =>
      Effect.gen(function* () {
        yield* Payments.take([], { wait: true })
        yield* charge(order)
        yield* Kv.atomic([count("paid", 1n), count("cents", BigInt(order.cents)), run.complete()])
      })
    )

  const worker = Orders.worker(
    (order) =>
      payment(order).pipe(
        // A result like the other, and counted once too.
        Effect.catchTag("Declined", () =>
          Kv.once(["shops", name, "declined", order.id])((run) => Kv.atomic([count("declined", 1n), run.complete()]))
        )
      ),
    { concurrency: 16 }
  )

  const totals: Effect.Effect<Totals, Kv.KvError, Kv.Kv> = Effect.gen(function* () {
    const kv = yield* Kv.Kv
    const entries = yield* kv.getMany([counter("paid"), counter("declined"), counter("cents")])
    const [paid, declined, cents] = entries.map((entry) => (Option.isSome(entry) ? (entry.value.value as bigint) : 0n))
    return { paid: paid!, declined: declined!, cents: cents! }
  })

  return {
    /** Works until its scope closes. */
    layer: Layer.mergeAll(importOrders.layer, worker, Queue.layerOutbox),
    totals,
    /** Completes when every order of the shop is paid or declined. */
    awaitAll: Effect.flatMap(Kv.Kv, (kv) =>
      kv.watchPrefix(["shops", name, "totals"]).pipe(
        Stream.mapEffect(() => totals),
        Stream.filter(({ declined, paid }) => paid + declined >= BigInt(all)),
        Stream.runHead
      )
    )
  }
}
