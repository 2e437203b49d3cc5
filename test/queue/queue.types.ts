/**
 * What the queue seam infers in a program, and what must not compile. Checked by `npm run check`; nothing here runs.
 */
import { Context, Effect, type Layer, Schema, SchemaGetter, type Scope } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
const is = <T extends true>(_: T | void) => undefined

class Email extends Schema.Class<Email>("Email")({ to: Schema.String }) {}
class SmtpError extends Schema.TaggedError<SmtpError>()("SmtpError", { code: Schema.Finite }) {}
class Smtp extends Context.Service<Smtp, { readonly send: (e: Email) => Effect.Effect<string, SmtpError> }>()("Smtp") {}
class Database extends Context.Service<Database, { readonly count: Effect.Effect<number> }>()("Database") {}
class KeyRing extends Context.Service<KeyRing, { readonly decrypt: (s: string) => Effect.Effect<string> }>()(
  "KeyRing"
) {}
const Encrypted = Schema.Struct({
  secret: Schema.String.pipe(
    Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(KeyRing, (ring) => ring.decrypt(s))),
      encode: SchemaGetter.passthrough()
    })
  )
})

export const Emails = Queue.define("emails", {
  payload: Email,
  retry: { times: 5 },
  priority: (email) => email.to.length
})

// The handler's own requirements surface; a scope and the delivery are there for it.
export const EmailWorker = Emails.worker(
  Effect.fn("sendEmail")(function* (email, delivery) {
    const smtp = yield* Smtp
    yield* Effect.acquireRelease(Effect.void, () => Effect.void)
    const current = yield* Queue.CurrentDelivery
    if (delivery.deliveryCount > 3) return yield* Queue.deadLetter(`given up ${current.id}`)
    yield* smtp.send(email)
  }),
  { concurrency: 16, retryWhile: (error) => error._tag !== "SmtpError" || error.code < 500 }
)
is<Same<typeof EmailWorker, Layer.Layer<never, Queue.QueueError, Queue.Queue | Smtp>>>()

// Settling from below: a caught error can become an outcome.
export const CatchingWorker = Emails.worker(
  Effect.fn("sendEmail")(
    function* (email) {
      yield* (yield* Smtp).send(email)
    },
    Effect.catchTag("SmtpError", (e) => (e.code === 421 ? Queue.retryIn("1 minute") : Queue.deadLetter("refused")))
  )
)
is<Same<typeof CatchingWorker, Layer.Layer<never, Queue.QueueError, Queue.Queue | Smtp>>>()

// Results
export const Sized = Queue.define("sized", { payload: Email, success: Schema.Finite })
export const SizedWorker = Sized.worker((email) => Effect.succeed(email.to.length))

// Several kinds of messages
export const Mails = Queue.define("mails", {
  messages: { welcome: Email, sized: { payload: Email, success: Schema.Finite }, encrypted: Encrypted }
})
export const MailWorker = Mails.worker(
  {
    welcome: Effect.fn("welcome")(function* (email) {
      yield* (yield* Smtp).send(email)
    }),
    sized: (email) => Effect.flatMap(Database, (db) => Effect.map(db.count, (n) => n + email.to.length)),
    encrypted: (message) => Effect.log(message.secret)
  },
  { retryWhile: (error) => error._tag === "SmtpError" }
)
is<Same<typeof MailWorker, Layer.Layer<never, Queue.QueueError, Queue.Queue | Smtp | Database | KeyRing>>>()

// Both seams in one commit, only over one store
const Users = Kv.collection(["users"], { value: Email, key: Schema.String })
export const both = Kv.atomic([Users.set("a", { to: "x" }), Emails.enqueue({ to: "x" }, { delay: "1 minute" })])
is<Same<Effect.Services<typeof both>, Kv.Kv | Kv.SharedQueue>>()
is<Same<Effect.Error<typeof both>, Kv.KvError | Kv.Conflict | Queue.QueueError>>()
export const acked = (delivery: Queue.Delivery<Email>) => Kv.atomic([Users.set("a", { to: "x" }), delivery.ack])
is<Same<Effect.Services<ReturnType<typeof acked>>, Kv.Kv | Kv.SharedQueue>>()
is<Same<Effect.Error<ReturnType<typeof acked>>, Kv.KvError | Kv.Conflict | Queue.SettleError>>()
// For two stores
export const relayed = Kv.atomic([Users.set("a", { to: "x" }), Kv.outbox(Emails.enqueue({ to: "x" }))])
is<Same<Effect.Services<typeof relayed>, Kv.Kv>>()

export const enqueued = Emails.enqueue({ to: "x" })
is<Same<Effect.Success<typeof enqueued>, Queue.MessageId>>()
is<Same<Effect.Services<typeof enqueued>, Queue.Queue>>()
is<Same<Effect.Error<typeof enqueued>, Queue.QueueError>>()

// A queue of its own
const Durable = Queue.named("durable")
export const Orders = Queue.define("orders", { payload: Email, store: Durable })
export const ordered = Orders.enqueue({ to: "x" })
is<Same<Effect.Services<typeof ordered>, Queue.Named<"durable">>>()

// Batches have one scope
export const BatchWorker = Emails.workerBatch(
  (deliveries) =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(Effect.void, () => Effect.void)
      yield* Effect.forEach(deliveries, (delivery) => Effect.flatMap(Smtp, (smtp) => smtp.send(delivery.payload)))
    }),
  { size: 10 }
)
is<Same<Layer.Services<typeof BatchWorker>, Queue.Queue | Smtp>>()
is<Same<Extract<Layer.Services<typeof BatchWorker>, Scope.Scope>, never>>()

export const refused = [
  // @ts-expect-error wrong result
  () => Sized.worker((email) => Effect.succeed(email.to)),
  // @ts-expect-error wrong result type for `sized`
  () => Mails.worker({ welcome: () => Effect.void, sized: (e) => Effect.succeed(e.to), encrypted: () => Effect.void }),
  () =>
    Mails.worker({
      welcome: () => Effect.void,
      sized: () => Effect.succeed(1),
      encrypted: () => Effect.void,
      // @ts-expect-error a handler for a message that does not exist
      oops: () => Effect.void
    }),
  // @ts-expect-error one missing
  () => Mails.worker({ welcome: () => Effect.void, sized: () => Effect.succeed(1) }),
  // @ts-expect-error struct fields are not messages
  () => Queue.define("x", { to: Schema.String }),
  // @ts-expect-error no such message
  () => Mails.enqueue("goodbye", { to: "x" }),
  // @ts-expect-error delay or at, not both
  () => Emails.enqueue({ to: "x" }, { delay: "1 second", at: 0 }),
  // @ts-expect-error wrong payload
  () => Emails.enqueue({ too: "x" }),
  // @ts-expect-error priorities are numbers
  () => Emails.enqueue({ to: "x" }, { priority: "high" })
]
