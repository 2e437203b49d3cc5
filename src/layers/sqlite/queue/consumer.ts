import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
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

export const makeConsumer = (parts: ConsumerParts): Effect.Effect<Consumer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { change, connection, lease, nextClaim, q, queue, store, waiting } = parts
    /** The claims of this consumer that it has not settled: token to message id. */
    const claims = new Map<string, string>()

    const remember = (claimed: ReadonlyArray<Claimed>) => {
      for (const { message, token } of claimed) claims.set(token, message.id)
    }

    const releaseAll = Effect.suspend(() => {
      if (claims.size === 0) return Effect.void
      return change(lazily, (tx) => {
        for (const [token, id] of claims)
          store.settle(tx, q, queue, { id, token, outcome: { _tag: "release", delay: 0 } })
      })
    }).pipe(
      Effect.catch((fault) =>
        Effect.logWarning(
          `effect-seams: ${claims.size} claim(s) of queue "${queue}" could not be given back (${fault.detail}); they are delivered again when their lease ends`
        )
      )
    )
    yield* Effect.addFinalizer(() => releaseAll)

    const claim: Consumer["claim"] = (request) =>
      Effect.suspend(() => {
        const token = nextClaim()
        // A look without the write lock first: idle workers of many processes must not queue up for it.
        return Effect.flatMap(
          connection.read(() => waiting.claimable(q)),
          (found): Effect.Effect<ReadonlyArray<Claimed>, StoreFault> =>
            found
              ? Effect.tap(
                  change(lazily, (tx) => store.claim(tx, q, queue, request, token, lease)),
                  (claimed) => Effect.sync(() => remember(claimed))
                )
              : Effect.succeed([])
        )
      }).pipe(Effect.uninterruptible, Effect.mapError(queueError("claim")))

    const settle: Consumer["settle"] = (batch, next) =>
      Effect.suspend(() => {
        const token = nextClaim()
        const settled = change(lazily, (tx) => ({
          results: batch.map((one) => (store.settle(tx, q, queue, one) ? ("settled" as const) : ("lost" as const))),
          claimed: store.claim(tx, q, queue, next, token, lease)
        }))
        return Effect.map(settled, (answer) => {
          for (const { id, token } of batch) if (claims.get(token) === id) claims.delete(token)
          remember(answer.claimed)
          return answer
        })
      }).pipe(Effect.uninterruptible, Effect.mapError(queueError("settle")))

    const each = (operation: string, touch: (tx: Tx, token: string) => boolean) => (tokens: ReadonlyArray<string>) =>
      tokens.length === 0
        ? Effect.succeed([])
        : change(lazily, (tx) =>
            tokens.map((token) => (touch(tx, token) ? ("held" as const) : ("lost" as const)))
          ).pipe(
            Effect.map((answers) => {
              for (let i = 0; i < answers.length; i++) if (answers[i] === "lost") claims.delete(tokens[i]!)
              return answers
            }),
            Effect.uninterruptible,
            Effect.mapError(queueError(operation))
          )

    return {
      claim,
      ready: Effect.mapError(waiting.ready(q), queueError("claim")),
      settle,
      start: each("start", (tx, token) => store.start(tx, token)),
      extend: each("extend", (tx, token) => store.extend(tx, token, lease))
    }
  })
