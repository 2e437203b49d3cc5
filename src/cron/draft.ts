/**
 * The rules of a scheduler: what becomes of one job's state at one instant. A draft is opened on a state, changed by its
 * methods, and closed into what is to be stored, started, told and interrupted. Pure: a store may ask several times.
 */
import * as DateTime from "effect/DateTime"
import type { Step } from "../kv/op.ts"
import type { Definition } from "./definition.ts"
import type { Event } from "./events.ts"
import { endedEvent, makeRecord, makeRun, slotRunId } from "./records.ts"
import type { RunKind, StopReason } from "./run.ts"
import type { Slots } from "./slots.ts"
import type { ActiveRun, ClaimRef, JobState, RecordData, WaitingRun } from "./state.ts"

/** The most missed slots that are counted one by one. */
const mostCounted = 1_000

// A run that kills its process each time must not do so for ever.
const maxLost = 10

// The state of a job stays small: see stateCodec.ts.
const mostSlotsWaiting = 1_001
const mostOthersWaiting = 200
const mostActive = 100

/** Runs that go one after the other, whatever the overlap policy. */
const inOrder = (kind: RunKind): boolean => kind === "misfire" || kind === "backfill"

/** Runs of slots, which `maxRuns` counts and `disable` stops. */
const ofSlot = (kind: RunKind): boolean => kind === "schedule" || kind === "misfire"

/** The result of one attempt, or of a run, without what the state knows. @internal */
export type RunResult = Pick<RecordData, "outcome" | "error" | "reason" | "value" | "failure" | "endedAt">

/** Who changes the state, and when. @internal */
export interface DraftContext {
  readonly now: number
  readonly runner: string
  readonly lease: number | null
  /** Whether this process has a handler; without one nothing is started here. */
  readonly canStart: boolean
  readonly slotsOf: (definition: Definition) => Slots
  /** Whether this process claimed a run without learning of it: the answer to its commit was lost, and nobody runs it. */
  readonly isOrphan: (claim: ClaimRef) => boolean
}

/** @internal */
export class Draft {
  readonly starts: Array<ActiveRun> = []
  readonly events: Array<Event> = []
  readonly records: Array<RecordData> = []
  /** Messages that are committed with the state. */
  readonly steps: Array<Step> = []
  state: JobState
  readonly #opened: JobState
  readonly #context: DraftContext

  constructor(state: JobState, context: DraftContext) {
    this.#opened = state
    this.state = state
    this.#context = context
  }

  /** The state to store; `undefined` when nothing changed. */
  close(): JobState | undefined {
    return this.state === this.#opened ? undefined : { ...this.state, revision: this.#opened.revision + 1 }
  }

  update(change: Partial<JobState>): void {
    this.state = { ...this.state, ...change }
  }

