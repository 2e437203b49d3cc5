/**
 * What the Cron seam infers in a program, and what must not compile. Checked by `npm run check`; nothing here runs.
 */
// Below, tsc proves that these mistakes do not compile; the linter need not find them too.
// @effect-diagnostics missingEffectError:off
// @effect-diagnostics missingLayerContext:off
import { Context, Cron as EffectCron, Effect, Layer, Schedule, Schema, SchemaGetter, type Scope } from "effect"
import * as Cron from "../../src/Cron.ts"

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
const is = <T extends true>(_: T | void) => undefined

class Db extends Context.Service<Db, { readonly rows: Effect.Effect<number, DbError> }>()("Db") {}
class DbError extends Schema.TaggedError<DbError>()("DbError", { code: Schema.Finite }) {}
class Encrypter extends Context.Service<Encrypter, { readonly encrypt: (s: string) => Effect.Effect<string> }>()(
  "Encrypter"
) {}
class KeyRing extends Context.Service<KeyRing, { readonly decrypt: (s: string) => Effect.Effect<string> }>()(
  "KeyRing"
) {}
const Encrypted = Schema.String.pipe(
  Schema.decodeTo(Schema.String, {
    decode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(KeyRing, (ring) => ring.decrypt(s))),
    encode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(Encrypter, (e) => e.encrypt(s)))
  })
)

// The layer needs the scheduler and what the handler needs, without Scope and CurrentRun: every run has its own.
export const Report = Cron.job(
  "daily-report",
  {
    schedule: Cron.presets.weekdays9am,
    timezone: "America/New_York",
    overlap: "skip",
    misfire: { policy: "once", within: "1 hour" },
    retry: { times: 3, schedule: Schedule.exponential("10 seconds"), while: (error: DbError) => error.code < 500 }
  },
  Effect.fn("report")(function* (run) {
    yield* Effect.acquireRelease(Effect.void, () => Effect.void)
    const current = yield* Cron.CurrentRun
    const db = yield* Db
    return (yield* db.rows) + run.attempt + current.token
  })
)
is<Same<typeof Report.layer, Layer.Layer<never, Cron.CronError, Cron.Scheduler | Db>>>()

// `while` knows the error when the handler's parameter is annotated, or when there is an error schema.
Cron.job("annotated", { schedule: "@daily", retry: { while: (error) => error.code < 500 } }, (_: Cron.Run) =>
  Effect.flatMap(Db, (db) => db.rows)
)
Cron.job("schema", { schedule: "@daily", error: DbError, retry: { while: (error) => error.code < 500 } }, (run) =>
  Effect.fail(new DbError({ code: run.attempt }))
)
Cron.job(
  "wrong-while",
  { schedule: "@daily", retry: { while: (error: string) => error.length > 0 } },
  // @ts-expect-error `while` is given what the handler fails with
  () => Effect.fail(new DbError({ code: 1 }))
)

// Without schemas a trigger gives the record.
is<Same<typeof Report.trigger, Effect.Effect<Cron.RunRecord, Cron.CronError, Cron.Scheduler>>>()

// A program gets the handler's services with `provide`, and nothing is left.
export const app = Report.layer.pipe(
  Layer.provide(Layer.succeed(Db, { rows: Effect.succeed(1) })),
  Layer.provideMerge(Cron.layerProcess)
)
is<Same<typeof app, Layer.Layer<Cron.Scheduler, Cron.CronError>>>()

// With schemas it gives the value or the error, and needs what decoding needs; the layer needs what encoding needs.
export const Typed = Cron.job(
  "typed",
  { schedule: "@daily", success: Schema.Struct({ secret: Encrypted }), error: DbError },
  () =>
    Effect.andThen(
      Effect.flatMap(Db, (db) => db.rows),
      Effect.succeed({ secret: "s" })
    )
)
is<Same<Effect.Success<typeof Typed.trigger>, { readonly secret: string }>>()
is<Same<Effect.Error<typeof Typed.trigger>, Cron.CronError | Cron.RunFailed | DbError>>()
is<Same<Effect.Services<typeof Typed.trigger>, Cron.Scheduler | KeyRing>>()
is<Same<typeof Typed.layer, Layer.Layer<never, Cron.CronError, Cron.Scheduler | Db | Encrypter>>>()

// One schema is enough.
export const OnlyValue = Cron.job("value", { schedule: "@daily", success: Schema.Finite }, () => Effect.succeed(1))
is<Same<typeof OnlyValue.trigger, Effect.Effect<number, Cron.CronError | Cron.RunFailed, Cron.Scheduler>>>()
is<Same<typeof OnlyValue.layer, Layer.Layer<never, Cron.CronError, Cron.Scheduler>>>()
export const OnlyError = Cron.job("error", { schedule: "@daily", error: DbError }, () =>
  Effect.fail(new DbError({ code: 1 }))
)
is<Same<typeof OnlyError.trigger, Effect.Effect<void, Cron.CronError | Cron.RunFailed | DbError, Cron.Scheduler>>>()

// Scheduling at run time brings the handler's services into the effect; scoped, the scope too.
export const later = Effect.flatMap(Cron.Scheduler, (cron) => cron.schedule(Report))
is<Same<Effect.Services<typeof later>, Cron.Scheduler | Db>>()
export const scoped = Effect.flatMap(Cron.Scheduler, (cron) => cron.scheduleScoped(Report, { replace: true }))
is<Same<Effect.Services<typeof scoped>, Cron.Scheduler | Db | Scope.Scope>>()

// Every kind of schedule.
export const kinds: ReadonlyArray<Cron.ScheduleInput> = [
  "0 9 * * 1-5",
  "@daily",
  Cron.presets.noon,
  Cron.every("10 minutes"),
  Cron.at("2027-01-01T00:00:00Z"),
  EffectCron.parseUnsafe("0 9 * * *", "UTC")
]

// Every overlap policy.
export const overlaps: ReadonlyArray<Cron.Overlap> = ["skip", "queueOne", "allow", "cancelRunning", { queueAll: 5 }]

Cron.job(
  "wrong-result",
  { schedule: "@daily", success: Schema.Finite },
  // @ts-expect-error the handler must give what the success schema says
  () => Effect.succeed("text")
)
Cron.job(
  "wrong-error",
  { schedule: "@daily", error: DbError },
  // @ts-expect-error the handler may only fail with what the error schema says
  () => Effect.fail("text")
)
// @ts-expect-error a job needs a schedule
Cron.job("no-schedule", {}, () => Effect.void)
// @ts-expect-error no such policy
Cron.job("bad-overlap", { schedule: "@daily", overlap: "sometimes" }, () => Effect.void)
// @ts-expect-error misfire is an object
Cron.job("bad-misfire", { schedule: "@daily", misfire: "once" }, () => Effect.void)
// @ts-expect-error a schedule is not a number of milliseconds
Cron.job("bad-schedule", { schedule: 5_000 }, () => Effect.void)
// @ts-expect-error no such option
Cron.job("bad-option", { schedule: "@daily", concurrency: 2 }, () => Effect.void)
// @ts-expect-error the scheduler is missing
export const unprovided: Layer.Layer<never, Cron.CronError, Db> = Report.layer
