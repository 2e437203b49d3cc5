import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { ParentSpan } from "effect/Tracer"
import { define, type Definition, type JobOptions } from "./definition.ts"
import type { CronError } from "./errors.ts"
import type { AttemptHost, Host } from "./host.ts"
import type { Prepared } from "./prepared.ts"
import { failureOf } from "./records.ts"
import { CurrentRun, type Run, type RunFailed, type RunRecord } from "./run.ts"
import { type Schedulable, Scheduler } from "./scheduler.ts"

/**
 * What a handler must give: the type of the `success` schema, or anything.
 *
 * @since 0.1.0
 * @category models
 */
export type SuccessOf<S extends Schema.Constraint> = [S] extends [never] ? unknown : S["Type"]

/**
 * What a handler may fail with: the type of the `error` schema, or anything.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorOf<F extends Schema.Constraint> = [F] extends [never] ? unknown : F["Type"]

/**
 * The type of a job's `trigger`.
 *
 * @since 0.1.0
 * @category models
 */
export type TriggerOf<S extends Schema.Constraint, F extends Schema.Constraint> = [S | F] extends [never]
  ? Effect.Effect<RunRecord, CronError, Scheduler>
  : Effect.Effect<
      [S] extends [never] ? void : S["Type"],
      CronError | RunFailed | ([F] extends [never] ? never : F["Type"]),
      Scheduler | S["DecodingServices"] | F["DecodingServices"]
    >

/**
 * A job: a pure value. Nothing happens until its layer is provided, or it is given to `Scheduler.schedule`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job<S extends Schema.Constraint, F extends Schema.Constraint, out R> extends Schedulable<R> {
  readonly id: string
  /**
   * Stores the job and registers its handler while the layer lives. Closing it takes away this process's handler, lets the
   * runs go on for `drain` and interrupts them; the stored job stays.
   */
  readonly layer: Layer.Layer<never, CronError, Scheduler | R>
  /**
   * Runs the job now and waits for its end, as `Scheduler.trigger` does. With a `success` or `error` schema it gives the
   * value, or fails with the error, of the run, in whatever process it ran; without, it gives the run's record.
   */
  readonly trigger: TriggerOf<S, F>
  /** Checks the options and takes the handler's services from the context; for schedulers. */
  readonly prepare: Effect.Effect<Prepared, CronError, R>
}

/**
 * Defines a job. Bad options surface as `CronError` when the layer is built.
 *
 * **Details**
 *
 * The handler is given the {@link Run}. Each attempt has its own `Scope`, closed before the run is recorded. The run ends
 * as `Succeeded`, `Failed` (after the last retry; a defect counts as a failure) or `Cancelled` (it was interrupted).
 *
 * **Gotchas**
 *
 * The layer is a constant of the job: using it in two places of one program still registers one handler. Two jobs of one
 * id in one process are a `DuplicateJob`.
 *
 * @since 0.1.0
 * @category jobs
 */
export const job = <E extends ErrorOf<F>, R, S extends Schema.Constraint = never, F extends Schema.Constraint = never>(
  id: string,
  options: JobOptions<E> & {
    /** What a run gives. It is encoded into the run's record, and `trigger` gives it back from any process. */
    readonly success?: S | undefined
    /** What a run may fail with, for `trigger`. */
    readonly error?: F | undefined
  },
  handler: (run: Run) => Effect.Effect<SuccessOf<S>, E, R>
): Job<S, F, Exclude<R, Scope.Scope | CurrentRun> | S["EncodingServices"] | F["EncodingServices"]> =>
  makeJob(id, options, handler)

/** {@link job} with what only jobs of this library use. @internal */
export const makeJob = <
  E extends ErrorOf<F>,
  R,
  S extends Schema.Constraint = never,
  F extends Schema.Constraint = never
