/**
 * A worker's line to a queue. The broker pushes; `claim` takes what has arrived. When the channel ends, for whatever reason, all that was
 * claimed is lost at once, and another channel is opened for as long as the scope lives.
 */
import type { ConsumeMessage } from "amqplib"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Clock from "effect/Clock"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../internal/queueMetrics.ts"
import { Signal } from "../../internal/signal.ts"
import { type Claimed, type ClaimRequest, type Consumer, type Settlement, soloAfter } from "../../queue/driver.ts"
import type { QueueError } from "../../queue/QueueError.ts"
import type { ConnectionService } from "./connection.ts"
import { makeDebts } from "./debts.ts"
import type { Declarations } from "./declarations.ts"
import { queueError } from "./error.ts"
import { AmqpFault, notFound } from "./faults.ts"
import { claimedOf, type Held, isStale, pastOf } from "./held.ts"
import { Line } from "./line.ts"
import { type Death, type Past, propertiesOf, readMessage } from "./message.ts"
import { describeFate, type Mail, type Sender } from "./sender.ts"
import { queueName } from "./topology.ts"

const longestPause = 2_000
/** A clock of another machine may be ahead by so much: what arrives that early was not early for the broker. */
const skew = 1_000
export interface ConsumerParts {
  /** Begins the tokens of its claims; another consumer has another. */
  readonly name: string
  readonly connection: ConnectionService
  readonly declarations: Declarations
  readonly sender: Sender
  readonly queue: string
  /** Milliseconds. */
  readonly lease: number
  /** The most that may be held. */
  readonly prefetch: number
  /** Another text each time it is called. */
  readonly nextId: () => string
}

