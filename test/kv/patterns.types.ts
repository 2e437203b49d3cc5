/**
 * What the patterns over a Kv infer in a program, and what must not compile. Checked by `npm run check`; nothing here runs.
 */
import { Context, Effect, Schema, SchemaGetter, type Scope } from "effect"
import * as Kv from "../../src/Kv.ts"

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
const is = <T extends true>(_: T | void) => undefined

class Declined extends Schema.TaggedError<Declined>()("Declined", {}) {}
class Down extends Schema.TaggedError<Down>()("Down", {}) {}
class Bank extends Context.Service<Bank, { readonly charge: Effect.Effect<number, Declined | Down> }>()("Bank") {}
class KeyRing extends Context.Service<KeyRing, { readonly decrypt: (s: string) => Effect.Effect<string> }>()(
  "KeyRing"
) {}
const Sealed = Schema.String.pipe(
  Schema.decodeTo(Schema.String, {
    decode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(KeyRing, (ring) => ring.decrypt(s))),
    encode: SchemaGetter.transform((s: string) => s)
  })
)
const Cache = Kv.named("cache")
const charge = Effect.flatMap(Bank, (bank) => bank.charge)

// once: the result is the schema's, the failures are those of the effect and those that may be kept.
export const paid = Kv.once(["pay"], { success: Schema.Finite, error: Declined })(charge)
is<Same<Effect.Success<typeof paid>, number>>()
is<Same<Effect.Error<typeof paid>, Declined | Down | Kv.KvError>>()
is<Same<Effect.Services<typeof paid>, Kv.Kv | Bank>>()

// Failures that are kept can come from another run, also where this effect has none.
export const kept = Kv.once(["pay"], { success: Schema.Finite, error: Declined })(Effect.succeed(1))
is<Same<Effect.Error<typeof kept>, Declined | Kv.KvError>>()

// Without a schema there is no result, whatever the effect returns.
export const done = Kv.once(["done"])(charge)
is<Same<Effect.Success<typeof done>, void>>()
is<Same<Effect.Error<typeof done>, Declined | Down | Kv.KvError>>()

// Only who does not wait can be told that somebody else is at it.
export const impatient = Kv.once(["pay"], { success: Schema.Finite, whenRunning: "fail" })(Effect.succeed(1))
is<Same<Effect.Error<typeof impatient>, Kv.KvError | Kv.AlreadyRunning>>()

// The schema's services are needed, and another store is another requirement.
export const sealed = Kv.once(["sealed"], { success: Sealed, store: Cache })(Effect.succeed("s"))
is<Same<Effect.Services<typeof sealed>, Kv.Named<"cache"> | KeyRing>>()

// What the effect commits with its result is a step of the same store.
export const complete = Kv.once(["counted"], { success: Schema.Finite })((run) =>
  Effect.as(Kv.atomic([run.check, Kv.sum(["count"], 1n), run.complete(1)]), 1)
)
is<Same<Effect.Error<typeof complete>, Kv.KvError | Kv.Conflict>>()
is<Same<Effect.Services<typeof complete>, Kv.Kv>>()

// withLock: only a wait that has an end can end without the lock.
export const locked = Kv.withLock(["a"])(charge)
is<Same<Effect.Success<typeof locked>, number>>()
is<Same<Effect.Error<typeof locked>, Declined | Down | Kv.KvError | Kv.LockLost>>()
is<Same<Effect.Services<typeof locked>, Kv.Kv | Bank>>()
export const bounded = Kv.withLock(["a"], { wait: "1 second", store: Cache })((lock) => Effect.succeed(lock.token))
is<Same<Effect.Success<typeof bounded>, bigint>>()
is<Same<Effect.Error<typeof bounded>, Kv.KvError | Kv.LockLost | Kv.LockTimeout>>()
is<Same<Effect.Services<typeof bounded>, Kv.Named<"cache">>>()

// cached: what the lookup needs is needed once, where the cache is made.
export const rates = Kv.cached(["rates"], {
  key: Schema.String,
  success: Schema.Finite,
  error: Declined,
  lookup: (code: string) => Effect.andThen(Effect.log(code), charge),
  timeToLive: "1 minute",
  errorTimeToLive: "1 second"
})
is<Same<Effect.Services<typeof rates>, Kv.Kv | Bank | Scope.Scope>>()
is<Same<Effect.Error<typeof rates>, Kv.KvError>>()
is<Same<Effect.Success<typeof rates>, Kv.Cached<string, number, Declined | Down>>>()

// limiter: who waits without end is not refused.
const Mails = Kv.limiter(["mails"], { limit: 3, window: "1 second" })
export const taken = Mails.take()
is<Same<Effect.Error<typeof taken>, Kv.KvError | Kv.RateLimited>>()
is<Same<Effect.Services<typeof taken>, Kv.Kv>>()
export const waited = Mails.take(["x"], { wait: true })
is<Same<Effect.Error<typeof waited>, Kv.KvError>>()
export const most = Mails.take(["x"], { wait: "1 second" })
is<Same<Effect.Error<typeof most>, Kv.KvError | Kv.RateLimited>>()
const Elsewhere = Kv.limiter(["mails"], { limit: 3, window: "1 second", store: Cache })
export const elsewhere = Elsewhere.peek()
is<Same<Effect.Services<typeof elsewhere>, Kv.Named<"cache">>>()

export const refused = [
  // @ts-expect-error the effect's result does not fit the schema
  () => Kv.once(["a"], { success: Schema.Finite })(Effect.succeed("text")),
  // @ts-expect-error a result of another type than the schema's
  () => Kv.once(["a"], { success: Schema.Finite })((run) => Effect.as(run.complete("text"), 1)),
  // @ts-expect-error keys are not empty
  () => Kv.once([])(Effect.void),
  // @ts-expect-error no such way to wait
  () => Kv.once(["a"], { whenRunning: "maybe" })(Effect.void),
  // @ts-expect-error keys are not empty
  () => Kv.withLock([])(Effect.void),
  // @ts-expect-error a check is no effect
  () => Kv.withLock(["a"])((lock) => lock.check),
  // @ts-expect-error the key of the cache is a text
  () => Effect.flatMap(rates, (cache) => cache.get(1)),
  () =>
    Kv.cached(["a"], {
      key: Schema.String,
      success: Schema.Finite,
      // @ts-expect-error the lookup's result does not fit the schema
      lookup: () => Effect.succeed("x"),
      timeToLive: 1
    }),
  // @ts-expect-error a limiter needs a window
  () => Kv.limiter(["a"], { limit: 1 })
]
