/**
 * Faults on command, to see what a program does when its store fails. They are counted, never random: the same requests meet the same
 * faults in every run.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Signal } from "../../internal/signal.ts"

/**
 * The calls of the protocol, named as their paths. `metadata` is the exchange of an access token for a data token.
 *
 * @since 0.1.0
 * @category faults
 */
export type Operation = "metadata" | "snapshot_read" | "atomic_write" | "watch"

/**
 * What happens to a request.
 *
 * - `Status`: it is answered with this status, and nothing is done. 5xx makes the official clients send it again, 4xx makes them give up.
 * - `Cut`: its connection is cut, `"before"` anything is done, or `"after"` it was carried out and instead of the answer.
 * - `Delay`: it is carried out this much later.
 * - `Freeze`: it waits until `clear`, and is carried out then.
 *
 * @since 0.1.0
 * @category faults
 */
export type Fault =
  | { readonly _tag: "Status"; readonly status: number }
  | { readonly _tag: "Cut"; readonly when: "before" | "after" }
  | { readonly _tag: "Delay"; readonly duration: Duration.Input }
  | { readonly _tag: "Freeze" }

/**
 * Which requests a fault is for.
 *
 * @since 0.1.0
 * @category faults
 */
export interface FaultTarget {
  /** Default: all. */
  readonly on?: Operation | ReadonlyArray<Operation> | undefined
  /** How many requests meet it. Default: 1; `"Infinity"` until `clear`. */
  readonly times?: number | "Infinity" | undefined
  /** Of the requests it is for, this share meets it, evenly spread: with 0.25 the 4th, 8th, 12th. Default: 1. */
  readonly share?: number | undefined
}

/**
 * How often requests came, and met a fault.
 *
 * @since 0.1.0
 * @category faults
 */
export interface OperationCount {
  readonly requests: number
  readonly faults: number
}

/**
 * The faults of a server.
 *
 * @since 0.1.0
 * @category faults
 */
export interface Faults {
  /** From now on requests meet this fault. Of several that fit the one injected first counts; none is used up by another. */
  readonly inject: (fault: Fault, target?: FaultTarget) => Effect.Effect<void>
  /** No more faults; frozen requests go on. */
  readonly clear: Effect.Effect<void>
  /** All data tokens that were given out are refused from now on (401), as if their time were over. */
  readonly expireTokens: Effect.Effect<void>
  /** Ends all watches, as a restart of the server would. Answers how many. */
  readonly dropWatches: Effect.Effect<number>
  readonly counts: Effect.Effect<Readonly<Record<Operation, OperationCount>>>
}

interface Rule {
  readonly fault: Fault
  readonly operations: ReadonlyArray<Operation>
  readonly share: number
  left: number
  passed: number
}

const operations: ReadonlyArray<Operation> = ["metadata", "snapshot_read", "atomic_write", "watch"]

/** What the server asks before every request. */
export class FaultPlan {
  #rules: ReadonlyArray<Rule> = []
  readonly #thaw = new Signal()
  readonly #counts = new Map<Operation, { requests: number; faults: number }>(
    operations.map((operation) => [operation, { requests: 0, faults: 0 }])
  )

  inject(fault: Fault, { on, share, times }: FaultTarget): void {
    const left = times === "Infinity" ? Number.POSITIVE_INFINITY : (times ?? 1)
    this.#rules = [
      ...this.#rules,
      { fault, operations: on === undefined ? operations : [on].flat(), share: share ?? 1, left, passed: 0 }
    ]
  }

  clear(): void {
    this.#rules = []
    this.#thaw.raise()
  }

  next(operation: Operation): Fault | undefined {
    const count = this.#counts.get(operation)!
    count.requests++
    for (const rule of this.#rules) {
      if (rule.left <= 0 || !rule.operations.includes(operation)) continue
      rule.passed++
      if (Math.floor(rule.passed * rule.share) === Math.floor((rule.passed - 1) * rule.share)) continue
      rule.left--
      count.faults++
      return rule.fault
    }
    return undefined
  }

  /** Until the next `clear`. */
  get frozen(): Effect.Effect<void> {
    return Effect.suspend(() => this.#thaw.after(this.#thaw.version))
  }

  get counts(): Readonly<Record<Operation, OperationCount>> {
    return Object.fromEntries(
      operations.map((operation) => [operation, { ...this.#counts.get(operation)! }])
    ) as Record<Operation, OperationCount>
  }
}
