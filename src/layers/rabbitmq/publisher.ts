/**
 * Publishing with confirms, through a bounded window on one channel. `mandatory` messages that no queue takes come back before their
 * confirm, which then says nothing; so each message has a fate of its own, and a batch has as many fates as messages.
 */
import { type ConfirmChannel, IllegalOperationError, type Message, type Options } from "amqplib"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { inTurn } from "./connection.ts"
import { accessRefused, AmqpFault, faultOf } from "./faults.ts"
import type { Link, Session } from "./link.ts"
import type { Target } from "./target.ts"

export interface Outgoing {
  readonly exchange: string
  readonly routingKey: string
  readonly content: Buffer
  readonly properties: Options.Publish
}

/**
 * - `accepted`: confirmed. A quorum queue has it on a majority of its nodes, a classic one on its disk.
 * - `returned`: no queue takes it.
 * - `refused`: the queue did not take it, as when it is full or has no majority.
 * - `unknown`: sent, and not confirmed in time, or not before the channel ended; or a classic queue did not take it, or ended when it had.
 * - `unsent`: it never left.
 */
export type Fate = "accepted" | "returned" | "refused" | "unknown" | "unsent"

export interface Publisher {
  /** The fates in the order of the batch. Fails when nothing was sent. */
  readonly send: (batch: ReadonlyArray<Outgoing>) => Effect.Effect<Fates, AmqpFault>
}

export interface Fates {
  readonly fates: ReadonlyArray<Fate>
  /** Why some are `unknown` or `unsent`. */
  readonly detail: string
}

/** A batch on its way. */
class Shipment {
  readonly jobs: ReadonlyArray<Job>
  /** By the real clock. */
  readonly deadline: number
  readonly #end: (shipment: Shipment, late: boolean) => void
  #left: number
  constructor(batch: ReadonlyArray<Outgoing>, deadline: number, end: (shipment: Shipment, late: boolean) => void) {
    this.jobs = batch.map((outgoing) => ({
      outgoing,
      shipment: this,
      sent: false,
      inFlight: false,
      returned: false,
      fate: undefined
    }))
    this.deadline = deadline
    this.#end = end
    this.#left = batch.length
  }
  settle(job: Job, fate: Fate): void {
    if (job.fate !== undefined) return
    job.fate = fate
    if (--this.#left === 0) this.#end(this, false)
  }
  /** What has not left by now must not leave later. */
  abandon(): void {
    for (const job of this.jobs) job.fate ??= job.sent ? "unknown" : "unsent"
  }
  /** Behind `abandon`. */
  expire(): void {
    this.#end(this, true)
  }
}

interface Job {
  readonly outgoing: Outgoing
  readonly shipment: Shipment
  sent: boolean
  /** It has a place in the window. */
  inFlight: boolean
  returned: boolean
  /** Set once. */
  fate: Fate | undefined
}

/**
 * What a nack says. A broker also nacks all that is under way to a classic queue whose process ends, as with its node: the queue may have
 * these messages on its disk.
 */
export type Nacked = Extract<Fate, "refused" | "unknown">

/** Milliseconds by which a limit may be passed. */
const sweepEvery = 100

/** One confirm channel, and what goes through it. */
class Pipe {
  readonly #channel: ConfirmChannel
  readonly #link: Link
  /** Of the connection below. */
  readonly #session: Session | undefined
  readonly #window: number
  readonly #nacked: Nacked
  readonly #waiting: Array<Job> = []
  #next = 0
  #inFlight = 0
  /** Sent, and not answered yet, in this order. */
  readonly #unanswered = new Set<Job>()
  #hasConfirmed = false
  ended: string | undefined
  /** What the broker refused, and closed the channel for. */
  refusal: AmqpFault | undefined