  /** Decides about every slot that is due, takes over what was lost, and starts what can start. */
  advance(): void {
    this.#takeOver()
    // What waits comes before what is due now: a run that ends at the instant of a slot makes room for both.
    this.#startWaiting()
    // Slots are for those who can start them; to others they are not due.
    if (this.#context.canStart) this.#decideSlots()
    this.#startWaiting()
  }

  /** Takes a run on, under the overlap policy; where it could start and nobody here has a handler, it waits for one. */
  accept(run: WaitingRun): void {
    const { active, definition, waiting } = this.state
    const { overlap } = definition
    if (active.length === 0 && waiting.length === 0) return this.#startOrWait(run)
    if (overlap === "allow") return active.length < mostActive ? this.#startOrWait(run) : this.skip(run, "queueFull")
    if (overlap === "skip") return this.skip(run, "overlap")
    if (overlap === "cancelRunning") {
      this.dropWaiting("overlap", (other) => !inOrder(other.kind))
      this.update({
        active: active.map((other): ActiveRun =>
          inOrder(other.kind) ? other : Object.assign({}, other, { cancel: "overlap" })
        )
      })
      return this.#wait(run)
    }
    // Where nobody could start it yet, the first that waits stands for the one that runs.
    const room = (overlap === "queueOne" ? 1 : overlap.queueAll) + (active.length === 0 ? 1 : 0)
    if (waiting.filter((other) => !inOrder(other.kind)).length < room) return this.#wait(run)
    this.skip(run, "queueFull")
  }

  /** How many more runs of slots, or of others, may wait. */
  room(slots: boolean): number {
    const waiting = this.state.waiting.filter((run) => ofSlot(run.kind) === slots).length
    return Math.max(0, (slots ? mostSlotsWaiting : mostOthersWaiting) - waiting)
  }

  /** Takes runs on that go one after the other, before anything else waits for their end. */
  acceptInOrder(runs: ReadonlyArray<WaitingRun>): void {
    for (const run of runs) this.#wait(run)
    this.#startWaiting()
  }

  /** Drops runs that wait. */
  dropWaiting(reason: StopReason, which: (run: WaitingRun) => boolean): void {
    const dropped = this.state.waiting.filter(which)
    if (dropped.length === 0) return
    this.update({
      waiting: this.state.waiting.filter((run) => !which(run)),
      runs: this.state.runs - dropped.filter((run) => ofSlot(run.kind)).length
    })
    for (const run of dropped) this.skip(run, reason)
  }

  enable(): void {
    if (this.state.enabled) return
    // What passed while the job was disabled was not missed.
    this.update({ enabled: true, pauseNote: null, cursor: Math.max(this.state.cursor, this.#context.now) })
  }

  disable(note: string | null): void {
    if (this.state.enabled) this.leaveSlots()
    this.dropWaiting("disabled", (run) => ofSlot(run.kind))
    this.update({ enabled: false, pauseNote: note })
  }

  /** Leaves the slots up to now that nobody has decided, and tells of them. */
  leaveSlots(): void {
    const { now } = this.#context
    const { cursor, enabled } = this.state
    if (now <= cursor) return
    const slots = this.#slots()
    const first = slots.after(cursor)
    const last = slots.before(now + 1)
    if (enabled && !this.#exhausted() && first !== undefined && last !== undefined && first <= last) {
      this.#missed(slots.count(first, last, mostCounted), first, last)
    }
    this.update({ cursor: now })
  }

  /** The claim, if it is still held. */
  held({ incarnation, token }: ClaimRef): ActiveRun | undefined {
    return this.state.incarnation === incarnation ? this.state.active.find((run) => run.token === token) : undefined
  }

  /** Extends a claim, or goes on to its next attempt. */
  extend(claim: ClaimRef, attempt: number): "held" | "lost" {
    const run = this.held(claim)
    if (run === undefined) return "lost"
    // A heartbeat may be written after the next attempt was.
    this.#replace(run.token, { ...run, attempt: Math.max(run.attempt, attempt), until: this.#until() })
    return "held"
  }

  /** Ends a run under its claim, and starts what waited for it. `undefined`: the claim was lost, nothing is recorded. */
  finish(claim: ClaimRef, result: RunResult, steps: ReadonlyArray<Step>): RecordData | undefined {
    const run = this.held(claim)
    if (run === undefined) return undefined
    this.steps.push(...steps)
    const record = this.#end(run, run.attempt, result)
    this.advance()
    return record
  }

  /** Gives up a claim whose handler was never started; the run waits again, before all others. */
  putBack(claim: ClaimRef): void {
    const run = this.held(claim)
    if (run === undefined) return
    const { id, kind, slot } = run
    this.update({
      active: this.state.active.filter((other) => other !== run),
      waiting: [{ id, kind, slot }, ...this.state.waiting]
    })
  }

  skip(run: WaitingRun, reason: StopReason): void {
    const { now, runner } = this.#context
    this.events.push({
      _tag: "Skipped",
      jobId: this.state.definition.id,
      time: DateTime.makeUnsafe(now),
      runId: run.id,
      kind: run.kind,
      scheduledTime: DateTime.makeUnsafe(run.slot),
      reason
    })
    // Somebody waits for the answer of a trigger.
    if (run.kind !== "trigger") return
    const none = { attempt: 0, token: 0, runner, startedAt: now }
    const result = { outcome: "Skipped", reason, error: null, endedAt: now } as const
    this.records.push(makeRecord(this.state.definition.id, run, none, result))
  }

  /** Whether a run that waits first may start now. */
  #isFree(head: WaitingRun): boolean {
    const { active, definition } = this.state
    if (active.length === 0) return true
    if (definition.overlap !== "allow" || active.length >= mostActive) return false
    return !inOrder(head.kind) || !active.some((run) => inOrder(run.kind))
  }

  /** When the job next needs attention by the store's clock. */
  wakeAt(): number | undefined {
    const { canStart, now, runner } = this.#context
    const [head] = this.state.waiting
    // Others may have left something to start, and answers get lost.
    if (canStart && head !== undefined && this.#isFree(head)) return now
    if (
      canStart &&
      this.state.active.some((run) => run.runner === runner && this.#context.isOrphan(this.claimOf(run)))
    ) {
      return now
    }
    let at: number | undefined
    const earlier = (other: number) => {
      at = at === undefined ? other : Math.min(at, other)
    }
    for (const run of this.state.active) if (run.until !== null) earlier(run.until)
    if (this.state.enabled && !this.#exhausted()) {
      const slots = this.#slots()
      const next = slots.after(this.state.cursor)
      if (next !== undefined) earlier(slots.due(next))
    }
    return at
  }

  #slots(): Slots {
    return this.#context.slotsOf(this.state.definition)
  }

  #exhausted(): boolean {
    const { definition, runs } = this.state
    return definition.maxRuns !== null && runs >= definition.maxRuns
  }

  #until(): number | null {
    return this.#context.lease === null ? null : this.#context.now + this.#context.lease
  }

  #decideSlots(): void {
    if (!this.state.enabled || this.#exhausted()) return
    const { now } = this.#context
    const slots = this.#slots()
    const passed = slots.passed(this.state.cursor, now)
    if (passed === undefined) return
    const { definition } = this.state
    const { misfire } = definition
    const { first, last } = passed
    this.update({ cursor: last })
    const onTime = now - slots.due(last) <= misfire.grace
    const lastMissed = !onTime ? last : first === last ? undefined : slots.before(last)
    let caughtUp: ReadonlyArray<number> = []
    if (lastMissed !== undefined) {
      const oldest = Math.max(first, now - misfire.within)
      const left = definition.maxRuns === null ? misfire.limit : definition.maxRuns - this.state.runs - (onTime ? 1 : 0)
      if (misfire.policy === "all") {
        const most = Math.min(misfire.limit, left, this.room(true) - (onTime ? 1 : 0))
        caughtUp = most > 0 ? slots.latest(oldest, lastMissed, most) : []
      } else if (misfire.policy === "once" && !onTime) {
        caughtUp = slots.latest(oldest, lastMissed, 1)
      }
      // What is caught up with is the latest; missed are those before.
      const lastLeft = caughtUp.length === 0 ? lastMissed : slots.before(caughtUp[0]!)
      if (lastLeft !== undefined && lastLeft >= first) {
        this.#missed(slots.count(first, lastLeft, mostCounted), first, lastLeft)
      }
    }
    const one = caughtUp.length === 1 && misfire.policy === "once"
    for (const slot of caughtUp) {
      const run = this.#slotRun(slot, "misfire")
      this.#countSlot()
      if (one) this.#acceptCounted(run)
      else this.#wait(run)
    }
    if (!onTime) return
    const run = this.#slotRun(last, "schedule")
    this.#countSlot()
    // Behind slots that are caught up with, in order.
    if (caughtUp.length > 0) this.#wait(run)
    else this.#acceptCounted(run)
  }

  /** Accepts a slot, and takes its count back if it is skipped. */
  #acceptCounted(run: WaitingRun): void {
    const before = this.events.length
    this.accept(run)
    const skipped = this.events.slice(before).some((event) => event._tag === "Skipped" && event.runId === run.id)
    if (skipped) this.update({ runs: this.state.runs - 1 })
  }

  #countSlot(): void {
    this.update({ runs: this.state.runs + 1 })
  }

