/**
 * A scheduler's store over any Kv, for any number of processes. A job is one value, changed by compare-and-set; its records are
 * values beside it, appended and trimmed in the same commit. All processes follow the changes through a watch.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { durationMillis, describeInput } from "../internal/durationMillis.ts"
import type * as Kv from "../Kv.ts"
import { KvError } from "../kv/KvError.ts"
import { packKey } from "../kv/list.ts"
import { versionstampOf } from "../kv/op.ts"
import { countEnqueued, transact } from "../kv/ops.ts"
import { type CronError, fail, Unavailable, Unsupported } from "./errors.ts"
import { makeObservedLeases } from "./observedLeases.ts"
import type { JobState, RecordData } from "./state.ts"
import { decodeJob, encodeJob, type StoredJob, UnreadableJob } from "./stateCodec.ts"
import type { Store, StoreChange } from "./store.ts"

/**
 * How a scheduler uses a Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvStoreOptions {
  /** Where jobs and records are kept. Schedulers with different prefixes know nothing of each other. Default `["~effect-seams/cron"]`. */
  readonly prefix?: Kv.Key | undefined
  /**
   * How long a claim holds without a heartbeat; there is one each third of it. A run whose process died is taken over within
   * this and a second. Default 15 seconds, at least 1 second.
   */
  readonly lease?: Duration.Input | undefined
  /** Records kept per job; the oldest go first. Default 100, at most 500. */
  readonly history?: number | undefined
}

const json = (value: unknown): Kv.StoredValue => ({ _tag: "Json", text: JSON.stringify(value) })

const refuse = (field: string, detail: string) =>
  fail(new Unsupported({ feature: `The option ${field} of the scheduler's store`, field, detail }))

