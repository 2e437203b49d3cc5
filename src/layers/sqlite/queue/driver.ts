import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { makeCommitIds } from "../../../internal/ids.ts"
import { type Driver, everyOption, type Published, type Stats } from "../../../queue/driver.ts"
import { EnqueueUnknown, QueueError } from "../../../queue/QueueError.ts"
import { backend, durabilityOf } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { StoreFault } from "../faults.ts"
import type { Tx } from "../writer.ts"
import { makeConsumer } from "./consumer.ts"
import { makeDeadLetters } from "./dead.ts"
import { queueError } from "./error.ts"
import { reportExpired } from "./expired.ts"
import { MessageStore } from "./store.ts"
import { makeWaiting } from "./waiting.ts"

const maxMessage = 16_777_216
/** Ids and dedupe keys whose window is over are forgotten after this many messages, twice as many at a time. */
const forgetEvery = 256
const purgeBatch = 2_000

/** The queue driver over an open connection. */
export const makeQueueDriver = (connection: ConnectionService): Effect.Effect<Driver> =>
  Effect.map(makeCommitIds, (nextClaim): Driver => {
    const { now, prepare, read, realClock, wake, write } = connection
    const store = new MessageStore(connection)
    const waiting = makeWaiting(connection)
    let published = 0
    let countingTook = 0
    /** Who counts at every change of a long queue would do nothing else: counting gets a twentieth of the time. */
    const rest = Effect.suspend(() =>
      countingTook < 1
        ? Effect.void
        : Effect.provideService(Effect.sleep(Math.min(countingTook * 20, 1_000)), Clock.Clock, realClock)
    )

    /** A write whose dropped messages are metered. */
    const change = <A>(
      options: { readonly durable: boolean; readonly bytes: number },
      run: (tx: Tx) => A
    ): Effect.Effect<A, StoreFault> =>
      Effect.suspend(() => {
        let expired: ReadonlyMap<string, number> | undefined
        const job = write({
          ...options,
          run: (tx) => {
            expired = undefined
            store.begin()
            const answer = run(tx)
            expired = store.expired
            return answer
          }
        })
        return Effect.tap(job, () => (expired === undefined ? Effect.void : reportExpired(expired)))
      })

    /** The number of a queue, which is made on first use. */
    const numberOf = (queue: string): Effect.Effect<number, QueueError> =>
      Effect.suspend(() => {
        const known = store.known(queue)
        if (known !== undefined) return Effect.succeed(known)
        const made = write({ durable: false, bytes: 0, run: () => store.number(queue) })
        return failing(
          "open",
          Effect.tap(made, () => read(() => store.remember(queue)))
        )
      })

    const publish: Driver["publish"] = (batch) => {
      if (batch.length === 0) return Effect.succeed([])
      const first = batch[0]!.message.queue
      let bytes = 0
      for (const { message } of batch) bytes += message.payload.length + 256
      const job = change({ durable: true, bytes }, (tx): ReadonlyArray<Published> => {
        const answers = batch.map((publication) => store.publish(tx, publication))
        published += batch.length
        if (published >= forgetEvery) {
          published = 0
          store.tend.forget(tx.now, Math.max(forgetEvery, batch.length) * 2)
          store.tendTo(tx, store.number(first), first)
        }
        return answers
      })
      return job.pipe(
        Effect.mapError((fault) =>
          fault.kind === "unknown"
            ? new QueueError({
                reason: new EnqueueUnknown({
                  queue: first,
                  ids: batch.map(({ message }) => message.id),
                  detail: fault.detail,
                  cause: fault.cause
                })
              })
            : queueError("enqueue")(fault)
        ),
        Effect.tap(() => (store.known(first) === undefined ? Effect.ignore(numberOf(first)) : Effect.void))
      )
    }

    const setPaused = (paused: number) => {
      const update = prepare("UPDATE seams_queue SET paused = ? WHERE q = ?")
      return (queue: string) =>
        Effect.flatMap(numberOf(queue), (q) =>
          failing(
            paused === 1 ? "pause" : "resume",
            write({
              durable: true,
              bytes: 0,
              run: (tx) => {
                update.run(paused, q)
                tx.touched.add(q)
              }
            })
          )
        )
    }

    // Blocked ones first: a head that is removed would only make the next one ready.
    const removals = [3, 0, 1].map((state) =>
      prepare(
        `DELETE FROM seams_message WHERE seq IN (SELECT seq FROM seams_message WHERE q = ? AND state = ${state} LIMIT ?)
          RETURNING seq, grp`
      )
    )
    const purgeSome = (queue: string, q: number) =>
      change({ durable: true, bytes: purgeBatch * 256 }, (tx) => {
        store.tendTo(tx, q, queue)
        let left = purgeBatch
        for (const removal of removals) {
          if (left === 0) break
          const rows = removal.all(q, left) as ReadonlyArray<{ readonly seq: number; readonly grp: string | null }>
          for (const { grp, seq } of rows) if (grp !== null) store.lines.leave(q, grp, seq)
          left -= rows.length
        }
        tx.touched.add(q)
        return purgeBatch - left
      })

    const purge: Driver["purge"] = (queue) =>
      Effect.gen(function* () {
        const q = yield* numberOf(queue)
        let total = 0
        while (true) {
          const removed = yield* failing("purge", purgeSome(queue, q))
          if (removed === 0) return total
          total += removed
        }
      })

    const counts = prepare(
      `SELECT
        (SELECT count(*) FROM seams_message WHERE q = ? AND state = 0) AS ready,
        (SELECT count(*) FROM seams_message WHERE q = ? AND state = 3) AS blocked,
        (SELECT count(*) FROM seams_message WHERE q = ? AND state = 1) AS delayed,
        (SELECT count(*) FROM seams_message WHERE q = ? AND state = 2) AS claimed,
        (SELECT count(*) FROM seams_dead WHERE q = ?) AS dead,
        (SELECT min(due) FROM seams_message WHERE q = ? AND state = 0) AS due,
        (SELECT min(due) FROM seams_message WHERE q = ? AND state = 3) AS behind,
        (SELECT paused FROM seams_queue WHERE q = ?) AS paused`
    )
    const countsOf = (q: number) => counts.get(q, q, q, q, q, q, q, q) as CountRow
    /** Lets everything happen that is due by now, so that the tables can be counted and a version says all. */
    const tended = (queue: string, q: number): Effect.Effect<void, StoreFault> => {
      const tend = change({ durable: false, bytes: 0 }, (tx) => store.tendTo(tx, q, queue))
      const loop: Effect.Effect<void, StoreFault> = Effect.flatMap(
        read(() => store.tend.needed(q, now())),
        (needed) => (needed ? Effect.andThen(tend, loop) : Effect.void)
      )
      return loop
    }

    const stats: Driver["stats"] = (queue) =>
      Effect.gen(function* () {
        const q = yield* numberOf(queue)
        yield* failing("stats", tended(queue, q))
        return yield* failing(
          "stats",
          read((): Stats => {
            const begin = realClock.currentTimeNanosUnsafe()
            const row = countsOf(q)
            countingTook = Number(realClock.currentTimeNanosUnsafe() - begin) / 1e6
            const ready = row.ready + row.blocked
            const oldest = Math.min(row.due ?? Number.POSITIVE_INFINITY, row.behind ?? Number.POSITIVE_INFINITY)
            return {
              ready,
              delayed: row.delayed,
              claimed: row.claimed,
              dead: row.dead,
              oldestAge: ready === 0 ? 0 : Math.max(0, now() - oldest),
              paused: row.paused !== 0
            }
          })
        )
      })

    return {
      capabilities: {
        backend,
        shared: connection.shared,
        atomicBatches: true,
        ...everyOption,
        clock: "machine",
        maxMessage,
        durability: durabilityOf(connection)
      },
      store: connection.store,
      now: Effect.sync(now),
      publish,
      consumer: (queue, { lease }) =>
        Effect.flatMap(numberOf(queue), (q) =>
          makeConsumer({ q, queue, lease, store, waiting, connection, change, nextClaim })
        ),
      pause: setPaused(1),
      resume: setPaused(0),
      purge,
      stats,
      version: (queue) =>
        Effect.flatMap(numberOf(queue), (q) =>
          Effect.map(failing("activity", tended(queue, q)), () => wake.version(q))
        ),
      activity: (queue, version) =>
        Effect.flatMap(numberOf(queue), (q) =>
          Effect.andThen(failing("activity", waiting.activity(q, version, tended(queue, q))), rest)
        ),
      deadLetters: makeDeadLetters(connection, store, numberOf),
      ping: failing(
        "ping",
        Effect.andThen(
          read(() => countsOf(0)),
          connection.inPlace
        )
      ),
      timeout: undefined
    }
  })

const failing = <A>(operation: string, effect: Effect.Effect<A, StoreFault>): Effect.Effect<A, QueueError> =>
  Effect.mapError(effect, queueError(operation))

interface CountRow {
  readonly ready: number
  readonly blocked: number
  readonly delayed: number
  readonly claimed: number
  readonly dead: number
  readonly due: number | null
  readonly behind: number | null
  readonly paused: number
}