  #slotRun(slot: number, kind: RunKind): WaitingRun {
    return { id: slotRunId(this.state.definition.id, slot), kind, slot }
  }

  #missed(count: number, first: number, last: number): void {
    this.events.push({
      _tag: "Missed",
      jobId: this.state.definition.id,
      time: DateTime.makeUnsafe(this.#context.now),
      count,
      first: DateTime.makeUnsafe(first),
      last: DateTime.makeUnsafe(last)
    })
  }

  #wait(run: WaitingRun): void {
    if (this.room(ofSlot(run.kind)) === 0) return this.skip(run, "queueFull")
    this.update({ waiting: [...this.state.waiting, run] })
  }

  #startWaiting(): void {
    if (!this.#context.canStart) return
    while (true) {
      const { waiting } = this.state
      const head = waiting[0]
      if (head === undefined) return
      if (!this.#isFree(head)) return
      this.update({ waiting: waiting.slice(1) })
      this.#start(head)
    }
  }

  #startOrWait(run: WaitingRun): void {
    if (this.#context.canStart) this.#start(run)
    else this.#wait(run)
  }

  #start(run: WaitingRun): void {
    const { now, runner } = this.#context
    const token = this.state.token + 1
    const active: ActiveRun = {
      ...run,
      token,
      attempt: 1,
      lost: 0,
      runner,
      startedAt: now,
      until: this.#until(),
      cancel: null
    }
    this.update({ token, active: [...this.state.active, active] })
    this.starts.push(active)
    this.events.push(this.#started(active))
  }

  #started(run: ActiveRun): Event {
    const time = DateTime.makeUnsafe(this.#context.now)
    return { _tag: "Started", jobId: this.state.definition.id, time, run: makeRun(this.state.definition, run, time) }
  }

  #takeOver(): void {
    const { canStart, now, runner } = this.#context
    const time = DateTime.makeUnsafe(now)
    for (const run of this.state.active) {
      if (canStart && run.runner === runner && this.#context.isOrphan(this.claimOf(run))) {
        // Claimed here and never started: the same attempt, under a token of its own.
        const token = this.state.token + 1
        const next = { ...run, token, until: this.#until() }
        this.update({ token })
        this.#replace(run.token, next)
        this.starts.push(next)
        this.events.push(this.#started(next))
        continue
      }
      if (run.until === null || run.until > now) continue
      const lost = `runner ${run.runner} lost its lease (it died, or could not reach the store)`
      if (run.cancel !== null) {
        this.#end(run, run.attempt, { outcome: "Cancelled", reason: run.cancel, error: null, endedAt: now })
      } else if (this.state.definition.onCrash === "abandon" || run.lost >= maxLost) {
        const why = run.lost >= maxLost ? `${run.lost + 1} runners lost it` : "onCrash is abandon"
        const error = `${lost}, and the run is given up: ${why}`
        this.#end(run, run.attempt, { outcome: "Failed", reason: null, error, endedAt: now })
      } else if (canStart) {
        const token = this.state.token + 1
        const next = { ...run, token, attempt: run.attempt + 1, lost: run.lost + 1, runner, until: this.#until() }
        this.update({ token })
        this.#replace(run.token, next)
        this.starts.push(next)
        const { id: runId, attempt } = next
        this.events.push(
          { _tag: "TakenOver", jobId: this.state.definition.id, time, runId, from: run.runner, attempt, token },
          this.#started(next)
        )
      }
    }
  }

  claimOf(run: ActiveRun): ClaimRef {
    return { incarnation: this.state.incarnation, token: run.token }
  }

  #replace(token: number, run: ActiveRun): void {
    this.update({ active: this.state.active.map((other) => (other.token === token ? run : other)) })
  }

  #end(run: ActiveRun, attempt: number, result: RunResult): RecordData {
    this.update({ active: this.state.active.filter((other) => other.token !== run.token) })
    const record = makeRecord(this.state.definition.id, run, { ...run, attempt }, result)
    this.records.push(record)
    const event = endedEvent(record)
    if (event !== undefined) this.events.push(event)
    return record
  }
}
