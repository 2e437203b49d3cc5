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
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import { background } from "../internal/background.ts"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import type { QueueMetrics } from "../internal/queueMetrics.ts"
import { batchAttributes, type Spanned, spannedIn } from "../internal/telemetry.ts"
import type { Capabilities, Claimed, ClaimRequest, Consumer, Outcome } from "./driver.ts"
import { soloAfter } from "./driver.ts"
import type { StartGate, WorkerLimits } from "./limits.ts"
import type { QueueError } from "./QueueError.ts"
import { type Control, type ControlParts, type Pending, Slot, SlotControl, type Solo } from "./slot.ts"
import type { SoloGate } from "./soloGate.ts"

/** A settle of a handler that has ended waits this long at most for its finalizers after being interrupted. */
const stubborn = "5 seconds"
const maxBatch = 256
/** So many handlers start in one turn of the event loop, which others need too. */
const startsPerTurn = 128
/** So many leases a message is handed back for that found no time to run alone. */
const leasesAway = 4

export interface EngineOptions {
  readonly queue: string
  readonly concurrency: number
  readonly prefetch: number
  /** Milliseconds. */
  readonly lease: number
  /** Milliseconds. */
  readonly drain: number
  /** Shared with the workers of other processes: asked before messages are claimed, and before they start. */
  readonly limits?: WorkerLimits | undefined
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
  readonly spanned: Spanned | undefined
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
    const { capabilities, gate, metrics } = env
    const context = yield* Effect.context<never>()
    const clock = yield* Clock.Clock
    const fork = Effect.runForkWith(context)
    const own = yield* Scope.make()
    yield* Effect.addFinalizer(() => Effect.andThen(Scope.close(own, Exit.void), Effect.sync(abandon)))
    const consumer = yield* Scope.provide(consumerOf, own)
    const limits =
      options.limits === undefined
        ? undefined
        : yield* Scope.provide(
            options.limits.open(queue, () => wake.openUnsafe()),
            own
          )
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
        Effect.sync(() => gate.onOpen(() => wake.openUnsafe())),
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
      slot.end()
      pending.push({
        slot,
        done,
        settlement: { id: slot.claimed.message.id, token: slot.claimed.token, outcome, claimed: slot.claimed }
      })
      wake.openUnsafe()
    }
    const loseClaim = (slot: Slot) => {
      finish(slot)
      consumer.forget?.(slot.claimed.token, "lost")
      leaveBacklog(slot)
      slot.end()
      if (slot.interrupted !== undefined) return
      slot.interrupted = "lost"
      slot.settled ??= "release"
      lost.push(slot.claimed.message.id)
      slot.fiber?.interruptUnsafe()
      metrics.claimLost(context)
    }
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
      if (slot.solo?.granted === true) gate.leave()
      else slot.solo?.cancel()
    }
    /** Nobody talks to the driver any more: what still runs has lost its claim. */
    const abandon = () => {
      for (const slot of [...held.values(), ...active]) {
        slot.interrupted = "lost"
        slot.settled ??= "release"
        slot.end()
      }
      held.clear()
      for (const { done } of pending.splice(0)) if (done !== undefined) Deferred.doneUnsafe(done, Exit.succeed("lost"))
    }
    const releaseBacklog = (but?: Slot) => {
      for (const slot of Array.from(backlog)) {
        if (slot === but) continue
        leaveBacklog(slot)
        enqueueSettle(slot, { _tag: "release", delay: 0 }, undefined)
      }
    }

    const parts: ControlParts = { queue, capabilities, consumer, enqueueSettle, loseClaim, finish, wake }

    /** Runs the handler in a fiber of its own, here until it first waits. */
    const startSlot = (slot: Slot) => {
      running++
      active.add(slot)
      slot.startedAt = clock.currentTimeMillisUnsafe()
      const { deliveryCount, message } = slot.claimed
      const waited = Math.max(0, slot.startedAt - (message.notBefore ?? message.enqueuedAt))
      metrics.delivered(context, deliveryCount === 1 ? waited : undefined)
      const fiber = fork(handler.run(slot.claimed, new SlotControl(slot, parts)))
      slot.fiber = fiber
      fiber.addObserver((exit) => ended(slot, exit))
      // Interrupted before it was known which fiber to interrupt.
      if (slot.interrupted !== undefined) fiber.interruptUnsafe()
    }
    /** The handler and its finalizers have ended; how the delivery ends may still take a while to decide. */
    const ended = (slot: Slot, exit: Exit.Exit<unknown, unknown>) => {
      metrics.handled(context, clock.currentTimeMillisUnsafe() - slot.startedAt)
      if (slot.settled !== undefined) {
        if (slot.committed) metrics.settled(context, "ack", 1)
        return leave(slot)
      }
      if (slot.interrupted === "drain" && Exit.isFailure(exit)) return decided(slot, { _tag: "release", delay: 0 })
      const decision = handler.decide(slot.claimed, exit)
      fork(decision).addObserver((made) => (Exit.isSuccess(made) ? decided(slot, made.value) : leave(slot)))
    }
    const decided = (slot: Slot, outcome: Outcome) => {
      if (slot.settled === undefined) enqueueSettle(slot, outcome, undefined)
      leave(slot)
    }
    /** Its place is free. */
    const leave = (slot: Slot) => {
      running--
      active.delete(slot)
      if (held.size === 0 && active.size === 0) quiet.openUnsafe()
      gate.leave()
      limits?.leave()
      wake.openUnsafe()
    }

    /** Takes in what was claimed; the first `start` that may run beside others run at once. */
    const dispatch = (claimed: ReadonlyArray<Claimed>, start: number): Effect.Effect<void> => {
      if (claimed.length === 0) return Effect.void
      const now: Array<Slot> = []
      const alone: Array<{ readonly slot: Slot; readonly solo: Solo }> = []
      for (const one of claimed) {
        const slot = new Slot(
          one,
          one.lostStarted >= soloAfter ? { granted: false, cancel: () => undefined } : undefined
        )
        held.set(one.token, slot)
        if (slot.solo !== undefined) alone.push({ slot, solo: slot.solo })
        // Not now when a stop or a lone message of another worker came while the claim was under way.
        if (!stopping && slot.solo === undefined && now.length < start && gate.open) {
          gate.enter()
          now.push(slot)
        } else backlog.push(slot)
      }
      if (stopping) releaseBacklog()
      else
        for (const { solo } of alone)
          solo.cancel = gate.enterAlone(() => {
            solo.granted = true
            wake.openUnsafe()
          })
      quiet.closeUnsafe()
      holding.openUnsafe()
      if (alone.length === 0) return startAll(now, 0)
      const waiting = Effect.forEach(alone, ({ slot, solo }) => Effect.forkIn(giveWay(slot, solo), own), {
        discard: true
      })
      return Effect.andThen(waiting, startAll(now, 0))
    }
    /** While a message waits to run alone nothing starts in this process: not for longer than a lease, if a handler goes on. */
    const giveWay = (slot: Slot, solo: Solo): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (solo.granted || !backlog.includes(slot)) return Effect.void
        leaveBacklog(slot)
        enqueueSettle(slot, { _tag: "release", delay: leasesAway * options.lease }, undefined)
        return Effect.logWarning(
          `effect-seams: message ${slot.claimed.message.id} of queue "${queue}" is to run alone, since it may end its process, and other handlers did not end within ${options.lease} ms; it is handed back for a while`
        )
      }).pipe(Effect.delay(options.lease), Effect.interruptible)
    const startAll = (slots: ReadonlyArray<Slot>, from: number): Effect.Effect<void> => {
      const end = Math.min(slots.length, from + startsPerTurn)
      for (const slot of slots.slice(from, end))
        if (stopping) {
          // The stop came between two starts.
          gate.leave()
          enqueueSettle(slot, { _tag: "release", delay: 0 }, undefined)
        } else startSlot(slot)
      return end === slots.length ? Effect.void : Effect.flatMap(Effect.yieldNow, () => startAll(slots, end))
    }

    /** Starts what waits in the backlog, as far as slots are free. Their start is recorded before their handlers run. */
    const startBacklog = (): Effect.Effect<void, QueueError> => {
      const next: Array<Slot> = []
      for (const slot of backlog) {
        if (running + next.length >= options.concurrency) break
        if (slot.solo === undefined ? gate.open : slot.solo.granted) next.push(slot)
      }
      if (next.length === 0) return Effect.void
      // Where every lost claim counts, none is held beside a message that may kill the process.
      const alone = capabilities.startMarks ? undefined : next.find((slot) => slot.solo !== undefined)
      if (alone !== undefined && backlog.length > 1) return Effect.sync(() => releaseBacklog(alone))
      return limits === undefined ? begin(next) : beginWithin(limits, next)
    }

    /** Hands back what a limit does not let through: no attempt is spent, and no claim is held meanwhile. */
    const beginWithin = (limit: StartGate, next: ReadonlyArray<Slot>): Effect.Effect<void, QueueError> => {
      if (!limit.open) return Effect.sync(() => releaseBacklog())
      return Effect.flatMap(limit.admit(next.map(({ claimed }) => claimed.message.group)), (delays) => {
        const through: Array<Slot> = []
        for (const [i, slot] of next.entries()) {
          const delay = delays[i]
          if (delay === undefined) through.push(slot)
          else if (backlog.includes(slot)) {
            leaveBacklog(slot)
            enqueueSettle(slot, { _tag: "release", delay }, undefined)
          }
        }
        if (through.length === 0) return Effect.void
        return Effect.onError(begin(through), () => Effect.sync(() => through.forEach(() => limit.leave())))
      })
    }

    const begin = (next: ReadonlyArray<Slot>): Effect.Effect<void, QueueError> =>
      Effect.map(consumer.start(next.map((slot) => slot.claimed.token)), (states) => {
        for (const [i, slot] of next.entries()) {
          if (states[i] === "lost") loseClaim(slot)
          // The heartbeat may have found it lost meanwhile, or a lone message may have come in.
          const at = backlog.indexOf(slot)
          if (at < 0 || (slot.solo === undefined && !gate.open)) {
            limits?.leave()
            continue
          }
          backlog.splice(at, 1)
          if (slot.solo === undefined) gate.enter()
          startSlot(slot)
        }
      })

    const request = (): ClaimRequest => {
      if (stopping || !gate.open || limits?.open === false) return { max: 0, start: 0 }
      const start = Math.max(0, options.concurrency - running - backlog.length)
      const spare = Math.max(0, options.prefetch - Math.max(0, backlog.length + running - options.concurrency))
      // What a limit may hold back is not marked as started.
      return { max: start + spare, start: limits === undefined ? start : 0 }
    }

    const spanned = yield* Effect.withFiber((fiber) => Effect.succeed(spannedIn(env.spanned, fiber)))
    /** Settles what has ended and claims for the free slots, in one round trip. */
    const settle = (batch: ReadonlyArray<Pending>, next: ClaimRequest): Effect.Effect<boolean, QueueError> => {
      const settlements = batch.map((one) => one.settlement)
      const sent = consumer.settle(settlements, next)
      const answer =
        spanned === undefined ? sent : spanned(`settle ${queue}`, batchAttributes(queue, "settle", batch.length), sent)
      return Effect.flatMap(
        Effect.tapCause(answer, () => Effect.sync(() => pending.unshift(...batch))),
        ({ claimed, results }) => {
          const ends = new Map<Outcome["_tag"], number>()
          for (const [i, one] of batch.entries()) {
            const result = results[i] ?? "lost"
            if (one.done !== undefined) Deferred.doneUnsafe(one.done, Exit.succeed(result))
            if (result === "lost") {
              loseClaim(one.slot)
              continue
            }
            finish(one.slot)
            const how = one.settlement.outcome._tag
            ends.set(how, (ends.get(how) ?? 0) + 1)
          }
          for (const [how, n] of ends) metrics.settled(context, how, n)
          return Effect.map(dispatch(claimed, next.start), () => claimed.length > 0 || pending.length > 0)
        }
      )
    }
    const claim = (): Effect.Effect<boolean, QueueError> => {
      const next = request()
      if (next.max === 0) return Effect.succeed(false)
      return Effect.flatMap(consumer.claim(next), (claimed) =>
        Effect.as(dispatch(claimed, next.start), claimed.length > 0)
      )
    }
    const exchange = (): Effect.Effect<boolean, QueueError> => {
      if (pending.length === 0) return claim()
      return Effect.onError(settle(pending.splice(0, maxBatch), request()), () =>
        // One that cannot be settled now must not keep the worker from what it can drain; what waits stays within one batch.
        pending.length < maxBatch ? Effect.ignoreCause(claim()) : Effect.void
      )
    }
    /** What has ended is settled also while nothing can be started. */
    const settleAlone = (): Effect.Effect<void> =>
      pending.length === 0 ? Effect.void : Effect.ignoreCause(settle(pending.splice(0, maxBatch), { max: 0, start: 0 }))
    /** One turn of the loop: start, settle, claim. Answers whether there is reason to turn again at once. */
    const turn = Effect.uninterruptible(
      Effect.suspend(() => {
        wake.closeUnsafe()
        if (stopping || backlog.length === 0) return exchange()
        return Effect.flatMap(Effect.onError(startBacklog(), settleAlone), exchange)
      })
    )

    const loop = (part: PartHandle): Effect.Effect<void, QueueError> =>
      Effect.gen(function* () {
        while (true) {
          // A message that is claimed is in `held` before anything can interrupt.
          const again = yield* turn
          if (lost.length > 0) yield* reportLost
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
            if (states[i] === "lost" && held.has(slot.claimed.token) && slot.undecided) loseClaim(slot)
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
