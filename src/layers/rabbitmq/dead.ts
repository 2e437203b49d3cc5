/**
 * The dead letters of a queue: a queue beside it that nobody consumes. AMQP has no way to look into a queue; so to list, find or move some
 * of them is to take all of them, without acking, from the one channel that may, and to close that channel: the broker then puts what was
 * not acked back to where it was. Meanwhile nobody else can do the same, and waits. The cost is that of every letter in front of what is
 * looked for.
 */
import type { Channel, ConsumeMessage } from "amqplib"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type { DeadLetters, DeadMessage } from "../../queue/driver.ts"
import { QueueError } from "../../queue/QueueError.ts"
import { AckBook } from "./ackBook.ts"
import { asked, type ConnectionService, depthOf } from "./connection.ts"
import type { Declarations } from "./declarations.ts"
import { queueError } from "./error.ts"
import { accessRefused, AmqpFault, notFound, resourceLocked } from "./faults.ts"
import { Page, readCursor } from "./deadPage.ts"
import { noPast, propertiesOf, type Read, readMessage } from "./message.ts"
import type { Sender } from "./sender.ts"
import { deadName, readerName, readerOptions } from "./topology.ts"

/** How many letters are asked for ahead of their reader. */
const ahead = 500
/** A quorum queue gives one subscription no more. */
const mostOfOne = 2_000
/** Milliseconds between two tries to become the one reader. */
const pause = 20
/** How many are moved at a time. */
const moved = 500

interface Letter {
  readonly read: Read
  readonly content: Buffer
  readonly tag: number
}

/** What an open dead-letter queue gives: letters in order, and a way to take them out. */
interface Reading {
  /** The next ones; empty when all that were there have been read. */
  readonly next: Effect.Effect<ReadonlyArray<Letter>, AmqpFault>
  readonly ack: (letters: ReadonlyArray<Letter>) => void
  /**
   * Completes when the queue has the acks. A quorum queue takes 32 commands of a channel at a time, and what the channel still holds is lost
   * when it closes; the answer to a cancel comes behind those 32, and that to a get, which finds nothing, behind all others.
   */
  readonly end: Effect.Effect<void, AmqpFault>
}

const noOne = () => undefined

const nothing: Reading = { next: Effect.succeed([]), ack: () => undefined, end: Effect.void }

const deadMessageOf = ({ read: { death, message, past } }: Letter): DeadMessage => ({
  message,
  attempt: 1 + past.retries + past.lost,
  deliveryCount: past.deliveries,
  reason: death?.reason ?? "unknown",
  error: past.error,
  diedAt: death?.diedAt ?? message.enqueuedAt
})

const eachLetter = <A>(
  found: Reading,
  visit: (letters: ReadonlyArray<Letter>) => Effect.Effect<A | undefined, AmqpFault>
): Effect.Effect<A | undefined, AmqpFault> =>
  Effect.gen(function* () {
    while (true) {
      const letters = yield* found.next
      if (letters.length === 0) return undefined
      const answer = yield* visit(letters)
      if (answer !== undefined) return answer
    }
  })

const tooMany = (lock: string) =>
  new AmqpFault(
    "refused",
    `a user who may not declare ${lock} can read ${mostOfOne} dead letters at most`,
    accessRefused
  )

/** Somebody else reads. */
const isBusy = (fault: AmqpFault): boolean =>
  fault.code === resourceLocked || (fault.code === accessRefused && fault.detail.includes("exclusive"))