/**
 * The store of {@link layerKv}, for `Cron.make`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvStore = (kv: Kv.Service, options?: KvStoreOptions): Effect.Effect<Store, CronError> =>
  Effect.gen(function* () {
    const prefix: Kv.Key = options?.prefix ?? ["~effect-seams/cron"]
    const lease = options?.lease === undefined ? 15_000 : durationMillis(options.lease)
    if (lease === undefined || !(lease >= 1_000) || !Number.isFinite(lease)) {
      return yield* refuse("lease", `${describeInput(options?.lease)} is no finite duration of at least 1 second`)
    }
    const keep = options?.history ?? 100
    if (!Number.isInteger(keep) || keep < 1 || keep > 500) {
      return yield* refuse("history", `${String(keep)} is no whole number from 1 to 500`)
    }
    const packed = packKey([...prefix, "job"])
    if (packed instanceof KvError) return yield* refuse("prefix", packed.message)
    const { backend, clock, durability } = kv.capabilities
    const observed = clock === "process" && kv.capabilities.shared ? makeObservedLeases(lease) : undefined
    const jobPrefix: Kv.Key = [...prefix, "job"]
    const jobKey = (jobId: string): Kv.Key => [...jobPrefix, jobId]
    const recordPrefix = (jobId: string): Kv.Key => [...prefix, "record", jobId]
    const recordKey = (jobId: string, n: number): Kv.Key => [...recordPrefix(jobId), n]

    const unavailable = (operation: string, detail: string, cause: unknown, how: "passing" | "lasting" | "unknown") =>
      fail(
        new Unavailable({
          backend: `cron over ${backend}`,
          operation,
          detail,
          cause,
          lasting: how === "lasting",
          unknown: how === "unknown"
        })
      )
    const failed = (operation: string) => (error: KvError) =>
      unavailable(
        operation,
        "detail" in error.reason ? error.reason.detail : error.message,
        error,
        error.reason._tag === "CommitUnknown" ? "unknown" : error.isRetryable ? "passing" : "lasting"
      )
    const unreadable = (operation: string, jobId: string, { detail }: UnreadableJob) =>
      unavailable(operation, `what is stored of job "${jobId}" cannot be read: ${detail}`, undefined, "lasting")

    const read = Effect.fnUntraced(function* (jobId: string, operation: string) {
      const entry = yield* Effect.mapError(kv.get(jobKey(jobId)), failed(operation))
      const stored = Option.isSome(entry) ? decodeJob(entry.value.value) : undefined
      if (stored instanceof UnreadableJob) return yield* unreadable(operation, jobId, stored)
      return { stored, check: { _tag: "Check", key: jobKey(jobId), versionstamp: versionstampOf(entry) } as const }
    })
    const now = Effect.mapError(kv.now, failed("now"))
    const monotonicNow = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))
    const datedNow = Effect.flatMap(now, (time) => Effect.map(monotonicNow, (heard) => ({ heard, time })))

    const modify: Store["modify"] = (jobId, change, runner) => {
      const once = Effect.gen(function* () {
        const [{ check, stored }, asked] = yield* Effect.all([read(jobId, "modify"), datedNow], { concurrency: 2 })
        const monotonic = yield* monotonicNow
        // The job may have come long after the time: who compares it with a clock of its own must not see that as an offset.
        const time = asked.time + (monotonic - asked.heard)
        const state = stored === undefined ? undefined : (observed?.read(stored.state, time, monotonic) ?? stored.state)
        const { records, result, state: next, steps = [] } = change(state, time)
        if (next === null) {
          observed?.forget(jobId)
          if (stored !== undefined) yield* commit([check, ...(yield* removal(jobId))])
        } else if (next !== undefined || records.length > 0 || steps.length > 0) {
          const written = next ?? stored?.state
          if (written !== undefined) {
            const job: StoredJob = {
              state: next === undefined || observed === undefined ? written : observed.write(next),
              by: runner,
              recorded: (stored?.recorded ?? 0) + records.length
            }
            yield* commit([
              check,
              { _tag: "Set", key: jobKey(jobId), value: json(encodeJob(job)), expireIn: undefined },
              ...appended(jobId, job, records),
              ...steps
            ])
          }
        }
        return result
      })
      return shielded(
        transact(once).pipe(
          Effect.catchTag("Conflict", (conflict) =>
            unavailable("modify", "too many others change this job at the same time", conflict, "passing")
          )
        )
      )
    }

    const commit = (steps: ReadonlyArray<Kv.Step>) =>
      kv.commit(steps).pipe(
        Effect.catchTags({
          KvError: failed("modify"),
          // No step acks a message.
          ClaimLost: (lost) => Effect.die(lost)
        }),
        Effect.andThen(countEnqueued(steps))
      )

    const appended = (jobId: string, job: StoredJob, records: ReadonlyArray<RecordData>): ReadonlyArray<Kv.Step> =>
      records.flatMap((record, i): ReadonlyArray<Kv.Step> => {
        const n = job.recorded - records.length + i + 1
        const set: Kv.Step = { _tag: "Set", key: recordKey(jobId, n), value: json(record), expireIn: undefined }
        return n > keep ? [set, { _tag: "Delete", key: recordKey(jobId, n - keep) }] : [set]
      })

    /** The job and all its records, also those of a time when more were kept. */
    const removal = (jobId: string) =>
      kv.page({ prefix: recordPrefix(jobId) }, { limit: 900 }).pipe(
        Effect.mapError(failed("modify")),
        Effect.map(({ entries }) =>
          [jobKey(jobId), ...entries.map(({ key }) => key)].map((key): Kv.Step => ({ _tag: "Delete", key }))
        )
      )

    return {
      capabilities: { backend: `kv (${backend})`, shared: true, lease, durability },
      joins: kv.capabilities.sharedQueue ? kv.store : undefined,
      marks: {
        has: (mark) => Effect.mapError(kv.has([...prefix, "mark", mark]), failed("marks")),
        put: (mark, millis) =>
          Effect.asVoid(Effect.mapError(kv.set([...prefix, "mark", mark], true, { expireIn: millis }), failed("marks")))
      },
      now,
      modify,
      get: (jobId) => Effect.map(read(jobId, "get"), ({ stored }) => stored?.state),
      list: kv.list({ prefix: jobPrefix }).pipe(
        Stream.runCollect,
        Effect.mapError(failed("list")),
        Effect.flatMap((entries) =>
          Effect.forEach(entries, ({ key, value }) => {
            const stored = decodeJob(value)
            return stored instanceof UnreadableJob
              ? Effect.as(
                  Effect.logWarning(`Cron job ${String(key.at(-1))} is left out of the list: ${stored.detail}`),
                  undefined
                )
              : Effect.succeed(stored.state)
          })
        ),
        Effect.map((states) => states.filter((state): state is JobState => state !== undefined))
      ),
      history: (jobId, limit) =>
        limit < 1
          ? Effect.succeed([])
          : kv.page({ prefix: recordPrefix(jobId) }, { reverse: true, limit: Math.min(limit, keep) }).pipe(
              Effect.mapError(failed("history")),
              Effect.map((page) => page.entries.map((entry) => entry.value as unknown as RecordData))
            ),
      changes: () =>
        kv.watchPrefix(jobPrefix, { initial: false }).pipe(
          Stream.mapError(failed("changes")),
          Stream.flatMap((change): Stream.Stream<StoreChange> => {
            switch (change._tag) {
              case "Synced":
                return Stream.succeed({ _tag: "Reset" })
              case "Put": {
                const jobId = String(change.entry.key.at(-1))
                const stored = decodeJob(change.entry.value)
                if (stored instanceof UnreadableJob) return Stream.succeed({ _tag: "Changed", jobId })
                const { by, state } = stored
                return Stream.succeed({ _tag: "Changed", jobId, by, state: observed === undefined ? state : undefined })
              }
              case "Delete":
              case "Expire": {
                const jobId = String(change.key.at(-1))
                observed?.forget(jobId)
                return Stream.succeed({ _tag: "Changed", jobId })
              }
              default:
                return Stream.empty
            }
          })
        )
    }
  })

/**
 * In a fiber of its own: a run records its end where it cannot be interrupted, and the time limits of the Kv must be able to
 * interrupt what does not answer all the same.
 */
const shielded = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), Fiber.join)
