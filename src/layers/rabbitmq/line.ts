/** One channel on which a worker's messages arrive: it lives until the channel ends, and what it held is then lost. */
import type { Channel, ConsumeMessage } from "amqplib"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { AckBook } from "./ackBook.ts"
import { asked, type ConnectionService, drop } from "./connection.ts"
import type { Debt } from "./debts.ts"
import type { AmqpFault } from "./faults.ts"
import type { Held } from "./held.ts"

/** How often something happened in the last while: in one span at least, and in two at most. */
class RecentCount {
  readonly #span: number
  #since = 0
  #before = 0
  #now = 0
  readonly #clock: Clock.Clock
  constructor(span: number, clock: Clock.Clock) {
    this.#span = span
    this.#clock = clock
  }
  #turn(): void {
    const now = this.#clock.currentTimeMillisUnsafe()
    const age = now - this.#since
    if (age < this.#span) return
    this.#before = age < 2 * this.#span ? this.#now : 0
    this.#now = 0
    this.#since = now
  }
  add(n: number): void {
    this.#turn()
    this.#now += n
  }
  get count(): number {
    this.#turn()
    return this.#before + this.#now
  }
}

/** Milliseconds without an arrival after which none is on its way, also on a machine that is busy. */
const still = 50

/** Milliseconds that a worker that closes waits for the broker to read its last acks. */
const flushing = 2_000

/** How many deliveries may be unsettled. The broker takes 16 bits. */
const mostUnsettled = 65_535

export class Line {
  readonly name: string
  readonly #channel: Channel
  readonly #connection: ConnectionService
  readonly #queue: string
  readonly #arrived: () => void
  readonly #book: AckBook
  readonly #consumerTags: Array<string> = []
  #isLeaving = false
  #arrivals = 0
  /** Arrived and not claimed, oldest first. */
  readonly buffer: Array<ConsumeMessage> = []
  /** Claimed, by token. */
  readonly held = new Map<string, Held>()
  /** Copies that must be published before their messages can be acked: `debts.ts`. Those that are on their way are not in it. */
  readonly owed: Array<Debt> = []
  /** How many copies have not been published yet, also those on their way. */
  owing = 0
  isPaying = false
  readonly #recent: RecentCount
  /** Why it ended; `undefined` while it lives. */
  ended: string | undefined
  /** How many it may hold now. */
  credit = 0

  constructor(name: string, channel: Channel, connection: ConnectionService, queue: string, arrived: () => void) {
    this.name = name
    this.#channel = channel
    this.#connection = connection
    this.#queue = queue
    this.#arrived = arrived
    this.#recent = new RecentCount(2_000 * Math.max(1, connection.server.heartbeat), connection.realClock)
    this.#book = new AckBook((tag, multiple) => {
      channel.ack({ fields: { deliveryTag: tag } } as ConsumeMessage, multiple)
    })
    let why = "its channel was closed"
    channel.on("error", (error) => (why = error.message))
    channel.on("close", () => this.#end(connection.consuming.current() === undefined ? "the connection ended" : why))
  }

  #end(why: string): void {
    if (this.ended !== undefined) return
    this.ended = why
    this.buffer.length = 0
    this.owed.length = 0
    this.#arrived()
  }

  /**
   * Receives so many more before they are settled. By a subscription beside those there are: what is on its way to one that ends is put back
   * by the broker, and counts as a lost claim.
   */
  subscribe(more: number): Effect.Effect<void, AmqpFault> {
    return Effect.suspend(() => {
      this.credit += more
      this.#isLeaving = false
      return asked(
        () =>
          // It is for the subscriptions that come behind it.
          this.#channel
            .prefetch(Math.min(mostUnsettled, more))
            .then(() => this.#channel.consume(this.#queue, (message) => this.#receive(message), { noAck: false }))
            .then(({ consumerTag }) => void this.#consumerTags.push(consumerTag)),
        this.#connection.target.commandTimeout
      )
    })
  }

  /** `null`: the broker ended the subscription, as it does when the queue is deleted. */
  #receive(message: ConsumeMessage | null): void {
    if (message === null) {
      if (this.#isLeaving) return
      this.#end("the broker cancelled the consumer: its queue was deleted, or lost its leader")
      drop(this.#channel)
      return
    }
    this.#arrivals++
    this.#book.delivered(message.fields.deliveryTag)
    this.buffer.push(message)
    this.#arrived()
  }

  /** Completes when all that was asked for is here, or nothing comes for a while. */
  get #calm(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      for (let seen = -1, i = 0; i < 10; i++) {
        if (this.ended !== undefined || this.#book.size >= this.credit || seen === this.#arrivals) return
        seen = this.#arrivals
        yield* Effect.sleep(still)
      }
    })
  }

  /** Nothing more arrives when it has completed. What has arrived stays. */
  get unsubscribe(): Effect.Effect<void, AmqpFault> {
    return Effect.suspend(() => {
      if (this.#consumerTags.length === 0 || this.ended !== undefined) return Effect.void
      this.#isLeaving = true
      const cancel = Effect.suspend(() => {
        this.credit = 0
        return asked(
          () => Promise.all(this.#consumerTags.splice(0).map((tag) => this.#channel.cancel(tag))),
          this.#connection.target.commandTimeout
        )
      })
      return Effect.asVoid(Effect.andThen(this.#calm, cancel)).pipe(
        Effect.provideService(Clock.Clock, this.#connection.realClock)
      )
    })
  }

  /** Whether they were sent. They are never confirmed: the broker may not have read them when the connection ends. */
  ack(tags: ReadonlyArray<number>): boolean {
    if (this.ended !== undefined) return false
    if (tags.length === 0) return true
    this.#recent.add(tags.length)
    this.#connection.consuming.current()?.gather()
    try {
      this.#book.ack(tags)
      return true
    } catch {
      this.#end("its channel was closed")
      return false
    }
  }

  /** How many messages were acked so shortly ago that the broker may not know. */
  get recentAcks(): number {
    return this.#recent.count
  }

  /**
   * Completes when the broker has read the acks. amqplib keeps order within a channel only: the closing of the connection overtakes
   * acks that are still on their way to the socket, and their messages would be delivered again.
   */
  get flushed(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.ended !== undefined || this.recentAcks === 0) return Effect.void
      // Any question with an answer.
      const limit = Math.min(flushing, this.#connection.target.commandTimeout)
      return Effect.ignore(asked(() => this.#channel.prefetch(1), limit))
    })
  }

  close(): void {
    this.#end("the worker was closed")
    drop(this.#channel)
  }
}
