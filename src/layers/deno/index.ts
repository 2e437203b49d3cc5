/**
 * The scheduler that Deno brings along: `Deno.cron` wakes the jobs of this process. Where it runs on Deno Deploy, so do they, without
 * a process that stays up; everywhere else `Cron.layerProcess` does the same with fewer limits.
 *
 * What `Deno.cron` lacks is refused with `Unsupported` when the job is registered: time zones, seconds, jitter, instants (`at`) and
 * intervals that do not divide an hour or a day. Everything else is the library's own: slots and their identity, overlap, retries,
 * timeout, history, events. Nothing is shared with other processes or kept for later.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { ParentSpan } from "effect/Tracer"
import * as Cron from "../../Cron.ts"
import { fail } from "../../cron/errors.ts"
import { translate, translateName } from "./translate.ts"

/** What this file uses of Deno's own types. */
type DenoCron = (
  name: string,
  schedule: string,
  options: { readonly signal: AbortSignal; readonly backoffSchedule: ReadonlyArray<number> },
  handler: () => Promise<void>
) => Promise<void>

const unsupported = (feature: string, field: string, detail: string): Cron.CronError =>
  fail(new Cron.Unsupported({ feature, field, detail }))

const findDenoCron: Effect.Effect<DenoCron, Cron.CronError> = Effect.suspend(() => {
  const runtime: unknown = Reflect.get(globalThis, "Deno")
  if (!Predicate.isObject(runtime)) {
    return Effect.fail(
      unsupported(
        "Deno.cron",
        "runtime",
        "this is not Deno; use Cron.layerProcess or Cron.layerKv, which run everywhere"
      )
    )
  }
  const cron: unknown = Reflect.get(runtime, "cron")
  return typeof cron === "function"
    ? Effect.succeed(cron.bind(runtime) as DenoCron)
    : Effect.fail(unsupported("Deno.cron", "runtime", "start Deno with --unstable-cron"))
})

/** Wakes jobs by `Deno.cron`; each is a registration of its own. */
const denoWakeUps = (denoCron: DenoCron, context: Context.Context<never>): Cron.WakeUps => ({
  unfit: (definition) => Result.getOrUndefined(Result.flip(translate(definition))),
  register: (definition, fire): Effect.Effect<void, Cron.CronError, Scope.Scope> =>
    Effect.gen(function* () {
      const schedule = yield* Effect.fromResult(translate(definition))
      yield* Effect.acquireRelease(
        Effect.try({
          try: () => {
            const controller = new AbortController()
            // Retries are the library's; what fire runs cannot fail.
            const options = { signal: controller.signal, backoffSchedule: [] }
            const ended = denoCron(translateName(definition.id), schedule, options, () =>
              Effect.runPromiseWith(context)(fire)
            )
            return { controller, ended }
          },
          catch: (cause) => refusal(definition.id, cause)
        }),
        // The name is free again when the registration has ended.
        ({ controller, ended }) =>
          Effect.andThen(
            Effect.sync(() => controller.abort()),
            Effect.ignore(Effect.tryPromise(() => ended))
          )
      )
    })
})

const refusal = (jobId: string, cause: unknown): Cron.CronError => {
  const text = cause instanceof Error ? cause.message : String(cause)
  if (/already exists/i.test(text)) return fail(new Cron.DuplicateJob({ jobId }))
  const limit = /too many/i.test(text) ? ", which takes 101 in a process" : ""
  return unsupported(
    `Job "${jobId}" under Deno.cron${limit}`,
    "id",
    `Deno refused it: ${text}; use Cron.layerProcess or Cron.layerKv, which have no such limit`
  )
}

/**
 * The scheduler of this Deno process, woken by `Deno.cron`. Fails with `Unsupported` outside Deno, and without `--unstable-cron`.
 *
 * **Gotchas**
 *
 * Deno Deploy finds crons by evaluating the module that is deployed: provide the layer at its top level
 * (`Effect.runFork(Layer.launch(...))`), not behind a request.
 *
 * A slot that passes while the process is busy or asleep is dropped by Deno; the next one wakes the job, and its misfire policy
 * decides about the ones before.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Cron } from "effect-seams"
 * import { layerCron } from "effect-seams/layers/deno"
 *
 * const Report = Cron.job("report", { schedule: Cron.presets.weekdays9am }, () => Effect.log("time for the report"))
 *
 * Effect.runFork(Layer.launch(Layer.provide(Report.layer, layerCron)))
 * ```
 */
export const layerCron: Layer.Layer<Cron.Scheduler, Cron.CronError> = Layer.effect(
  Cron.Scheduler,
  Effect.gen(function* () {
    const denoCron = yield* findDenoCron
    const context = Context.omit(ParentSpan)(yield* Effect.context<never>()) as Context.Context<never>
    const store = yield* Cron.makeProcessStore()
    return yield* Cron.make(
      { ...store, capabilities: { ...store.capabilities, backend: "deno" } },
      { wakeUps: denoWakeUps(denoCron, context) }
    )
  })
)
