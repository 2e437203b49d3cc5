/**
 * The queue's metrics. Counters per queue; durations in milliseconds.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { durationBoundaries } from "./telemetry.ts"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })

const enqueued = counter(
  "seams_queue_messages_enqueued",
  "Messages accepted; duplicates are left out where the backend tells them"
)
const delivered = counter("seams_queue_messages_delivered", "Messages handed to a handler")
const settled = counter("seams_queue_messages_settled", "Deliveries that ended, by outcome")
const claimsLost = counter("seams_queue_claims_lost", "Claims that were lost before they were settled")
const expired = counter("seams_queue_messages_expired", "Messages dropped at their time to live")
const handlerDuration = Metric.histogram("seams_queue_handler_duration_milliseconds", {
  description: "Duration of handlers",
  boundaries: durationBoundaries
})
const startDelay = Metric.histogram("seams_queue_start_delay_milliseconds", {
  description: "From due to the first start of the handler",
  boundaries: durationBoundaries
})
const depth = Metric.gauge("seams_queue_depth", { description: "Messages in a queue by state, as of the last stats" })

/** Dropped at their time to live; drivers call it, for only they see it. */
export const messageExpired = (queue: string, n: number): Effect.Effect<void> =>
  n === 0 ? Effect.void : Metric.update(Metric.withAttributes(expired, { queue }), n)

/** Accepted as steps of a commit, which does not tell duplicates apart. */
export const messagesEnqueued = (queue: string, n: number): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(enqueued, { queue }), n)

/** One queue's metrics, looked up once. What is part of every message is no Effect, and is told the context of its fiber. */
export interface QueueMetrics {
  readonly enqueued: (context: Context.Context<never>, n: number) => void
  /** With the time from due to start, for a first delivery. */
  readonly delivered: (context: Context.Context<never>, startDelay: number | undefined) => void
  readonly handled: (context: Context.Context<never>, millis: number) => void
  readonly settled: (context: Context.Context<never>, outcome: string, n: number) => void
  readonly claimLost: (context: Context.Context<never>) => void
  /** A count that the backend does not know is not set. */
  readonly depth: (stats: {
    readonly ready: number
    readonly delayed: number | undefined
    readonly claimed: number | undefined
    readonly dead: number
  }) => Effect.Effect<void>
}

export const queueMetrics = (queue: string): QueueMetrics => {
  const of = <A extends Metric.Metric<any, any>>(metric: A, attributes: Record<string, string> = {}) =>
    Metric.withAttributes(metric, { queue, ...attributes }) as A
  const [accepted, handed, lost, duration, delay] = [
    of(enqueued),
    of(delivered),
    of(claimsLost),
    of(handlerDuration),
    of(startDelay)
  ]
  const outcomes = new Map<string, typeof settled>()
  const outcomeOf = (outcome: string) => {
    const known = outcomes.get(outcome)
    if (known !== undefined) return known
    const made = of(settled, { outcome })
    outcomes.set(outcome, made)
    return made
  }
  return {
    enqueued: (context, n) => accepted.updateUnsafe(n, context),
    delivered: (context, millis) => {
      handed.updateUnsafe(1, context)
      if (millis !== undefined) delay.updateUnsafe(millis, context)
    },
    handled: (context, millis) => duration.updateUnsafe(millis, context),
    settled: (context, outcome, n) => outcomeOf(outcome).updateUnsafe(n, context),
    claimLost: (context) => lost.updateUnsafe(1, context),
    depth: (stats) =>
      Effect.forEach(
        ["ready", "delayed", "claimed", "dead"] as const,
        (state) => {
          const count = stats[state]
          return count === undefined ? Effect.void : Metric.update(of(depth, { state }), count)
        },
        { discard: true }
      )
  }
}
