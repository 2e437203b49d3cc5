/**
 * Jobs that only enqueue a message, one for each slot. The message id is the id of the run, which follows from job and slot, so
 * every attempt at a slot, in whatever process, means the same message. What removes the second one depends on where the two
 * stores are:
 *
 * - One store for scheduler and queue: the message is part of the commit that records the run.
 * - A queue that deduplicates: the id is its dedupe key, for a time after which no attempt is made any more.
 * - A queue that does not: the scheduler's Kv keeps a mark of what was accepted.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import type { Step } from "../kv/op.ts"
import type { Group, MessageSpec, Single } from "../queue/definition.ts"
import type { EnqueueSettings, When } from "../queue/model.ts"
import { QueueError } from "../queue/QueueError.ts"
import type { Service as QueueService } from "../queue/service.ts"
import type { JobOptions } from "./definition.ts"
import { CronError, fail, InvalidDefinition, Unsupported } from "./errors.ts"
import type { AttemptHost, Host } from "./host.ts"
import { type Job, makeJob } from "./job.ts"
import type { CurrentRun, Run } from "./run.ts"

/**
 * The options of a job that enqueues. Two defaults differ from those of other jobs, since an outage of the queue must not cost a
 * slot its message: failures are tried again for a day (`retry`: 1,500 times, at most a minute apart), and slots that come meanwhile wait in order, up to 1,000 (`overlap`).
 *
 * @since 0.1.0
 * @category options
 */
export interface EnqueuesOptions<E = unknown> extends JobOptions<E> {
  /** What is said of each message: delay, priority, group, ttl and so on. Its id and dedupe key are the run's. */
  readonly message?: (Omit<EnqueueSettings, "id" | "dedupe"> & When) | undefined
  /**
   * How long a queue in another store remembers a slot's message, and at least `misfire.within` and two leases. Default: that, and
   * at least 24 hours.
   */
  readonly dedupeFor?: Duration.Input | undefined
}

const day = 86_400_000

type In<X> = X extends { readonly payload: infer P extends Schema.Top }
  ? P["~type.make.in"]
  : X extends Schema.Top
    ? X["~type.make.in"]
    : never
type Services<X> = X extends { readonly payload: infer P extends Schema.Top }
  ? P["EncodingServices"]
  : X extends Schema.Top
    ? X["EncodingServices"]
    : never

/** The id of the message. */
type Enqueues<R> = Job<typeof Schema.String, never, Exclude<R, Scope.Scope | CurrentRun>>

/**
 * A job that enqueues one message for each slot, whatever crashes: the run and the message have one id, which follows from job and
 * slot. `payload` makes the payload of a run, as a value or an Effect.
 *
 * **Details**
 *
 * Where scheduler and queue share one store (a room's `layer` under both), the message is committed with the record of the run.
 * Otherwise the queue deduplicates by the run's id for `dedupeFor`. A queue that cannot is used with marks in the scheduler's Kv: a
 * crash between the two writes then enqueues a second message under the same id. With neither, building the layer fails with
 * `Unsupported`.
 *
 * A message that was enqueued twice within `dedupeFor` is one, also by two schedulers that share nothing but the queue. An attempt
 * that comes later than that after the first one is not made: the run has failed, since nobody would know of an earlier message.
 * `trigger` gives the id of the message.
 *
 * @since 0.1.0
 * @category jobs
 * @example
 * ```ts
 * import { Layer, Schema } from "effect"
 * import { Cron, Queue } from "effect-seams"
 * import * as Sqlite from "effect-seams/layers/sqlite"
 *
 * const Reports = Queue.define("reports", { payload: Schema.Struct({ day: Schema.DateTimeUtc }) })
 * const Daily = Cron.enqueues("daily-report", { schedule: "@daily" }, Reports, (run) => ({ day: run.scheduledTime }))
 *
 * export const main = Daily.layer.pipe(
 *   Layer.provide(Cron.layerKv),
 *   Layer.provide(Sqlite.layer({ filename: "data/app.sqlite" }))
 * )
 * ```
 */
