/** One claim in the hands of a worker, and what its handler may ask of the claims loop. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Capabilities, Claimed, Consumer, Outcome, Settlement } from "./driver.ts"
import { AlreadySettled, ClaimLost, type QueueError } from "./QueueError.ts"
import { refusedVerb } from "./refusals.ts"

/** What a running delivery may ask of the engine. */
export interface Control {
  /** Settles by hand. */
  readonly settle: (outcome: Outcome) => Effect.Effect<void, ClaimLost | AlreadySettled | QueueError>
  readonly extend: Effect.Effect<void, ClaimLost | QueueError>
  /**
   * For a commit that acks it, called when the commit is sent: until its outcome is known, finding the claim gone is no loss.
   * The answer is called with the outcome, `undefined` when it stays unknown.
   */
  readonly joinCommit: Effect.Effect<() => (held: boolean | undefined) => void, ClaimLost | AlreadySettled>
  /** Completes when it was settled by hand or by a commit, or its claim was lost. */
  readonly settled: Effect.Effect<void>
}

/** Of a message that runs alone: whether its turn has come, and how to give it up. */
export interface Solo {
  granted: boolean
  cancel: () => void
}

export class Slot {
  readonly claimed: Claimed
  readonly solo: Solo | undefined
  /** Of its handler. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** When its handler started. */
  startedAt = 0
  /** The first settle wins; set when it is decided. */
  settled: Outcome["_tag"] | undefined = undefined
  joined = false
  /** A commit of the program acked it. */
  committed = false
  /** Why the engine interrupted it. */
  interrupted: "drain" | "lost" | undefined = undefined
  #ended = false
  /** Made when somebody waits: few do. */
  #end: Latch.Latch | undefined = undefined
  constructor(claimed: Claimed, solo: Solo | undefined) {
    this.claimed = claimed
    this.solo = solo
  }
  /** While a settle or a commit is under way its own answer tells, not a heartbeat that came behind it. */
  get undecided(): boolean {
    return this.settled === undefined && !this.joined
  }
  /** It was settled by hand or by a commit, or its claim is lost. */
  end(): void {
    this.#ended = true
    this.#end?.openUnsafe()
  }
  get awaitEnd(): Effect.Effect<void> {
    return Effect.suspend(() => (this.#ended ? Effect.void : (this.#end ??= Latch.makeUnsafe(false)).await))
  }
}

/** A settle that waits for the next round trip. */
export interface Pending {
  readonly slot: Slot
  readonly settlement: Settlement
  readonly done: Deferred.Deferred<"settled" | "lost"> | undefined
}

/** What deliveries ask of their engine. */
export interface ControlParts {
  readonly queue: string
  readonly capabilities: Capabilities
  readonly consumer: Consumer
  readonly enqueueSettle: (slot: Slot, outcome: Outcome, done: Pending["done"]) => void
  readonly loseClaim: (slot: Slot) => void
  readonly finish: (slot: Slot) => void
  readonly wake: Latch.Latch
}

/** Made for every delivery, and asked by few: nothing is prepared. */
export class SlotControl implements Control {
  readonly #slot: Slot
  readonly #parts: ControlParts
  constructor(slot: Slot, parts: ControlParts) {
    this.#slot = slot
    this.#parts = parts
  }
  get #first(): Effect.Effect<void, ClaimLost | AlreadySettled> {
    const slot = this.#slot
    const { id } = slot.claimed.message
    return Effect.suspend((): Effect.Effect<void, ClaimLost | AlreadySettled> => {
      if (slot.interrupted === "lost") return Effect.fail(new ClaimLost({ id, queue: this.#parts.queue }))
      return slot.settled === undefined ? Effect.void : Effect.fail(new AlreadySettled({ id, how: slot.settled }))
    })
  }
  settle(outcome: Outcome): Effect.Effect<void, ClaimLost | AlreadySettled | QueueError> {
    const slot = this.#slot
    const { enqueueSettle, queue } = this.#parts
    return Effect.flatMap(this.#first, () => {
      const done = Deferred.makeUnsafe<"settled" | "lost">()
      enqueueSettle(slot, outcome, done)
      return Effect.flatMap(Deferred.await(done), (end) =>
        end === "lost" ? Effect.fail(new ClaimLost({ id: slot.claimed.message.id, queue })) : Effect.void
      )
    })
  }
  get extend(): Effect.Effect<void, ClaimLost | QueueError> {
    const slot = this.#slot
    const { capabilities, consumer, loseClaim, queue } = this.#parts
    const { message, token } = slot.claimed
    const refused = refusedVerb(capabilities, "leases")
    if (refused !== undefined) return Effect.fail(refused)
    return Effect.flatMap(
      Effect.suspend(() => consumer.extend([token])),
      ([state]) => {
        if (state !== "lost") return Effect.void
        if (slot.undecided) loseClaim(slot)
        return Effect.fail(new ClaimLost({ id: message.id, queue }))
      }
    )
  }
  get joinCommit(): Effect.Effect<() => (held: boolean | undefined) => void, ClaimLost | AlreadySettled> {
    const slot = this.#slot
    const { consumer, finish, wake } = this.#parts
    return Effect.as(this.#first, () => {
      slot.joined = true
      return (committed: boolean | undefined) => {
        if (committed === false) slot.joined = false
        if (committed !== true) return
        slot.settled = "ack"
        slot.committed = true
        slot.end()
        finish(slot)
        consumer.forget?.(slot.claimed.token, "acked")
        wake.openUnsafe()
      }
    })
  }
  get settled(): Effect.Effect<void> {
    return this.#slot.awaitEnd
  }
}
