import * as Effect from "effect/Effect"
import type { Claimed, Consumer } from "../../../queue/driver.ts"
import type { ConnectionService } from "../connection.ts"
import type { StoreFault } from "../faults.ts"
import type { Tx } from "../writer.ts"
import { queueError } from "./error.ts"
import type { MessageStore } from "./store.ts"
import type { Waiting } from "./waiting.ts"

/**
 * Nothing here is synced to the disk by itself: what a loss of power undoes of claims and settles is delivered again, and a
 * killed process undoes nothing.
 */
const lazily = { durable: false, bytes: 0 } as const

export interface ConsumerParts {
  readonly q: number
  readonly queue: string
  readonly lease: number
  readonly store: MessageStore
  readonly waiting: Waiting
  readonly connection: ConnectionService
  readonly change: <A>(
    options: { readonly durable: boolean; readonly bytes: number },
    run: (tx: Tx) => A
  ) => Effect.Effect<A, StoreFault>
  readonly nextClaim: () => string
}

export const makeConsumer = (parts: ConsumerParts): Effect.Effect<Consumer> =>
  Effect.sync(() => {
    const { change, connection, lease, nextClaim, q, queue, store, waiting } = parts
    const claim: Consumer["claim"] = (request) =>
      Effect.suspend(() => {
        const token = nextClaim()
        // A look without the write lock first: idle workers of many processes must not queue up for it.
        return Effect.flatMap(
          connection.read(() => waiting.claimable(q)),
          (found): Effect.Effect<ReadonlyArray<Claimed>, StoreFault> =>
            found ? change(lazily, (tx) => store.claim(tx, q, queue, request, token, lease)) : Effect.succeed([])
        )
      }).pipe(Effect.uninterruptible, Effect.mapError(queueError("claim")))

    const settle: Consumer["settle"] = (batch, next) =>
      Effect.suspend(() => {
        const token = nextClaim()
        return change(lazily, (tx) => ({
          results: batch.map((one) => (store.settle(tx, q, queue, one) ? ("settled" as const) : ("lost" as const))),
          claimed: store.claim(tx, q, queue, next, token, lease)
        }))
      }).pipe(Effect.uninterruptible, Effect.mapError(queueError("settle")))

    const each = (operation: string, touch: (tx: Tx, token: string) => boolean) => (tokens: ReadonlyArray<string>) =>
      tokens.length === 0
        ? Effect.succeed([])
        : change(lazily, (tx) =>
            tokens.map((token) => (touch(tx, token) ? ("held" as const) : ("lost" as const)))
          ).pipe(Effect.uninterruptible, Effect.mapError(queueError(operation)))

    return {
      claim,
      ready: Effect.mapError(waiting.ready(q), queueError("claim")),
      settle,
      start: each("start", (tx, token) => store.start(tx, token)),
      extend: each("extend", (tx, token) => store.extend(tx, token, lease))
    }
  })
