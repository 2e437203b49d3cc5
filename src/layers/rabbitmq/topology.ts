/** The names and arguments of what is declared, so that other programs can find and declare the same. */
import type { Options } from "amqplib"

export type QueueType = "quorum" | "classic"

/** A colon is in no queue name of ours, so no two of these meet. */
export const queueName = (namespace: string, queue: string): string => `${namespace}:${queue}`
export const deadName = (namespace: string, queue: string): string => `${namespace}:${queue}:dead`
/** Of the queue that says who reads the dead letters; it holds nothing. */
export const readerName = (namespace: string, queue: string): string => `${namespace}:${queue}:dead:reader`

/**
 * Of a queue. What the broker itself would drop (a limit set by an operator's policy, its own delivery limit from 4.0 on) goes to the
 * dead letters: without loss from a quorum queue. No delivery limit is declared: -1 loses messages before 4.0, and an argument that
 * depends on the version could not be declared again after an upgrade.
 */
export const queueOptions = (namespace: string, queue: string, type: QueueType): Options.AssertQueue => ({
  durable: true,
  arguments: {
    "x-queue-type": type,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": deadName(namespace, queue),
    ...(type === "quorum" ? { "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish" } : undefined)
  }
})

/**
 * Of the dead letters of a queue. Nothing leaves them by itself: reading them counts as a delivery, of which a broker from 4.0 on allows
 * 20 unless it is told otherwise. Before 4.0 the same argument would lose messages.
 */
export const deadOptions = (type: QueueType, major: number): Options.AssertQueue => ({
  durable: true,
  arguments: { "x-queue-type": type, ...(type === "quorum" && major >= 4 ? { "x-delivery-limit": -1 } : undefined) }
})

export const readerOptions: Options.AssertQueue = {
  exclusive: true,
  durable: false,
  autoDelete: false,
  arguments: { "x-queue-type": "classic" }
}
