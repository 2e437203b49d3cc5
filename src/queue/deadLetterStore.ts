import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { describeFailure } from "../internal/describeFailure.ts"
import { shielded } from "../internal/shielded.ts"
import { boundedBy } from "../internal/unavailable.ts"
import type { DeadLetters, DeadMessage, Driver, Outcome, Settlement } from "./driver.ts"
import { QueueError, Unavailable } from "./QueueError.ts"

/**
 * Names a letter. With `diedAt` it is that death of the message and no other: a requeued message may have died again before the
 * letter it came from is removed, and the new letter must stay.
 *
 * @since 0.1.0
 * @category dead letters
 */
export interface LetterName {
  readonly id: string
  readonly diedAt?: number | undefined
}

/**
 * A place of one's own for dead letters, instead of the backend's. Give it to a queue layer as `deadLetters`. A message moves by
 * copy, then settle: `put` may see the same id twice and must keep one, the one that died later. A message whose `put` fails, or
 * takes more than a second, is handed out again after five.
 *
 * @since 0.1.0
 * @category dead letters
 */
export interface DeadLetterStore {
  readonly put: (letters: ReadonlyArray<DeadMessage>) => Effect.Effect<void, QueueError>
  /** Oldest first. */
  readonly list: DeadLetters["list"]
  readonly get: DeadLetters["get"]
  /** Answers how many were there. */
  readonly remove: (queue: string, letters: ReadonlyArray<LetterName> | "all") => Effect.Effect<number, QueueError>
  readonly count: DeadLetters["count"]
}

const pageSize = 100
/** A letter whose message is back must go, or it comes back twice. */
const removal = Schedule.max([Schedule.exponential("20 millis"), Schedule.recurs(6)])
/** Milliseconds until a message comes back that the store did not take. */
const again = 5_000
/** Milliseconds that the letters of one settle may take. */
const longestCopy = 1_000
const copiesAtOnce = 16

type Dead = Extract<Outcome, { readonly _tag: "deadLetter" }>

const isDead = ({ claimed, outcome }: Settlement): boolean => outcome._tag === "deadLetter" && claimed !== undefined

const comesBack = (one: Settlement, { error, reason }: Dead, why: string) =>
  Effect.as(Effect.logError(`effect-seams: message ${one.id} is dead and could not be stored: ${why}`), {
    ...one,
    outcome: { _tag: "retry", delay: again, error: error ?? reason }
  } as Settlement)

