/**
 * Copies that a line owes the broker: it could not take them, as in a memory alarm. Their messages stay unacked, and are tried again until
 * they are through or the channel ends, which brings the messages back. Meanwhile the line goes on.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { ConnectionService } from "./connection.ts"
import type { Line } from "./line.ts"
import type { Mail, Sender } from "./sender.ts"

export interface Debt {
  /** Of the delivery, which is acked when the copy is there. */
  readonly tag: number
  readonly mail: Mail
  /** When the copy is due, by the real clock. */
  readonly due: number
}

export interface Debts {
  /** Takes them on; waits for one try while the broker does not block publishers. */
  readonly owe: (at: Line, some: ReadonlyArray<Omit<Debt, "due">>) => Effect.Effect<void>
  /** Whether the broker blocks publishers. */
  readonly isBlocked: () => boolean
}

/** Milliseconds between two tries. */
const pause = 500

export const makeDebts = (connection: ConnectionService, sender: Sender, queue: string): Debts => {
  const { publishing, realClock, scope } = connection
  const isBlocked = () => publishing.current()?.blocked !== undefined

  /** Why some of them could not be paid. */
  const pay = (at: Line): Effect.Effect<string | undefined> =>
    Effect.suspend(() => {
      const blocked = publishing.current()?.blocked
      if (blocked !== undefined) return Effect.succeed(`the broker blocks publishers (${blocked})`)
      const some = at.owed.splice(0)
      const now = realClock.currentTimeMillisUnsafe()
      return sender.send(some.map(({ due, mail }) => ({ ...mail, delay: Math.max(0, due - now) }))).pipe(
        Effect.match({
          onFailure: ({ detail }) => ({ detail, left: some }),
          onSuccess: ({ detail, fates }) => {
            const paid = some.filter((_, i) => fates[i] === "accepted")
            at.owing -= paid.length
            at.ack(paid.map(({ tag }) => tag))
            return { detail, left: some.filter((_, i) => fates[i] !== "accepted") }
          }
        }),
        Effect.map(({ detail, left }) => {
          at.owed.unshift(...left)
          return left.length === 0 ? undefined : detail
        })
      )
    })

  const payLater = (at: Line): Effect.Effect<void> =>
    Effect.gen(function* () {
      while (at.ended === undefined && at.owed.length > 0) {
        yield* Effect.sleep(pause)
        yield* pay(at)
      }
      at.isPaying = false
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  return {
    isBlocked,
    owe: (at, some) =>
      Effect.gen(function* () {
        if (some.length === 0) return
        const now = realClock.currentTimeMillisUnsafe()
        at.owed.push(...some.map((debt) => ({ ...debt, due: now + debt.mail.delay })))
        at.owing += some.length
        const why = yield* pay(at)
        if (why === undefined || at.isPaying || at.ended !== undefined) return
        at.isPaying = true
        yield* Effect.logWarning(
          `effect-seams: a worker of queue "${queue}" keeps ${at.owing} message(s) until their copies can be published: ${why}.`
        )
        yield* Effect.forkIn(payLater(at), scope)
      })
  }
}
