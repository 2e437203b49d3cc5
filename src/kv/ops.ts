/**
 * The mutations on raw keys, commits of several steps, and the retry loop on conflicts.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { ClaimLost } from "../internal/claimLost.ts"
import { encodeEnvelope } from "../internal/envelope.ts"
import { messagesEnqueued } from "../internal/queueMetrics.ts"
import { Conflict, KvError, Unsupported } from "./KvError.ts"
import type { Key, SetOptions, Storable, Versionstamp } from "./model.ts"
import type { Step } from "./op.ts"
import { Check, Op } from "./op.ts"
import { contention } from "./contention.ts"
import type { Service } from "./service.ts"
import { Kv } from "./service.ts"
import { encodeValue } from "./value.ts"

/** An Op that commits its own steps. They hold no check, so that a Conflict cannot be. */
export const kvOp = <E, R, I>(
  store: Context.Key<I, Service>,
  steps: Effect.Effect<ReadonlyArray<Step>, E, R>
): Op<Versionstamp, E | KvError, R, I> =>
  new Op<Versionstamp, E | KvError, R, I>(
    store,
    steps,
    Effect.flatMap(store, (kv) =>
      Effect.flatMap(steps, (all) => kv.commit(all) as Effect.Effect<Versionstamp, KvError>)
    )
  )

/**
 * Sets a raw key. Setting without `expireIn` removes an earlier expiry.
 *
 * @since 0.1.0
 * @category mutations
 */
export const set = (key: Key, value: Storable, options?: SetOptions): Op<Versionstamp, KvError, never> =>
  kvOp(
    Kv,
    Effect.suspend((): Effect.Effect<ReadonlyArray<Step>, KvError> => {
      const encoded = encodeValue(key, value)
      return encoded instanceof KvError
        ? Effect.fail(encoded)
        : Effect.succeed([{ _tag: "Set", key, value: encoded, expireIn: options?.expireIn }])
    })
  )

const _delete = (key: Key): Op<Versionstamp, KvError, never> => kvOp(Kv, Effect.succeed([{ _tag: "Delete", key }]))

export {
  /**
   * Deletes a raw key. Succeeds for a missing one.
   *
   * @since 0.1.0
   * @category mutations
   */
  _delete as delete
}

/**
 * Adds to a counter: exact, from `0n` to `2n ** 63n - 1n`, a missing key counts as `0n`. `expireIn` is for the counter that this
 * makes; one that is there keeps the expiry it has, so that a counter per window ends with its window.
 *
 * @since 0.1.0
 * @category mutations
 */
export const sum = (key: Key, n: bigint, options?: SetOptions): Op<Versionstamp, KvError, never> =>
  count("Sum", key, n, options)

/**
 * Lowers a counter to `n` if it is greater; a missing key becomes `n`, with `expireIn` as for `sum`.
 *
 * @since 0.1.0
 * @category mutations
 */
export const min = (key: Key, n: bigint, options?: SetOptions): Op<Versionstamp, KvError, never> =>
  count("Min", key, n, options)

/**
 * Raises a counter to `n` if it is smaller; a missing key becomes `n`, with `expireIn` as for `sum`.
 *
 * @since 0.1.0
 * @category mutations
 */
export const max = (key: Key, n: bigint, options?: SetOptions): Op<Versionstamp, KvError, never> =>
  count("Max", key, n, options)

const count = (_tag: "Sum" | "Min" | "Max", key: Key, operand: bigint, options: SetOptions | undefined) =>
  kvOp(Kv, Effect.succeed([{ _tag, key, operand, expireIn: options?.expireIn }] as const))

/**
 * Proof that the Kv and the Queue of a program live in one store, so that a commit may hold messages. Only the `layer` of a
 * room that has both seams over one store provides it; with two stores the program does not type-check. Use `Kv.outbox` there.
 *
 * @since 0.1.0
 * @category services
 */
export class SharedQueue extends Context.Service<
  SharedQueue,
  {
    /** The identity of the store both seams live in. */
    readonly store: symbol
  }
>()("effect-seams/Kv/SharedQueue") {}

type AnyStep = Check | Op<any, any, any, any, any>

type WithinOf<S> = S extends Op<any, any, infer R, any, infer Within> ? R | Within : never
type ErrorOf<S> = S extends Op<any, infer E, any, any, any> ? E : never
/** A commit of checks alone reads the default store. */
type StoreOf<S> = [WithinOf<S>] extends [never] ? Kv : WithinOf<S>

/**
 * Commits all steps together or none: every check is compared and every mutation applied in order against one state, and all
 * written entries get the one versionstamp it returns. Fails with `Conflict` when a check does not hold.
 *
 * All steps must belong to one store.
 *
 * @since 0.1.0
 * @category mutations
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Kv } from "effect-seams"
 *
 * const Accounts = Kv.collection(["accounts"], { key: Schema.String, value: Schema.Struct({ cents: Schema.Int }) })
 *
 * export const open = (id: string) =>
 *   Kv.atomic([Kv.check(Accounts.at(id), null), Accounts.set(id, { cents: 0 }), Kv.sum(["accounts opened"], 1n)]).pipe(
 *     Effect.catchTag("Conflict", () => Effect.log(`${id} exists`))
 *   )
 * ```
 */