  constructor(channel: ConfirmChannel, link: Link, window: number, nacked: Nacked) {
    this.#channel = channel
    this.#nacked = nacked
    this.#link = link
    this.#session = link.current()
    this.#window = window
    // Before those in flight are told.
    channel.on("error", (error) => {
      this.refusal = faultOf(error)
      this.ended = this.refusal.detail
    })
    channel.on("return", (message) => this.#returned(message))
    channel.on("close", () => this.#end("the channel was closed"))
  }

  #end(why: string): void {
    this.ended ??= why
    // Those in flight were told by their own callbacks.
    for (const job of this.#waiting.splice(this.#next)) job.shipment.settle(job, "unsent")
  }

  /** Why it ended. Of a connection that ends this is known behind the answers to what was in flight, in the same turn. */
  get why(): string {
    return (
      this.refusal?.detail ??
      this.#session?.ended ??
      this.ended ??
      (this.#nacked === "unknown"
        ? "the queue refused it, as when it is full, or ended before it answered"
        : "the connection broke")
    )
  }

  add(jobs: ReadonlyArray<Job>): void {
    for (const job of jobs) this.#waiting.push(job)
    this.pump()
  }

  pump(): void {
    this.#forget()
    if (this.#next < this.#waiting.length) this.#link.current()?.gather()
    while (this.#next < this.#waiting.length && this.#inFlight < this.#window) {
      if (this.ended !== undefined || this.#link.current()?.blocked !== undefined) return
      const job = this.#waiting[this.#next++]!
      if (this.#next > 1_000) {
        this.#waiting.splice(0, this.#next)
        this.#next = 0
      }
      if (job.fate === undefined) this.#publish(job)
    }
  }

  /** What was withdrawn would otherwise stay in memory for as long as the broker blocks publishers. */
  #forget(): void {
    const from = this.#next
    while (this.#waiting[this.#next]?.fate !== undefined) this.#next++
    if (this.#next === from) return
    this.#waiting.splice(0, this.#next)
    this.#next = 0
  }

  #publish(job: Job): void {
    const { content, exchange, properties, routingKey } = job.outgoing
    this.#unanswered.add(job)
    this.#inFlight++
    job.inFlight = true
    job.sent = true
    try {
      this.#channel.publish(exchange, routingKey, content, properties, (error: unknown) => {
        this.#free(job)
        this.#unanswered.delete(job)
        const isConfirm = error === null || error === undefined
        this.#hasConfirmed ||= isConfirm
        job.shipment.settle(
          job,
          isConfirm
            ? job.returned
              ? "returned"
              : "accepted"
            : this.ended === undefined && (error as Error).message === "message nacked"
              ? this.#nacked
              : this.#isDenied(exchange)
                ? "unsent"
                : "unknown"
        )
        this.pump()
      })
    } catch (error) {
      // The channel is closing, or a value does not fit the protocol; then nothing was written.
      this.#free(job)
      this.#unanswered.delete(job)
      job.shipment.settle(job, "unsent")
      // It may have ended before anybody listened: with the answer that opened it, in one read.
      if (error instanceof IllegalOperationError) this.#end(error.message)
    }
  }

  #free(job: Job): void {
    if (!job.inFlight) return
    job.inFlight = false
    this.#inFlight--
  }

  /** Nobody waits for these any more: a queue that confirms nothing must not take the places of all others. */
  giveUp(jobs: ReadonlyArray<Job>): void {
    for (const job of jobs) this.#free(job)
    this.pump()
  }

  /** The right to an exchange is asked for with the first message to it: without a confirm so far, none has passed. */
  #isDenied(exchange: string): boolean {
    const name = exchange === "" ? "amq.default" : exchange
    return (
      !this.#hasConfirmed && this.refusal?.code === accessRefused && this.refusal.detail.includes(`exchange '${name}'`)
    )
  }

  /** Comes before the confirm of the same message; of several with one id to one place in the order they were sent. */
  #returned({ fields, properties }: Message): void {
    for (const job of this.#unanswered) {
      const { outgoing } = job
      if (job.returned || outgoing.properties.messageId !== properties.messageId) continue
      if (outgoing.routingKey !== fields.routingKey) continue
      job.returned = true
      return
    }
  }
}