export const makeConsumer = (parts: ConsumerParts): Effect.Effect<Consumer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { connection, declarations, lease, name, nextId, prefetch, queue, sender } = parts
    const { consuming, namespace, realClock, scope } = connection
    const debts = makeDebts(connection, sender, queue)
    const arrived = new Signal()
    /** Raised when claims were lost. */
    const ended = new Signal()
    let told = ended.version
    let lines = 0
    let line: Line | undefined
    /** Why there is no line. */
    let trouble: AmqpFault | undefined
    /** `leaving`: nothing is claimed any more. `stopped`: the scope is closed. */
    const state = { leaving: false, stopped: false }
    let looked = arrived.version
    /** The claim that may kill its process: the only message this consumer holds. */
    let suspect: string | undefined
    /** Messages come one by one, since the last one was a suspect. */
    let careful = false
    /** The most that was asked for: who asks for nothing gets nothing pushed, and hides nothing from others. */
    let credit = 0
    /** Settled in a call that failed because of others. */
    const finished = new Set<string>()

    const mail = (held: Held, change: Partial<Mail> & { readonly past: Past; readonly death?: Death }): Mail => {
      const { death, past, ...rest } = change
      const { message } = held.read
      const delay = change.delay ?? 0
      const due = delay > 0 ? { ...message, notBefore: realClock.currentTimeMillisUnsafe() + delay } : message
      return { queue, to: "queue", delay, content: held.content, properties: propertiesOf(due, past, death), ...rest }
    }

    const admit = (at: Line, message: ConsumeMessage): Held => {
      const { content, fields, properties } = message
      const read = readMessage(queue, properties, content, nextId, realClock.currentTimeMillisUnsafe())
      // A classic queue tells only that there was another handing; a quorum queue tells how many.
      const again = read.brokerCount ?? (fields.redelivered ? 1 : 0)
      return {
        token: `${at.name}.${fields.deliveryTag}`,
        tag: fields.deliveryTag,
        read,
        content,
        lost: read.past.lost + again,
        forwarded: false
      }
    }

    /**
     * Brings messages back to the tail of the queue, uncounted: a requeue would count as a lost claim. They stay with the broker until it
     * has their copies.
     */
    const giveBack = (at: Line, some: ReadonlyArray<Held>): Effect.Effect<void> =>
      debts.owe(
        at,
        some.map((held) => ({ tag: held.tag, mail: mail(held, { past: pastOf(held), delay: remaining(held) }) }))
      )

    const remaining = ({ read: { hop, message } }: Held): number => {
      if (message.notBefore === undefined) return 0
      const left = message.notBefore - realClock.currentTimeMillisUnsafe()
      return left > (hop ? 0 : skew) ? left : 0
    }

    const takeFrom = (at: Line, max: number): Effect.Effect<ReadonlyArray<Claimed>, QueueError> => {
      const claimed: Array<Claimed> = []
      const back: Array<Held> = []
      const expired: Array<number> = []
      let isolate = false
      let isCalm = false
      const now = realClock.currentTimeMillisUnsafe()
      while (claimed.length < max && at.buffer.length > 0) {
        const held = admit(at, at.buffer.shift()!)
        const { expiresAt } = held.read.message
        const isSuspect = held.lost >= soloAfter
        if (expiresAt !== undefined && expiresAt <= now) expired.push(held.tag)
        else if (isStale(held) || remaining(held) > 0 || (isSuspect && suspect !== undefined)) back.push(held)
        else {
          if (isSuspect) {
            suspect = held.token
            isolate = true
          } else if (careful) {
            careful = false
            isCalm = true
          }
          at.held.set(held.token, held)
          claimed.push(claimedOf(held))
          if (isSuspect) break
        }
      }
      if (expired.length === 0 && back.length === 0 && !isolate && !isCalm) return Effect.succeed(claimed)
      at.ack(expired)
      return Effect.gen(function* () {
        if (isolate) {
          yield* Effect.ignore(at.unsubscribe)
          back.push(...at.buffer.splice(0).map((message) => admit(at, message)))
        }
        if (isCalm && !isolate) yield* widen(at)
        yield* giveBack(at, back)
        yield* messageExpired(queue, expired.length)
        return claimed
      })
    }

    /** Receives as many as were asked for. */
    const widen = (at: Line): Effect.Effect<void> =>
      at.credit >= credit ? Effect.void : Effect.catch(at.subscribe(credit - at.credit), (fault) => abandon(at, fault))

    /** A channel that does not do what it must can only be given up. */
    const abandon = (at: Line, fault: AmqpFault): Effect.Effect<void> =>
      Effect.andThen(
        Effect.logWarning(`effect-seams: a worker of queue "${queue}" gives its channel up: ${fault.detail}`),
        Effect.sync(() => at.close())
      )

    const take = (request: ClaimRequest): Effect.Effect<ReadonlyArray<Claimed>, QueueError> =>
      Effect.suspend(() => {
        if (request.max <= 0) return Effect.succeed([])
        looked = arrived.version
        if (line !== undefined) {
          const at = line
          const wanted = Math.min(prefetch, at.held.size + at.owing + request.max)
          if (wanted <= credit) return takeFrom(at, request.max)
          credit = wanted
          return careful || suspect !== undefined
            ? takeFrom(at, request.max)
            : Effect.andThen(
                widen(at),
                Effect.suspend(() => takeFrom(at, request.max))
              )
        }
        // An outage shows in the health of the queue and is waited out in `ready`, which the next line ends. A refusal is this worker's own.
        return trouble?.kind === "refused" ? Effect.fail(queueError("claim")(trouble)) : Effect.succeed([])
      })

    /** The copy by which an outcome is kept; `undefined` for those that end with the ack. */
    const copyOf = (held: Held, { outcome }: Settlement): Mail | undefined => {
      const past = pastOf(held)
      const handed = { ...past, deliveries: past.deliveries + 1 }
      switch (outcome._tag) {
        case "ack":
        case "discard":
          return undefined
        case "retry":
          return mail(held, {
            past: { ...handed, retries: past.retries + 1, error: outcome.error },
            delay: outcome.delay
          })
        case "release":
          return mail(held, { past: handed, delay: outcome.delay })
        case "deadLetter":
          return mail(held, {
            past: { ...handed, error: outcome.error },
            death: { reason: outcome.reason, diedAt: realClock.currentTimeMillisUnsafe() },
            to: "deadLetters"
          })
      }
    }

    const settleOn = (
      at: Line,
      batch: ReadonlyArray<Settlement>
    ): Effect.Effect<ReadonlyArray<"settled" | "lost">, QueueError> => {
      const done: Array<Held> = []
      const copies: Array<{ readonly held: Held; readonly mail: Mail }> = []
      const results = batch.map((one) => {
        const held = at.held.get(one.token)
        if (held === undefined || held.read.message.id !== one.id) return finished.has(one.token) ? "settled" : "lost"
        const copy = held.forwarded ? undefined : copyOf(held, one)
        if (copy === undefined) done.push(held)
        else copies.push({ held, mail: copy })
        return "settled"
      })
      const ack = (some: ReadonlyArray<Held>): boolean => {
        const isSent = at.ack(some.map(({ tag }) => tag))
        if (isSent) for (const { token } of some) at.held.delete(token)
        return isSent
      }
      if (!ack(done)) return Effect.succeed(batch.map(() => "lost"))
      if (copies.length === 0) return Effect.as(afterSuspect(at), results)
      // To wait for the end of an alarm would stop the worker, whose claims may be what ends it.
      if (debts.isBlocked()) {
        for (const { held } of copies) at.held.delete(held.token)
        const owed = copies.map((one) => ({ tag: one.held.tag, mail: one.mail }))
        return Effect.as(Effect.andThen(debts.owe(at, owed), afterSuspect(at)), results)
      }
      return Effect.gen(function* () {
        const { detail, fates } = yield* sender.send(copies.map((one) => one.mail)).pipe(
          Effect.tapError(() => Effect.sync(() => done.forEach(({ token }) => finished.add(token)))),
          Effect.mapError(queueError("settle"))
        )
        const kept = copies.filter((_, i) => fates[i] === "accepted").map(({ held }) => held)
        for (const held of kept) held.forwarded = true
        ack(kept)
        const bad = fates.find((fate) => fate !== "accepted")
        if (bad !== undefined) {
          for (const { token } of [...done, ...kept]) finished.add(token)
          return yield* queueError("settle")(
            new AmqpFault(bad === "unknown" ? "unknown" : "unsent", describeFate(bad, detail))
          )
        }
        yield* afterSuspect(at)
        return results
      })
    }

    /** When the message that ran alone has ended, the next may come; one by one, for it may be another. */
    const afterSuspect = (at: Line): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (suspect === undefined || at.held.has(suspect)) return Effect.void
        suspect = undefined
        if (at.ended !== undefined || state.leaving) return Effect.void
        careful = true
        return Effect.catch(at.subscribe(1), (fault) => abandon(at, fault))
      })

    const settle: Consumer["settle"] = (batch, next) =>
      Effect.suspend(() => {
        const at = line
        if (at === undefined || at.ended !== undefined)
          return Effect.succeed(
            batch.map((one) => (finished.has(one.token) ? ("settled" as const) : ("lost" as const)))
          )
        return settleOn(at, batch)
      }).pipe(
        Effect.tap(() => Effect.sync(() => finished.clear())),
        // The acks leave, and what has arrived is taken in, before the next claim: the broker goes on meanwhile, and messages that come one
        // by one are claimed together. Twice as many are handled in a second.
        Effect.tap(() => (batch.length > 0 ? Effect.yieldNow : Effect.void)),
        // All is settled: why nothing can be claimed is told by the next claim.
        Effect.flatMap((results) =>
          Effect.map(
            Effect.orElseSucceed(take(next), () => []),
            (claimed) => ({ results, claimed })
          )
        )
      )

    const holds = (tokens: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<"held" | "lost">> =>
      Effect.sync(() =>
        tokens.map((token) => (line?.ended === undefined && line?.held.has(token) === true ? "held" : "lost"))
      )

    const open: Effect.Effect<Line, AmqpFault> = Effect.gen(function* () {
      yield* declarations.queue(queue)
      const channel = yield* consuming.channel
      const made = new Line(`${name}.${++lines}`, channel, connection, queueName(namespace, queue), () =>
        arrived.raise()
      )
      if (credit > 0 && !state.leaving)
        yield* Effect.tapError(made.subscribe(credit), () => Effect.sync(() => made.close()))
      return made
    })

    /** Nothing more arrives, and what has not been claimed goes back. */
    const putDown = (at: Line): Effect.Effect<void> =>
      Effect.andThen(
        at.unsubscribe,
        Effect.suspend(() =>
          giveBack(
            at,
            at.buffer.splice(0).map((message) => admit(at, message))
          )
        )
      ).pipe(Effect.catch((fault) => abandon(at, fault)))

    /** What a handler still holds is left to its lease, and never given back early. */
    const leave = (at: Line): Effect.Effect<void> =>
      Effect.gen(function* () {
        yield* putDown(at)
        yield* at.flushed
        if (at.held.size + at.owing === 0) return at.close()
        yield* Effect.forkIn(
          Effect.andThen(
            Effect.sleep(lease),
            Effect.sync(() => at.close())
          ),
          scope
        )
      }).pipe(Effect.provideService(Clock.Clock, realClock))

    const keep = Effect.gen(function* () {
      let failures = 0
      while (!state.stopped) {
        const exit = yield* Effect.exit(open)
        if (Exit.isSuccess(exit)) {
          const at = exit.value
          if (state.stopped) return yield* leave(at)
          line = at
          trouble = undefined
          failures = 0
          arrived.raise()
          while (at.ended === undefined && !state.stopped) yield* arrived.after(arrived.version)
          if (state.stopped) return
          line = undefined
          suspect = undefined
          careful = false
          if (at.held.size > 0) ended.raise()
          // It may have ended with its queue, which is then declared again.
          declarations.forget()
          yield* reportEnd(at)
        } else {
          failures++
          trouble = yield* Effect.match(exit, {
            onFailure: (fault) => fault,
            onSuccess: () => new AmqpFault("unsent", "the channel could not be opened")
          })
          if (trouble.code === notFound) declarations.forget()
          arrived.raise()
        }
        yield* Effect.sleep(Math.min(longestPause, 25 * 2 ** Math.min(failures, 8)) * (0.5 + (yield* Random.next)))
      }
    })

    const reportEnd = (at: Line): Effect.Effect<void> => {
      const acks = at.recentAcks
      return Effect.logWarning(
        `effect-seams: the channel of a worker on queue "${queue}" ended with ${at.held.size} claim(s): ${at.ended ?? ""}.` +
          (acks === 0
            ? ""
            : ` Whether the last acks before it arrived is unknown: up to ${acks} messages that were handled may be delivered again.`)
      )
    }

    // Not interrupted by the end of this scope: a channel that is being opened would be left to nobody.
    yield* Effect.forkIn(Effect.provideService(keep, Clock.Clock, realClock), scope)
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        state.stopped = true
        const last = line
        line = undefined
        arrived.raise()
        return last === undefined ? Effect.void : leave(last)
      })
    )

    return {
      claim: take,
      ready: Effect.suspend(() => (line !== undefined && line.buffer.length > 0 ? Effect.void : arrived.after(looked))),
      settle,
      leave: Effect.suspend(() => {
        state.leaving = true
        const at = line
        return at === undefined ? Effect.void : putDown(at)
      }),
      lost: Effect.suspend(() => ended.after(told)),
      start: holds,
      extend: (tokens) =>
        Effect.suspend(() => {
          told = ended.version
          return holds(tokens)
        })
    }
  })