>(
  id: string,
  options: JobOptions<E> & { readonly success?: S | undefined; readonly error?: F | undefined },
  handler: (run: Run, attempt: AttemptHost) => Effect.Effect<SuccessOf<S>, E, R>,
  /** Asked when it is registered: why the scheduler cannot keep the job's promises, if it cannot. */
  unfit?: Effect.Effect<(host: Host, definition: Definition) => CronError | undefined, never, R>
): Job<S, F, Exclude<R, Scope.Scope | CurrentRun> | S["EncodingServices"] | F["EncodingServices"]> => {
  type Needs = Exclude<R, Scope.Scope | CurrentRun> | S["EncodingServices"] | F["EncodingServices"]
  const success = options.success === undefined ? undefined : codecOf(options.success)
  const error = options.error === undefined ? undefined : codecOf(options.error)

  const prepare: Effect.Effect<Prepared, CronError, Needs> = Effect.gen(function* () {
    const { definition, local } = yield* Effect.fromResult(define(id, options))
    // Each attempt brings its own Scope and run, and starts a trace of its own.
    const context = Context.omit(ParentSpan)(yield* Effect.context<Needs>()) as Context.Context<Needs>
    const handle = (run: Run, host: AttemptHost) => {
      const attempt = handler(run, host) as Effect.Effect<unknown, unknown, Needs | Scope.Scope | CurrentRun>
      return success === undefined
        ? Effect.asVoid(attempt)
        : Effect.flatMap(attempt, (value) =>
            Effect.mapError(success.encode(value), (cause) => new ValueUnfit({ detail: String(cause) }))
          )
    }
    const refusal =
      unfit === undefined
        ? undefined
        : yield* unfit as Effect.Effect<(host: Host, definition: Definition) => CronError | undefined, never, Needs>
    const services = Context.omit(Scope.Scope, CurrentRun)(context) as Context.Context<Needs>
    return {
      definition,
      local,
      unfit: refusal === undefined ? undefined : (host) => refusal(host, definition),
      handler: (run, host) => Effect.provideContext(handle(run, host), services) as ReturnType<Prepared["handler"]>,
      encodeError: (failure) =>
        error === undefined
          ? Effect.undefined
          : error.encode(failure).pipe(
              Effect.catchCause(() => Effect.undefined),
              Effect.provideContext(services)
            )
    }
  })

  const trigger = Effect.gen(function* () {
    const scheduler = yield* Scheduler
    const record = yield* scheduler.trigger(id)
    if (success === undefined && error === undefined) return record
    if (record.outcome === "Succeeded") {
      if (success === undefined) return undefined
      return yield* Effect.mapError(success.decode(record.value), () => failureOf(record))
    }
    if (error === undefined || record.failure === undefined) return yield* failureOf(record)
    return yield* Effect.flatMap(
      Effect.mapError(error.decode(record.failure), () => failureOf(record)),
      Effect.fail
    )
  })

  const self: Job<S, F, Needs> = {
    id,
    prepare,
    layer: Layer.effectDiscard(
      Effect.flatMap(Scheduler, (scheduler) => scheduler.scheduleScoped({ id, prepare }))
    ) as Layer.Layer<never, CronError, Scheduler | Needs>,
    trigger: trigger as unknown as TriggerOf<S, F>
  }
  return self
}

/** A handler gave what its job's `success` schema does not take. */
class ValueUnfit extends Data.TaggedError("ValueUnfit")<{ readonly detail: string }> {
  override get message(): string {
    return `The handler's value does not fit the success schema of its job: ${this.detail}`
  }
}

interface Codec {
  readonly encode: (value: unknown) => Effect.Effect<Schema.Json, unknown>
  readonly decode: (json: Schema.Json | undefined) => Effect.Effect<unknown, Schema.SchemaError>
}

// The services a schema needs are in the types of `layer` and `trigger`; inside they are in the context.
const codecOf = (schema: Schema.Constraint): Codec => {
  const json = Schema.toCodecJson(schema)
  return {
    encode: Schema.encodeUnknownEffect(json) as Codec["encode"],
    decode: Schema.decodeUnknownEffect(json) as Codec["decode"]
  }
}
