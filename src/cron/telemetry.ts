import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { durationBoundaries } from "../internal/telemetry.ts"
import type { Outcome, Run } from "./run.ts"

const runs = Metric.counter("seams_cron_runs", { description: "Cron runs by outcome", incremental: true })

const lateness = Metric.histogram("seams_cron_lateness_milliseconds", {
  description: "Time from the instant a cron run was due to its start",
  boundaries: durationBoundaries
})

/** @internal */
export const countRun = (job: string, outcome: Outcome): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(runs, { job, outcome }), 1)

/** @internal */
export const recordLateness = (job: string, millis: number): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(lateness, { job }), millis)

/** A trace of its own for every attempt: a job belongs to no request. @internal */
export const runSpan =
  (run: Run, tracing: boolean) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    tracing
      ? // withSpan takes ParentSpan out of R; a handler's own is root here.
        (Effect.withSpan(effect, `run ${run.jobId}`, {
          root: true,
          kind: "consumer",
          captureStackTrace: false,
          attributes: {
            "cron.job.id": run.jobId,
            "cron.run.id": run.id,
            "cron.run.kind": run.kind,
            "cron.run.attempt": run.attempt,
            "cron.run.token": run.token,
            "cron.run.scheduled_time": run.scheduledTime.toJSON()
          }
        }) as Effect.Effect<A, E, R>)
      : effect
