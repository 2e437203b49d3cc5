/** The world outside: a shop that has orders, and a provider that takes payments. Both are made up, and the same at every start. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

export const Order = Schema.Struct({ id: Schema.String, customer: Schema.String, cents: Schema.Int })
export type Order = typeof Order.Type

/** The provider will not take this payment, however often it is asked. */
export class Declined extends Schema.TaggedError<Declined>()("Declined", { order: Schema.String }) {}

const orderAt = (n: number): Order => ({
  id: `order-${n}`,
  customer: `customer-${n % 7}`,
  cents: 100 + ((n * 7_919) % 10_000)
})

/** The orders from a number on, at most so many, of a shop that has `all`. */
export const ordersFrom = (from: number, most: number, all: number): ReadonlyArray<Order> =>
  Array.from({ length: Math.max(0, Math.min(most, all - from)) }, (_, i) => orderAt(from + i))

/** Takes a moment; every 25th customer has no money. */
export const charge = ({ cents, id }: Order): Effect.Effect<void, Declined> =>
  Effect.delay(cents % 25 === 0 ? Effect.fail(new Declined({ order: id })) : Effect.void, "5 millis")
