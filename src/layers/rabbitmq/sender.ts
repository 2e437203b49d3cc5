/** Brings messages to a queue, to its dead letters, or there after a delay; what is missing on the way is declared. */
import type { Options } from "amqplib"
import * as Effect from "effect/Effect"
import type { Declarations } from "./declarations.ts"
import { planOf } from "./delays.ts"
import { AmqpFault } from "./faults.ts"
import { hopHeader } from "./message.ts"
import type { Fate, Fates, Outgoing, Publisher } from "./publisher.ts"
import { deadName, queueName } from "./topology.ts"

export interface Mail {
  readonly queue: string
  readonly to: "queue" | "deadLetters"
  /** Milliseconds. */
  readonly delay: number
  readonly content: Buffer
  readonly properties: Options.Publish & { headers: Record<string, unknown> }
}

export interface Sender {
  /** The fates in the order of the batch. Fails when nothing was sent. */
  readonly send: (batch: ReadonlyArray<Mail>) => Effect.Effect<Fates, AmqpFault>
  /** Succeeds when all were accepted. */
  readonly sendAll: (batch: ReadonlyArray<Mail>) => Effect.Effect<void, AmqpFault>
}

/** Why a message of that fate is not there. */
export const describeFate = (fate: Fate, detail: string): string =>
  fate === "returned"
    ? "the broker has no queue for it"
    : fate === "refused"
      ? "the queue refused it: it is full, or has lost the majority of its nodes"
      : detail

export const makeSender = (publisher: Publisher, declarations: Declarations, namespace: string): Sender => {
  const nameOf = (mail: Mail) => (mail.to === "queue" ? queueName : deadName)(namespace, mail.queue)
  const direct = (mail: Mail): Outgoing => ({
    exchange: "",
    routingKey: nameOf(mail),
    content: mail.content,
    properties: mail.properties
  })
  const delayed = (mail: Mail): Effect.Effect<Outgoing, AmqpFault> => {
    const { content, properties } = mail
    const plan = planOf(mail.delay, nameOf(mail), { prefix: namespace })
    const headers = plan.rest > 0 ? { ...properties.headers, [hopHeader]: true } : properties.headers
    return Effect.as(declarations.delay(plan), {
      exchange: plan.exchange,
      routingKey: plan.routingKey,
      content,
      properties: { ...properties, headers, CC: [...plan.cc] }
    })
  }
  const once = (batch: ReadonlyArray<Mail>): Effect.Effect<Fates, AmqpFault> =>
    batch.every((mail) => mail.delay <= 0 && declarations.hasQueue(mail.queue))
      ? publisher.send(batch.map(direct))
      : Effect.flatMap(
          Effect.forEach(batch, (mail) =>
            Effect.andThen(
              declarations.queue(mail.queue),
              mail.delay <= 0 ? Effect.succeed(direct(mail)) : delayed(mail)
            )
          ),
          publisher.send
        )

  const send: Sender["send"] = (batch) =>
    Effect.flatMap(once(batch), (first) => {
      if (!first.fates.includes("returned")) return Effect.succeed(first)
      const back = first.fates.flatMap((fate, i) => (fate === "returned" ? [i] : []))
      // Somebody deleted what we had declared.
      declarations.forget()
      return once(back.map((i) => batch[i]!)).pipe(
        Effect.map((second): Fates => {
          const fates = Array.from(first.fates)
          for (const [n, i] of back.entries()) fates[i] = second.fates[n]!
          return { fates, detail: second.detail === "" ? first.detail : second.detail }
        }),
        Effect.catch((fault) =>
          back.length === batch.length
            ? Effect.fail(fault)
            : Effect.succeed({ fates: first.fates, detail: fault.detail })
        )
      )
    })

  return {
    send,
    sendAll: (batch) =>
      Effect.flatMap(send(batch), ({ detail, fates }) => {
        const bad = fates.find((fate) => fate !== "accepted")
        return bad === undefined
          ? Effect.void
          : Effect.fail(new AmqpFault(bad === "unknown" ? "unknown" : "unsent", describeFate(bad, detail)))
      })
  }
}
