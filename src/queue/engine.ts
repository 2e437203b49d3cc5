/**
 * The claims loop: one worker's work with one queue, whatever is done with the messages.
 *
 * One fiber talks to the driver about claims: it settles what has ended and claims for the free slots in the same round trip, and
 * waits in the driver's `ready` (which holds no message and so may be interrupted) when there is nothing. A delivery has a fiber
 * of its own. A second loop extends all claims that are held, also those whose handler has ended but whose settle has not gone
 * through. Closing the scope stops claiming at once, gives back what has not started, lets handlers finish for `drain`,
 * interrupts the rest, and releases each of these when its finalizers have ended; one that does not end is left to its lease.
 */

import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"

import * as Scope from "effect/Scope"
import { background } from "../internal/background.ts"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import type { QueueMetrics } from "../internal/queueMetrics.ts"
import type { Spanned } from "../internal/telemetry.ts"
import type { Capabilities, Claimed, ClaimRequest, Consumer, Outcome, Settlement } from "./driver.ts"
import { soloAfter } from "./driver.ts"
import { AlreadySettled, ClaimLost, type QueueError } from "./QueueError.ts"
import { refusedVerb } from "./refusals.ts"
import type { SoloGate } from "./soloGate.ts"

/** A settle of a handler that has ended waits this long at most for its finalizers after being interrupted. */
const stubborn = "5 seconds"
const maxBatch = 256

export interface EngineOptions {
  readonly queue: string
  readonly concurrency: number
  readonly prefetch: number
  /** Milliseconds. */
  readonly lease: number
  /** Milliseconds. */
  readonly drain: number
}

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

export interface EngineHandler {
  readonly run: (claimed: Claimed, control: Control) => Effect.Effect<unknown, unknown>
  /** How a delivery ends that was not settled by hand. */
  readonly decide: (claimed: Claimed, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<Outcome>
}

export interface EngineEnvironment {
  readonly capabilities: Capabilities
  readonly gate: SoloGate
  readonly health: HealthRegistry
  readonly metrics: QueueMetrics
  readonly spanned: Spanned
}

interface Slot {
  readonly claimed: Claimed
  /** Of a message that runs alone: whether its turn has come, and how to give it up. */
  readonly solo: { granted: boolean; cancel: () => void } | undefined
  fiber: Fiber.Fiber<void> | undefined
  /** The first settle wins; set when it is decided. */
  settled: Outcome["_tag"] | undefined
  joined: boolean
  /** A commit of the program acked it. */
  committed: boolean
  readonly end: Latch.Latch
  /** Why the engine interrupted it. */
  interrupted: "drain" | "lost" | undefined
}

interface Pending {
  readonly slot: Slot
  readonly settlement: Settlement
  readonly done: Deferred.Deferred<"settled" | "lost"> | undefined
}

/** What deliveries ask of their engine. */
interface ControlParts {
  readonly queue: string
  readonly capabilities: Capabilities
  readonly consumer: Consumer
  readonly enqueueSettle: (slot: Slot, outcome: Outcome, done: Pending["done"]) => void
  readonly loseClaim: (slot: Slot) => Effect.Effect<void>
  readonly undecided: (slot: Slot) => boolean
  readonly finish: (slot: Slot) => void
  readonly wake: Latch.Latch
}

/** Made for every delivery, and asked by few: nothing is prepared. */
class SlotControl implements Control {
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
    const { capabilities, consumer, loseClaim, queue, undecided } = this.#parts
    const { message, token } = slot.claimed
    const refused = refusedVerb(capabilities, "leases")
    if (refused !== undefined) return Effect.fail(refused)
    return Effect.flatMap(
      Effect.suspend(() => consumer.extend([token])),
      ([state]) =>
        state === "lost"
          ? Effect.andThen(
              undecided(slot) ? loseClaim(slot) : Effect.void,
              Effect.fail(new ClaimLost({ id: message.id, queue }))
            )
          : Effect.void
    )
  }
  get joinCommit(): Effect.Effect<() => (held: boolean | undefined) => void, ClaimLost | AlreadySettled> {
    const slot = this.#slot
    const { finish, wake } = this.#parts
    return Effect.as(this.#first, () => {
      slot.joined = true
      return (committed: boolean | undefined) => {
        if (committed === false) slot.joined = false
        if (committed !== true) return
        slot.settled = "ack"
        slot.committed = true
        slot.end.openUnsafe()
        finish(slot)
        wake.openUnsafe()
      }
    })
  }
  get settled(): Effect.Effect<void> {
    return this.#slot.end.await
  }
}