export const makeDeadLetters = (
  connection: ConnectionService,
  declarations: Declarations,
  sender: Sender,
  nextId: () => string
): DeadLetters => {
  const { call, consuming, namespace, reading, realClock, target } = connection
  const limit = target.commandTimeout

  const count = (queue: string) => depthOf(connection, deadName(namespace, queue))

  /** Receives from the channel until `total` letters have come. */
  const receive = (
    queue: string,
    channel: Channel,
    total: number,
    isLocked: boolean
  ): Effect.Effect<Reading, AmqpFault> =>
    Effect.gen(function* () {
      const arrived: Array<Letter> = []
      let seen = 0
      let ended: string | undefined
      let tell: () => void = noOne
      const book = new AckBook((tag, multiple) =>
        channel.ack({ fields: { deliveryTag: tag } } as ConsumeMessage, multiple)
      )
      channel.on("close", () => {
        ended ??= "the channel was closed while dead letters were read"
        tell()
      })
      const receiver = (message: ConsumeMessage | null) => {
        if (message === null) ended = "the dead letters were deleted while they were read"
        else {
          const { content, fields, properties } = message
          book.delivered(fields.deliveryTag)
          arrived.push({
            read: readMessage(queue, properties, content, nextId, realClock.currentTimeMillisUnsafe()),
            content,
            tag: fields.deliveryTag
          })
        }
        tell()
      }
      const tags: Array<string> = []
      let asking = 0
      /** What is read is held until the channel closes, so what comes next comes to another subscription. */
      const more = Effect.suspend(() => {
        if (arrived.length > 0 || seen < asking || seen >= total) return Effect.void
        // Beside an exclusive subscription there is no other.
        if (!isLocked && tags.length > 0) return Effect.fail(tooMany(readerName(namespace, queue)))
        const some = Math.min(isLocked ? ahead : mostOfOne, total - seen)
        asking += some
        return asked(
          () =>
            channel
              .prefetch(some)
              .then(() => channel.consume(deadName(namespace, queue), receiver, { exclusive: !isLocked }))
              .then(({ consumerTag }) => void tags.push(consumerTag)),
          limit
        )
      })
      const arrival = Effect.callback<void, AmqpFault>((resume) => {
        tell = () => {
          if (arrived.length === 0 && seen < total && ended === undefined) return
          tell = noOne
          resume(ended === undefined ? Effect.void : Effect.fail(new AmqpFault("unknown", ended)))
        }
        tell()
        return Effect.sync(() => (tell = noOne))
      })
      /** Either there are fewer than were counted, as somebody else took some, or the broker stands still. */
      const silence = Effect.flatMap(
        asked(() => channel.checkQueue(deadName(namespace, queue)), limit),
        ({ messageCount }) => {
          if (arrived.length > 0) return Effect.void
          if (messageCount > 0)
            return Effect.fail(
              new AmqpFault(
                "unknown",
                `the broker has ${messageCount} more dead letters and sent none within ${limit} ms`
              )
            )
          seen = total
          return Effect.void
        }
      )
      yield* more
      return {
        next: Effect.andThen(more, arrival).pipe(
          Effect.timeoutOrElse({ duration: limit, orElse: () => silence }),
          Effect.map(() => {
            const letters = arrived.splice(0)
            seen += letters.length
            return letters
          })
        ),
        ack: (letters) => book.ack(letters.map(({ tag }) => tag)),
        end: asked(() => Promise.all(tags.map((tag) => channel.cancel(tag))), limit).pipe(
          Effect.andThen(asked(() => channel.get(deadName(namespace, queue)), limit)),
          Effect.asVoid
        )
      }
    })

  /** The broker puts letters back in its own time: who counts next must find them. */
  const putBack = (queue: string, channel: Channel, expected: number): Effect.Effect<void> =>
    Effect.andThen(
      asked(() => channel.close(), limit),
      Effect.repeat(count(queue), { until: (found) => found >= expected, schedule: Schedule.spaced(5), times: 200 })
    ).pipe(Effect.ignore, Effect.provideService(Clock.Clock, realClock))

  /**
   * One at a time, over all processes: who reads has declared a queue that belongs to his connection alone, and the broker refuses it to
   * others. It goes with the connection. A user who may not declare it relies on the exclusive consumer alone, and may count too few letters
   * while another process holds some.
   */
  const locked = <A>(
    queue: string,
    use: (isLocked: boolean) => Effect.Effect<A, AmqpFault>
  ): Effect.Effect<A, AmqpFault> => {
    const lock = readerName(namespace, queue)
    const take = call((channel) => channel.assertQueue(lock, readerOptions)).pipe(
      Effect.as(true),
      Effect.catchIf(
        (fault) => fault.code === accessRefused,
        () => Effect.succeed(false)
      )
    )
    return permitted(
      Effect.acquireUseRelease(take, use, (isTaken) =>
        isTaken ? Effect.ignore(call((channel) => channel.deleteQueue(lock))) : Effect.void
      )
    )
  }

  /** One at a time in this process. Only the wait is limited, and not the reading. */
  const permitted = <A>(read: Effect.Effect<A, AmqpFault>): Effect.Effect<A, AmqpFault> =>
    Effect.suspend(() => {
      const begun = Latch.makeUnsafe(false)
      const turn = Effect.andThen(begun.open, read)
      const waited = Effect.timeoutOrElse(begun.await, {
        duration: limit,
        orElse: () => Effect.fail(new AmqpFault("unsent", `others here read dead letters for longer than ${limit} ms`))
      })
      return Effect.raceFirst(reading.withPermits(1)(turn), Effect.andThen(waited, Effect.never))
    })

  /** Nobody else holds letters while they are counted and read. */
  const readLetters = <A>(queue: string, isLocked: boolean, use: (letters: Reading) => Effect.Effect<A, AmqpFault>) =>
    Effect.flatMap(count(queue), (total) => {
      if (total === 0) return use(nothing)
      let taken = 0
      return Effect.acquireUseRelease(
        consuming.channel,
        (channel) =>
          Effect.flatMap(receive(queue, channel, total, isLocked), (found) =>
            Effect.ensuring(
              use({
                ...found,
                ack: (letters) => {
                  taken += letters.length
                  found.ack(letters)
                }
              }),
              Effect.suspend(() => (taken === 0 ? Effect.void : Effect.ignore(found.end)))
            )
          ),
        (channel) => putBack(queue, channel, total - taken)
      )
    })

  /** Waits for its turn. */
  const alone = <A>(queue: string, use: (isLocked: boolean) => Effect.Effect<A, AmqpFault>) =>
    locked(queue, use).pipe(
      Effect.retry({
        while: isBusy,
        schedule: Schedule.jittered(Schedule.spaced(pause)),
        times: Math.ceil(limit / pause)
      }),
      Effect.mapError((fault) =>
        isBusy(fault)
          ? new AmqpFault("unsent", `another process read the dead letters for longer than ${limit} ms`)
          : fault
      ),
      Effect.provideService(Clock.Clock, realClock)
    )
  const withLetters = <A>(queue: string, use: (letters: Reading) => Effect.Effect<A, AmqpFault>) =>
    alone(queue, (isLocked) => readLetters(queue, isLocked, use))

  /** Visits the letters that are wanted; stops when each of them was found. */
  const eachWanted = (
    queue: string,
    ids: ReadonlyArray<string> | "all",
    visit: (found: Reading, letters: ReadonlyArray<Letter>) => Effect.Effect<void, AmqpFault>
  ): Effect.Effect<number, AmqpFault> =>
    withLetters(queue, (found) =>
      Effect.gen(function* () {
        const wanted = ids === "all" ? undefined : new Set(ids)
        let visited = 0
        yield* eachLetter(found, (letters) =>
          Effect.gen(function* () {
            const some = letters.filter(({ read }) => wanted === undefined || wanted.delete(read.message.id))
            for (let i = 0; i < some.length; i += moved) yield* visit(found, some.slice(i, i + moved))
            visited += some.length
            return wanted !== undefined && wanted.size === 0 ? true : undefined
          })
        )
        return visited
      })
    )

  const back = (letters: ReadonlyArray<Letter>) =>
    sender.sendAll(
      letters.map(({ content, read: { message, past } }) => ({
        queue: message.queue,
        to: "queue" as const,
        delay: 0,
        content,
        properties: propertiesOf(
          { ...message, notBefore: undefined, expiresAt: undefined },
          { ...noPast, deliveries: past.deliveries }
        )
      }))
    )

  return {
    list: Effect.fnUntraced(function* (queue, { cursor, limit: most }) {
      const from = cursor === undefined ? undefined : readCursor(queue, cursor)
      if (from instanceof QueueError) return yield* from
      return yield* withLetters(queue, (found) =>
        Effect.gen(function* () {
          const page = new Page(from, most)
          yield* eachLetter(found, (letters) =>
            Effect.sync(() => (letters.some((letter) => page.isFull(deadMessageOf(letter))) ? true : undefined))
          )
          return { letters: page.letters, cursor: page.cursor }
        })
      ).pipe(Effect.mapError(queueError("dead letters")))
    }),
    get: (queue, id) =>
      withLetters(queue, (found) =>
        eachLetter(found, (letters) => {
          const letter = letters.find(({ read }) => read.message.id === id)
          return Effect.succeed(letter === undefined ? undefined : deadMessageOf(letter))
        })
      ).pipe(Effect.mapError(queueError("dead letters"))),
    // A copy is confirmed before the letter goes: a crash between the two leaves both, and loses none.
    requeue: (queue, ids) =>
      Effect.andThen(
        declarations.queue(queue),
        eachWanted(queue, ids, (found, letters) =>
          Effect.andThen(
            back(letters),
            Effect.sync(() => found.ack(letters))
          )
        )
      ).pipe(Effect.mapError(queueError("requeue"))),
    purge: (queue, ids) =>
      (ids === "all"
        ? // In turn, too: what somebody reads would stay.
          Effect.map(
            alone(queue, () => call((channel) => channel.purgeQueue(deadName(namespace, queue)))),
            ({ messageCount }) => messageCount
          ).pipe(
            Effect.catchIf(
              (fault) => fault.code === notFound,
              () => Effect.succeed(0)
            )
          )
        : eachWanted(queue, ids, (found, letters) => Effect.sync(() => found.ack(letters)))
      ).pipe(Effect.mapError(queueError("purge"))),
    count: (queue) => Effect.mapError(count(queue), queueError("dead letters"))
  }
}