export const makePublisher = (
  link: Link,
  target: Target,
  window: number,
  nacked: Nacked
): Effect.Effect<Publisher, never, Scope.Scope> =>
  Effect.gen(function* () {
    const realClock = Clock.Clock.defaultValue()
    const opening = inTurn(link)
    let pipe: Pipe | undefined

    const open: Effect.Effect<Pipe, AmqpFault> = opening(
      Effect.suspend(() =>
        pipe !== undefined && pipe.ended === undefined
          ? Effect.succeed(pipe)
          : Effect.map(link.confirmChannel, (channel) => (pipe = new Pipe(channel, link, window, nacked)))
      )
    )
    const standing: Effect.Effect<Pipe, AmqpFault> = Effect.suspend(() =>
      pipe !== undefined && pipe.ended === undefined ? Effect.succeed(pipe) : open
    )

    // What waited while the broker blocked publishers goes on by itself.
    const watch = Effect.gen(function* () {
      while (true) {
        const version = link.changed.version
        pipe?.pump()
        yield* link.changed.after(version)
      }
    })
    yield* Effect.forkScoped(watch)

    // One look at all of them is cheaper than a timer for each.
    const shipments = new Set<Shipment>()
    const busy = Latch.makeUnsafe(false)
    // Apart from the loop, which would keep the last ones for as long as it rests.
    const expire = (now: number): void => {
      const late = Array.from(shipments).filter(({ deadline }) => deadline <= now)
      // All before any: the place of one would be taken by the next, which is as late.
      for (const shipment of late) shipment.abandon()
      for (const shipment of late) shipment.expire()
    }
    const sweep = Effect.gen(function* () {
      while (true) {
        if (shipments.size === 0) {
          busy.closeUnsafe()
          yield* busy.await
        }
        yield* Effect.sleep(sweepEvery)
        expire(realClock.currentTimeMillisUnsafe())
      }
    })
    yield* Effect.forkScoped(Effect.provideService(sweep, Clock.Clock, realClock))

    const through = (on: Pipe, batch: ReadonlyArray<Outgoing>): Effect.Effect<Fates, AmqpFault> =>
      Effect.callback((resume) => {
        const limit = link.current()?.blocked === undefined ? target.commandTimeout : target.blockedTimeout
        const shipment = new Shipment(batch, realClock.currentTimeMillisUnsafe() + limit, (ended, late) => {
          shipments.delete(ended)
          if (late) on.giveUp(ended.jobs)
          const fates = ended.jobs.map(({ fate }) => fate ?? "unknown")
          if (fates.every((fate) => fate === "accepted")) return resume(Effect.succeed({ fates, detail: "" }))
          const blocked = link.current()?.blocked
          const answer = (detail: string) =>
            resume(
              fates.every((fate) => fate === "unsent")
                ? Effect.fail(on.refusal?.code === accessRefused ? on.refusal : new AmqpFault("unsent", detail))
                : Effect.succeed({ fates, detail })
            )
          if (blocked !== undefined) answer(`the broker blocks publishers (${blocked})`)
          else if (late) answer(`the broker confirmed nothing within ${limit} ms`)
          else queueMicrotask(() => answer(on.why))
        })
        shipments.add(shipment)
        busy.openUnsafe()
        on.add(shipment.jobs)
        return Effect.sync(() => {
          shipments.delete(shipment)
          shipment.abandon()
          on.giveUp(shipment.jobs)
        })
      })

    return {
      send: (batch) =>
        batch.length === 0
          ? Effect.succeed({ fates: [], detail: "" })
          : pipe !== undefined && pipe.ended === undefined
            ? through(pipe, batch)
            : Effect.flatMap(standing, (found) => through(found, batch))
    }
  })