/** Runs until the scope closes. */
export const runEngine = (
  consumerOf: Effect.Effect<Consumer, QueueError, Scope.Scope>,
  options: EngineOptions,
  handler: EngineHandler,
  env: EngineEnvironment
): Effect.Effect<void, QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const { queue } = options
    const own = yield* Scope.make()
    yield* Effect.addFinalizer(() => Effect.andThen(Scope.close(own, Exit.void), Effect.sync(abandon)))
    const consumer = yield* Scope.provide(consumerOf, own)
    /** Every claim this worker holds, by token: what the heartbeat extends. */
    const held = new Map<string, Slot>()
    /** Whose handlers run, also those that settled by hand or lost their claim and have not ended yet. */
    const active = new Set<Slot>()
    /** Claimed and not started: prefetched, or waiting to run alone. */
    const backlog: Array<Slot> = []
    const pending: Array<Pending> = []
    const lost: Array<string> = []
    const wake = Latch.makeUnsafe(false)
    const holding = Latch.makeUnsafe(false)
    const quiet = Latch.makeUnsafe(true)
    let running = 0
    let stopping = false

    yield* Scope.provide(
      Effect.acquireRelease(
        Effect.sync(() => env.gate.onOpen(() => wake.openUnsafe())),
        (remove) => Effect.sync(remove)
      ),
      own
    )

    const finish = (slot: Slot) => {
      held.delete(slot.claimed.token)
      if (held.size === 0 && active.size === 0) quiet.openUnsafe()
    }
    const enqueueSettle = (slot: Slot, outcome: Outcome, done: Pending["done"]) => {
      slot.settled = outcome._tag
      slot.end.openUnsafe()
      pending.push({
        slot,
        done,
        settlement: { id: slot.claimed.message.id, token: slot.claimed.token, outcome, claimed: slot.claimed }
      })
      wake.openUnsafe()
    }
    const loseClaim = (slot: Slot): Effect.Effect<void> =>
      Effect.suspend(() => {
        finish(slot)
        leaveBacklog(slot)
        slot.end.openUnsafe()
        if (slot.interrupted !== undefined) return Effect.void
        slot.interrupted = "lost"
        slot.settled ??= "release"
        lost.push(slot.claimed.message.id)
        slot.fiber?.interruptUnsafe()
        return env.metrics.claimLost
      })
    /** One line for all: after a stall every claim is lost at once. */
    const reportLost: Effect.Effect<void> = Effect.suspend(() => {
      const ids = lost.splice(0)
      if (ids.length === 0) return Effect.void
      const named = ids.length > 3 ? `${ids.slice(0, 3).join(", ")}, ...` : ids.join(", ")
      return Effect.logWarning(`effect-seams: ${ids.length} claim(s) of queue "${queue}" were lost: ${named}`)
    })
    /** Out of the backlog, giving up a turn it may have. */
    const leaveBacklog = (slot: Slot) => {
      const at = backlog.indexOf(slot)
      if (at < 0) return
      backlog.splice(at, 1)
      if (slot.solo?.granted === true) env.gate.leave()
      else slot.solo?.cancel()
    }
    /** Nobody talks to the driver any more: what still runs has lost its claim. */
    const abandon = () => {
      for (const slot of [...held.values(), ...active]) {
        slot.interrupted = "lost"
        slot.settled ??= "release"
        slot.end.openUnsafe()
      }
      held.clear()
      for (const { done } of pending.splice(0)) if (done !== undefined) Deferred.doneUnsafe(done, Exit.succeed("lost"))
    }
    /** While a settle or a commit is under way its own answer tells, not a heartbeat that came behind it. */
    const undecided = (slot: Slot) => slot.settled === undefined && !slot.joined
    const releaseBacklog = (but?: Slot) => {
      for (const slot of Array.from(backlog)) {
        if (slot === but) continue
        leaveBacklog(slot)
        enqueueSettle(slot, { _tag: "release", delay: 0 }, undefined)
      }
    }

    const { capabilities } = env
    const parts: ControlParts = { queue, capabilities, consumer, enqueueSettle, loseClaim, undecided, finish, wake }

    /** One delivery, from the start of its handler until its end is decided. */
    const deliver = (slot: Slot): Effect.Effect<void> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.withFiber((fiber) => {
          const clock = Context.get(fiber.context, Clock.Clock)
          const start = clock.currentTimeMillisUnsafe()
          const { deliveryCount, message } = slot.claimed
          const waited = Math.max(0, start - (message.notBefore ?? message.enqueuedAt))
          env.metrics.delivered(fiber.context, deliveryCount === 1 ? waited : undefined)
          const decided = (outcome: Outcome) => {
            if (slot.settled === undefined) enqueueSettle(slot, outcome, undefined)
          }
          return Effect.flatMap(
            Effect.exit(restore(handler.run(slot.claimed, new SlotControl(slot, parts)))),
            (exit) => {
              env.metrics.handled(fiber.context, clock.currentTimeMillisUnsafe() - start)
              if (slot.settled !== undefined) return slot.committed ? env.metrics.settled("ack", 1) : Effect.void
              return slot.interrupted === "drain" && Exit.isFailure(exit)
                ? Effect.sync(() => decided({ _tag: "release", delay: 0 }))
                : Effect.map(handler.decide(slot.claimed, exit), decided)
            }
          )
        }).pipe(
          Effect.ensuring(
            Effect.sync(() => {
              running--
              active.delete(slot)
              if (held.size === 0 && active.size === 0) quiet.openUnsafe()
              env.gate.leave()
              wake.openUnsafe()
            })
          )
        )
      )

    const startSlot = (slot: Slot): Effect.Effect<void> => {
      running++
      active.add(slot)
      return Effect.map(Effect.forkDetach(deliver(slot), { startImmediately: true }), (fiber) => {
        slot.fiber = fiber
        if (slot.interrupted !== undefined) fiber.interruptUnsafe()
      })
    }

    /** Takes in what was claimed; the first `start` that may run beside others run at once. */
    const dispatch = (claimed: ReadonlyArray<Claimed>, start: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const now: Array<Slot> = []
        const alone: Array<NonNullable<Slot["solo"]>> = []
        for (const one of claimed) {
          const slot: Slot = {
            claimed: one,
            solo: one.lostStarted >= soloAfter ? { granted: false, cancel: () => undefined } : undefined,
            fiber: undefined,
            settled: undefined,
            joined: false,
            committed: false,
            end: Latch.makeUnsafe(false),
            interrupted: undefined
          }
          held.set(one.token, slot)
          if (slot.solo !== undefined) alone.push(slot.solo)
          // Not now when a stop or a lone message of another worker came while the claim was under way.
          if (!stopping && slot.solo === undefined && now.length < start && env.gate.open) {
            env.gate.enter()
            now.push(slot)
          } else backlog.push(slot)
        }
        if (stopping) releaseBacklog()
        else
          for (const solo of alone)
            solo.cancel = env.gate.enterAlone(() => {
              solo.granted = true
              wake.openUnsafe()
            })
        if (held.size > 0) {
          quiet.closeUnsafe()
          holding.openUnsafe()
        }
        return Effect.forEach(
          now,
          (slot) => {
            if (!stopping) return startSlot(slot)
            // The stop came between two starts.
            env.gate.leave()
            enqueueSettle(slot, { _tag: "release", delay: 0 }, undefined)
            return Effect.void
          },
          { discard: true }
        )
      })

    /** Starts what waits in the backlog, as far as slots are free. Their start is recorded before their handlers run. */
    const startBacklog: Effect.Effect<void, QueueError> = Effect.gen(function* () {
      const next: Array<Slot> = []
      for (const slot of backlog) {
        if (running + next.length >= options.concurrency) break
        if (slot.solo === undefined ? env.gate.open : slot.solo.granted) next.push(slot)
      }
      if (next.length === 0) return
      // Where every lost claim counts, none is held beside a message that may kill the process.
      const alone = capabilities.startMarks ? undefined : next.find((slot) => slot.solo !== undefined)
      if (alone !== undefined && backlog.length > 1) return releaseBacklog(alone)
      const states = yield* consumer.start(next.map((slot) => slot.claimed.token))
      for (const [i, slot] of next.entries()) {
        if (states[i] === "lost") yield* loseClaim(slot)
        // The heartbeat may have found it lost meanwhile, or a lone message may have come in.
        const at = backlog.indexOf(slot)
        if (at < 0 || (slot.solo === undefined && !env.gate.open)) continue
        backlog.splice(at, 1)
        if (slot.solo === undefined) env.gate.enter()
        yield* startSlot(slot)
      }
    })

    const request = (): ClaimRequest => {
      if (stopping || !env.gate.open) return { max: 0, start: 0 }
      const start = Math.max(0, options.concurrency - running - backlog.length)
      const spare = Math.max(0, options.prefetch - Math.max(0, backlog.length + running - options.concurrency))
      return { max: start + spare, start }
    }

    /** One turn of the loop: settle, claim, start. Answers whether there is reason to turn again at once. */
    const turn = Effect.gen(function* () {
      yield* stopping ? Effect.void : startBacklog
      const next = request()
      if (pending.length > 0) {
        const batch = pending.splice(0, maxBatch)
        const answer = yield* Effect.tapCause(
          env.spanned(
            `settle ${queue}`,
            {
              "messaging.system": "effect-seams",
              "messaging.operation.name": "settle",
              "messaging.operation.type": "settle",
              "messaging.destination.name": queue,
              "messaging.batch.message_count": batch.length
            },
            consumer.settle(
              batch.map((one) => one.settlement),
              next
            )
          ),
          () => Effect.sync(() => pending.unshift(...batch))
        )
        const ends = new Map<string, number>()
        for (const [i, one] of batch.entries()) {
          const result = answer.results[i] ?? "lost"
          if (one.done !== undefined) Deferred.doneUnsafe(one.done, Exit.succeed(result))
          if (result === "lost") {
            yield* loseClaim(one.slot)
            continue
          }
          finish(one.slot)
          const how = one.settlement.outcome._tag
          ends.set(how, (ends.get(how) ?? 0) + 1)
        }
        for (const [how, n] of ends) yield* env.metrics.settled(how, n)
        yield* dispatch(answer.claimed, next.start)
        return answer.claimed.length > 0 || pending.length > 0
      }
      if (next.max === 0) return false
      const claimed = yield* consumer.claim(next)
      yield* dispatch(claimed, next.start)
      return claimed.length > 0
    })

    const loop = (part: PartHandle): Effect.Effect<void, QueueError> =>
      Effect.gen(function* () {
        while (true) {
          wake.closeUnsafe()
          // A message that is claimed is in `held` before anything can interrupt.
          const again = yield* Effect.uninterruptible(turn)
          yield* reportLost
          yield* part.up
          if (again || (pending.length > 0 && !stopping)) continue
          if (stopping && pending.length === 0 && held.size === 0) return
          yield* request().max > 0 ? Effect.raceFirst(wake.await, consumer.ready) : wake.await
        }
      })

    const interval = Effect.sleep(options.lease / 3)
    const beat = consumer.lost === undefined ? interval : Effect.raceFirst(interval, consumer.lost)
    let overdue = false
    const heartbeat = (part: PartHandle): Effect.Effect<void, QueueError> =>
      Effect.gen(function* () {
        while (true) {
          if (held.size === 0) {
            holding.closeUnsafe()
            yield* part.up
            yield* holding.await
          }
          // One that failed is tried again at once, after the backoff: a third of the lease more might be too late.
          if (!overdue) yield* beat
          overdue = false
          const slots = Array.from(held.values())
          if (slots.length === 0) continue
          overdue = true
          const states = yield* consumer.extend(slots.map((slot) => slot.claimed.token))
          overdue = false
          yield* part.up
          for (const [i, slot] of slots.entries())
            if (states[i] === "lost" && held.has(slot.claimed.token) && undecided(slot)) yield* loseClaim(slot)
          yield* reportLost
        }
      })

    const inOwn = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Scope.provide(effect, own)
    const looping = yield* inOwn(background(`queue worker ${queue}`, env.health, loop))
    // An outage that ends within the lease must cost no claim: the tries come as often as heartbeats do.
    yield* inOwn(background(`queue heartbeat ${queue}`, env.health, heartbeat, Math.min(5_000, options.lease / 3)))

    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        stopping = true
        if (consumer.leave !== undefined) yield* consumer.leave
        releaseBacklog()
        wake.openUnsafe()
        if (options.drain > 0) yield* Effect.timeoutOption(quiet.await, options.drain)
        for (const slot of active) {
          slot.interrupted ??= "drain"
          slot.fiber?.interruptUnsafe()
        }
        // The loop ends when nothing is held; a claim that was under way when the stop came is given back by it too.
        yield* Effect.timeoutOption(Effect.andThen(Fiber.await(looping), quiet.await), stubborn)
        for (const slot of held.values())
          yield* Effect.logWarning(
            `effect-seams: message ${slot.claimed.message.id} of queue "${queue}" did not end within ${stubborn} of its interruption; it is left to its lease`
          )
      })
    )
  })