export const atomic = <const Steps extends ReadonlyArray<AnyStep>>(
  steps: Steps
): Effect.Effect<Versionstamp, KvError | Conflict | ErrorOf<Steps[number]>, StoreOf<Steps[number]>> => {
  const program = Effect.gen(function* () {
    let store: Context.Key<any, Service> | undefined
    const all: Array<Step> = []
    for (const step of steps as ReadonlyArray<AnyStep>) {
      if (step instanceof Check) {
        all.push({ _tag: "Check", key: step.key, versionstamp: step.versionstamp })
        continue
      }
      store ??= step["~store"]
      if (store !== step["~store"]) return yield* twoStores(store.key, step["~store"].key)
      for (const one of yield* step["~steps"] as Effect.Effect<ReadonlyArray<Step>, KvError>) all.push(one)
    }
    const kv: Service = yield* (store ?? Kv) as typeof Kv
    if (all.some((step) => step._tag === "Enqueue" || step._tag === "Ack")) {
      const shared = yield* SharedQueue
      if (shared.store !== kv.store) return yield* twoStores("the Kv", "the queue's store")
      for (const step of all) {
        if (step._tag === "Enqueue" && (step.store === undefined ? step.named : step.store !== shared.store))
          return yield* twoStores("the Kv", `the store of queue "${step.publication.message.queue}"`)
        if (step._tag === "Ack" && step.store !== shared.store)
          return yield* twoStores("the Kv", `the store of queue "${step.queue}"`)
      }
    }
    return yield* Effect.tap(kv.commit(all), countEnqueued(all))
  })
  return program as Effect.Effect<any, any, any>
}

/** Counts the messages of a commit that holds. */
export const countEnqueued = (steps: ReadonlyArray<Step>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const counts = new Map<string, number>()
    for (const step of steps)
      if (step._tag === "Enqueue") {
        const { queue } = step.publication.message
        counts.set(queue, (counts.get(queue) ?? 0) + 1)
      }
    return Effect.forEach(counts, ([queue, n]) => messagesEnqueued(queue, n), { discard: true })
  })

const twoStores = (one: string, other: string): KvError =>
  new KvError({
    reason: new Unsupported({
      feature: "A commit over two stores",
      detail: `its steps belong to ${one} and to ${other}. Commit them apart, or provide both seams with one room's "layer"; for a message beside data of another store use Kv.outbox`
    })
  })

/**
 * Runs reads and a commit again, with fresh reads, for as long as the commit meets a `Conflict`. Other errors end it. The
 * default schedule tries at once a few times, then backs off with full jitter up to 100 ms for at most some 30 seconds, with
 * which a hundred contenders for one key all finish.
 *
 * Gotcha: on a virtual clock these delays pass only when the clock is moved, so contenders for one key need a `TestClock.adjust`.
 *
 * @since 0.1.0
 * @category mutations
 */
export const transact = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: { readonly schedule?: Schedule.Schedule<unknown> | undefined }
): Effect.Effect<A, E, R> =>
  Effect.retry(effect, { schedule: options?.schedule ?? contention, while: (error) => error instanceof Conflict })

/** Under this prefix outbox messages wait for their relay. */
export const outboxPrefix = "~effect-seams/outbox"

/**
 * An enqueue step for two stores: commits the message with the data of the Kv, and `Queue.layerOutbox` relays it into the queue,
 * at least once and under the same id, so that the queue's id window removes a second relay.
 *
 * @since 0.1.0
 * @category mutations
 */
export const outbox = <A, E, R, Alone, Within>(enqueue: Op<A, E, R, Alone, Within>): Op<Versionstamp, E | KvError, R> =>
  kvOp(
    Kv,
    Effect.flatMap(enqueue["~steps"], (steps): Effect.Effect<ReadonlyArray<Step>, KvError> => {
      const out: Array<Step> = []
      for (const step of steps) {
        if (step._tag !== "Enqueue") {
          const detail = "Kv.outbox takes what enqueue or enqueueAll of a queue definition returned"
          return Effect.fail(
            new KvError({ reason: new Unsupported({ feature: `An outbox of a ${step._tag}`, detail }) })
          )
        }
        if (step.named) {
          const detail = `the relay hands messages to Queue.Queue, but queue "${step.publication.message.queue}" has a store of its own`
          return Effect.fail(
            new KvError({ reason: new Unsupported({ feature: "An outbox of a named store", detail }) })
          )
        }
        const { message, ...when } = step.publication
        const text = JSON.stringify({ ...when, message: encodeEnvelope(message) })
        out.push({
          _tag: "Set",
          key: [outboxPrefix, message.queue, message.id],
          value: { _tag: "Json", text },
          expireIn: undefined
        })
      }
      return Effect.succeed(out)
    })
  )

export type { ClaimLost }
