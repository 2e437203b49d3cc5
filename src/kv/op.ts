import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Option from "effect/Option"
import type { Publication } from "../internal/envelope.ts"
import type { StoredValue } from "./driver.ts"
import type { Entry, Expected, Key, SetOptions, Versionstamp } from "./model.ts"
import type { Kv, Service } from "./service.ts"

/**
 * One step of a commit, as `Service.commit` takes it. Programs write `Kv.check`, `Users.set`, `Kv.sum`, `Emails.enqueue`
 * and `Kv.atomic`, which make these.
 *
 * @since 0.1.0
 * @category models
 */
export type Step =
  | { readonly _tag: "Check"; readonly key: Key; readonly versionstamp: Versionstamp | null }
  | {
      readonly _tag: "Set"
      readonly key: Key
      readonly value: StoredValue
      readonly expireIn: SetOptions["expireIn"]
    }
  | { readonly _tag: "Delete"; readonly key: Key }
  | {
      readonly _tag: "Sum" | "Min" | "Max"
      readonly key: Key
      readonly operand: bigint
      readonly expireIn: SetOptions["expireIn"]
    }
  | {
      readonly _tag: "Enqueue"
      readonly publication: Publication
      /** The definition has a queue store of its own, made by `Queue.named`. */
      readonly named: boolean
      /** The store of the definition's queue service, where that is provided. */
      readonly store: symbol | undefined
    }
  | {
      readonly _tag: "Ack"
      readonly queue: string
      readonly id: string
      readonly token: string
      /** The store of the queue service that handed the message out. */
      readonly store: symbol
      /** Tells the delivery's worker that the commit is sent; the answer tells it the outcome, `undefined` when unknown. */
      readonly join: () => (held: boolean | undefined) => void
    }

/**
 * A mutation as a value: alone it is an Effect that commits itself (`yield* Users.set(...)`), inside `Kv.atomic([...])` it is
 * one step of a commit. An Op that went through `.pipe(...)` is an ordinary Effect and no step any more; the types say so.
 *
 * `Alone` is what it needs to commit itself, `Within` what a commit that holds it needs.
 *
 * @since 0.1.0
 * @category models
 */
export class Op<out A, out E, out R, out Alone = Kv, out Within = Alone> extends Effectable.Class<A, E, R | Alone> {
  declare readonly "~within": Within
  /** @internal */
  readonly "~steps": Effect.Effect<ReadonlyArray<Step>, E, R>
  /** @internal */
  readonly "~store": Context.Key<any, Service>
  /** @internal */
  readonly "~alone": Effect.Effect<A, E, R | Alone>
  constructor(
    store: Context.Key<any, Service>,
    steps: Effect.Effect<ReadonlyArray<Step>, E, R>,
    alone: Effect.Effect<A, E, R | Alone>
  ) {
    super()
    this["~store"] = store
    this["~steps"] = steps
    this["~alone"] = alone
  }
  /** @since 0.1.0 */
  asEffect(): Effect.Effect<A, E, R | Alone> {
    return this["~alone"]
  }
}

/**
 * One precondition of a commit. It means something inside `Kv.atomic` only.
 *
 * @since 0.1.0
 * @category models
 */
export class Check {
  readonly key: Key
  readonly versionstamp: Versionstamp | null
  constructor(key: Key, expected: Expected) {
    this.key = key
    this.versionstamp = versionstampOf(expected)
  }
}

/**
 * The commit holds only if the key still is as expected: the entry that was read (or its versionstamp), or `null` or `None`
 * for "does not exist". An expired entry does not exist.
 *
 * @since 0.1.0
 * @category mutations
 */
export const check = (key: Key, expected: Expected): Check => new Check(key, expected)

/** @internal */
export const versionstampOf = (expected: Expected): Versionstamp | null => {
  if (expected === null || typeof expected === "string") return expected
  if (Option.isOption(expected)) return Option.isSome(expected) ? (expected.value as Entry).versionstamp : null
  return expected.versionstamp
}