export const enqueues: {
  <X extends { readonly payload: Schema.Top }, I, E = never, R = never>(
    id: string,
    options: EnqueuesOptions<NoInfer<E>>,
    queue: Single<X, I>,
    payload: (run: Run) => In<X> | Effect.Effect<In<X>, E, R>
  ): Enqueues<I | R | Services<X>>
  <M extends { readonly [name: string]: MessageSpec }, K extends keyof M & string, I, E = never, R = never>(
    id: string,
    options: EnqueuesOptions<NoInfer<E>>,
    queue: Group<M, I>,
    name: K,
    payload: (run: Run) => In<M[K]> | Effect.Effect<In<M[K]>, E, R>
  ): Enqueues<I | R | Services<M[K]>>
} = ((
  id: string,
  options: EnqueuesOptions<any>,
  queue: Pick<Single<{ readonly payload: Schema.Top }, any>, "store" | "enqueue" | "name">,
  ...rest: ReadonlyArray<any>
): Enqueues<any> => {
  const payload = rest.at(-1) as (run: Run) => unknown
  const opOf = (run: Run, input: unknown, dedupe: EnqueueSettings["dedupe"]) => {
    const args = [...rest.slice(0, -1), input, { ...options.message, id: run.id, dedupe }]
    return (queue.enqueue as (...all: ReadonlyArray<unknown>) => ReturnType<typeof queue.enqueue>)(...args)
  }

  const within = durationMillis(options.misfire?.within ?? day) ?? day
  const asked = options.dedupeFor === undefined ? undefined : durationMillis(options.dedupeFor)
  /** How late an attempt at a slot can come after another one was accepted. */
  const leastWindow = (host: Host) => within + 2 * (host.capabilities.lease ?? 0)
  const windowOf = (host: Host) => asked ?? Math.max(day, leastWindow(host))

  const handler = Effect.fnUntraced(function* (run: Run, host: AttemptHost) {
    const service: QueueService = yield* queue.store
    // An earlier attempt may have been accepted; beyond the window nobody would know.
    if (!joins(host, service) && (yield* host.now) - host.startedAt >= windowOf(host)) {
      return yield* new TooLate({ window: Duration.format(Duration.millis(windowOf(host))) })
    }
    const made = payload(run)
    const input = Effect.isEffect(made) ? yield* made as Effect.Effect<unknown, unknown, any> : made
    const { dedupe } = service.capabilities
    const op = opOf(run, input, dedupe ? { key: run.id, for: windowOf(host) } : undefined)
    if (joins(host, service)) {
      host.commitWith(yield* op["~steps"] as Effect.Effect<ReadonlyArray<Step>, unknown>)
      return run.id
    }
    if (dedupe || host.marks === undefined) {
      yield* op
    } else if (!(yield* host.marks.has(run.id))) {
      yield* op
      // Without its mark the next attempt would enqueue again: this one does not end before it is there.
      yield* Effect.retry(host.marks.put(run.id, windowOf(host)), { schedule: untilMarked, while: mayPass })
    }
    return run.id
  })

  const unfit = Effect.map(queue.store, (service: QueueService) => (host: Host): CronError | undefined => {
    if (!joins(host, service) && !service.capabilities.dedupe && host.marks === undefined) {
      const detail = `the queue "${queue.name}" (${service.capabilities.backend}) cannot tell duplicates, and this scheduler has no Kv to keep marks in; use Cron.layerKv, or a queue that deduplicates`
      return fail(new Unsupported({ feature: `One message for each slot of job "${id}"`, field: "queue", detail }))
    }
    if (options.dedupeFor === undefined || (asked !== undefined && asked >= leastWindow(host) && asked < Infinity)) {
      return undefined
    }
    const least = Duration.format(Duration.millis(leastWindow(host)))
    const detail = `${describeInput(options.dedupeFor)} is shorter than misfire.within and two leases, or no finite duration; give at least ${least}`
    return fail(new InvalidDefinition({ jobId: id, field: "dedupeFor", detail }))
  })

  return makeJob(
    id,
    {
      ...options,
      overlap: options.overlap ?? { queueAll: 1_000 },
      retry: options.retry ?? { times: 1_500, while: mayPass },
      success: Schema.String
    },
    handler,
    unfit
  )
}) as never

const untilMarked = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])

/** A message whose earlier attempt may have been accepted longer ago than anything remembers. */
class TooLate extends Data.TaggedError("TooLate")<{ readonly window: string }> {
  override get message(): string {
    return `The first attempt to enqueue it lies ${this.window} back, and may have been accepted: look at the queue, and trigger the job if the message is missing`
  }
}

const joins = (host: Host, service: QueueService): boolean => host.joins !== undefined && host.joins === service.store

/**
 * Failures that are worth another attempt: outages, enqueues of which nobody knows, since the next attempt means the same, and
 * whatever making the payload fails with. Not what the queue refuses, and refuses again.
 */
const mayPass = (error: unknown): boolean => {
  if (error instanceof QueueError) return error.isRetryable || error.reason._tag === "EnqueueUnknown"
  if (error instanceof CronError) return error.isRetryable || error.isUnknown
  return !(error instanceof TooLate)
}