/** A driver whose dead letters go to another store: copied, then settled. */
export const withDeadLetterStore = (driver: Driver, store: DeadLetterStore): Driver => {
  const page = (queue: string, ids: ReadonlyArray<string> | "all") =>
    ids === "all"
      ? Effect.map(store.list(queue, { cursor: undefined, limit: pageSize }), (found) => found.letters)
      : Effect.map(
          Effect.forEach(new Set(ids), (id) => store.get(queue, id)),
          (found) => found.filter((letter) => letter !== undefined)
        )
  const { backend } = driver.capabilities
  const bounded = boundedBy(backend, driver.timeout, (outage) => new QueueError({ reason: new Unavailable(outage) }))
  // Published first, removed then, so that nothing is lost: a crash in between leaves a letter whose message is back already, and
  // requeueing it again delivers the message again, under its id. An interruption waits for both.
  const requeueOnce = (queue: string, chosen: ReadonlyArray<string> | "all") =>
    Effect.gen(function* () {
      const letters = yield* page(queue, chosen)
      if (letters.length === 0) return 0
      const publish = driver.publish(letters.map((letter) => ({ message: revived(letter), requeued: true })))
      const moved = letters.map(({ diedAt, message }) => ({ id: message.id, diedAt }))
      const remove = Effect.retry(store.remove(queue, moved), {
        schedule: removal,
        while: (error) => error.isRetryable
      })
      yield* shielded(Effect.andThen(bounded("requeue", publish), remove))
      return letters.length
    })

  const deadLetters: DeadLetters = {
    list: store.list,
    get: store.get,
    count: store.count,
    purge: (queue, ids) => store.remove(queue, ids === "all" ? ids : ids.map((id) => ({ id }))),
    requeue: (queue, ids) =>
      Effect.gen(function* () {
        if (ids !== "all") return yield* requeueOnce(queue, ids)
        // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
        const total = yield* store.count(queue)
        let moved = 0
        while (moved < total) {
          const n = yield* requeueOnce(queue, ids)
          if (n === 0) break
          moved += n
        }
        return moved
      })
  }

  const limit = Math.min(longestCopy, (driver.timeout ?? Number.POSITIVE_INFINITY) / 2)
  /** Copied, so that acks are left to do. One that cannot be copied in time comes back, and holds up nobody. */
  const buried = (dead: ReadonlyArray<Settlement>) =>
    Effect.gen(function* () {
      const diedAt = yield* driver.now
      const copied: Array<Settlement> = []
      const copy = (one: Settlement, outcome: Dead) => {
        const { attempt, deliveryCount, message } = one.claimed!
        const { error, reason } = outcome
        return Effect.matchCauseEffect(store.put([{ message, attempt, deliveryCount, reason, error, diedAt }]), {
          onSuccess: () => Effect.succeed<Settlement>({ ...one, outcome: { _tag: "ack" } }),
          onFailure: (cause) => comesBack(one, outcome, describeFailure(cause))
        })
      }
      // In a fiber of its own, since this one cannot be interrupted: a store that does not answer is not waited for.
      const copying = yield* Effect.forkDetach(
        Effect.forEach(
          dead.entries(),
          ([i, one]) =>
            Effect.map(copy(one, one.outcome as Dead), (done) => {
              copied[i] = done
            }),
          { concurrency: copiesAtOnce, discard: true }
        )
      )
      const inTime = yield* Effect.timeoutOption(Effect.interruptible(Fiber.await(copying)), limit)
      if (Option.isNone(inTime)) yield* Effect.forkDetach(Fiber.interrupt(copying))
      return yield* Effect.forEach(dead, (one, i) => {
        const done = copied[i]
        return done === undefined
          ? comesBack(one, one.outcome as Dead, `no answer within ${limit} ms`)
          : Effect.succeed(done)
      })
    })

  return {
    ...driver,
    deadLetters,
    stats: (queue) =>
      Effect.gen(function* () {
        const found = yield* driver.stats(queue)
        return { ...found, dead: yield* store.count(queue) }
      }),
    consumer: (queue, options) =>
      Effect.map(driver.consumer(queue, options), (consumer) => {
        /** Of a settle that failed after its first half: how that ended, by token. It is sent again as a whole. */
        const ended = new Map<string, "settled" | "lost">()
        return {
          ...consumer,
          settle: (batch, next) =>
            Effect.gen(function* () {
              const dead = batch.filter(isDead)
              if (dead.length === 0) return yield* consumer.settle(batch, next)
              // The copies may take a while: the others do not wait for them, and messages are claimed when it is over.
              const others = batch.filter((one) => !isDead(one) && !ended.has(one.token))
              if (others.length > 0) {
                const { results } = yield* consumer.settle(others, { max: 0, start: 0 })
                for (const [i, { token }] of others.entries()) ended.set(token, results[i] ?? "lost")
              }
              const { claimed, results } = yield* consumer.settle(yield* buried(dead), next)
              for (const [i, { token }] of dead.entries()) ended.set(token, results[i] ?? "lost")
              const all = batch.map(({ token }) => ended.get(token) ?? "lost")
              ended.clear()
              return { claimed, results: all }
            })
        }
      })
  }
}

const revived = ({ message }: DeadMessage): DeadMessage["message"] => ({
  ...message,
  notBefore: undefined,
  expiresAt: undefined
})
