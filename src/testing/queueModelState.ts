/** The model of {@link queueModelSuite}: a queue as an array that is searched from the beginning each time. */
import type { Outcome, Stats } from "../queue/driver.ts"
import { soloAfter } from "../queue/driver.ts"

export interface ModelDraft {
  readonly id: string
  readonly payload: string
  readonly priority: number
  readonly delay: number | undefined
  readonly ttl: number | undefined
  readonly group: string | undefined
  readonly dedupe:
    | { readonly key: string; readonly window: number; readonly onDuplicate: "keep" | "replace" }
    | undefined
}

interface ModelMessage {
  readonly id: string
  readonly seq: number
  readonly group: string | undefined
  payload: string
  priority: number
  due: number
  expiresAt: number
  attempt: number
  deliveryCount: number
  lostStarted: number
  lostUnstarted: number
  /** It was claimed in this life and has not ended: the head of its group. */
  holds: boolean
  claim: { readonly consumer: number; deadline: number; started: boolean } | undefined
}

export class QueueModel {
  paused = false
  #now = 0
  #seq = 0
  readonly #lease: number
  #messages: Array<ModelMessage> = []
  #dead: Array<ModelMessage> = []
  readonly #claims: Array<ModelMessage | undefined> = []
  readonly #ids = new Map<string, number>()
  readonly #keys = new Map<string, { readonly message: ModelMessage; readonly until: number }>()

  constructor(lease: number) {
    this.#lease = lease
  }

  get alive(): number {
    return this.#messages.length
  }

  advance(millis: number): void {
    // Step by step, so that what happens first has its effect first.
    for (let i = 0; i < millis; i++) {
      this.#now++
      for (const message of Array.from(this.#messages)) {
        if (message.claim !== undefined && message.claim.deadline <= this.#now) {
          if (message.claim.started) {
            message.lostStarted++
            message.attempt++
          } else {
            message.lostUnstarted++
          }
          this.#back(message)
        }
        if (message.claim === undefined && message.expiresAt <= this.#now) this.#end(message)
      }
    }
  }

  publish(draft: ModelDraft): { readonly id: string; readonly duplicate: boolean } {
    if ((this.#ids.get(draft.id) ?? 0) > this.#now) return { id: draft.id, duplicate: true }
    const known = draft.dedupe === undefined ? undefined : this.#keys.get(draft.dedupe.key)
    const due = this.#now + (draft.delay ?? 0)
    const expiresAt = draft.ttl === undefined ? Number.POSITIVE_INFINITY : this.#now + draft.ttl
    if (known !== undefined && known.until > this.#now) {
      const { message } = known
      if (draft.dedupe?.onDuplicate === "replace" && this.#messages.includes(message) && message.claim === undefined) {
        Object.assign(message, { payload: draft.payload, priority: draft.priority, due, expiresAt })
      }
      return { id: message.id, duplicate: true }
    }
    const message: ModelMessage = {
      id: draft.id,
      seq: this.#seq++,
      group: draft.group,
      payload: draft.payload,
      priority: draft.priority,
      due,
      expiresAt,
      attempt: 1,
      deliveryCount: 0,
      lostStarted: 0,
      lostUnstarted: 0,
      holds: false,
      claim: undefined
    }
    this.#messages.push(message)
    this.#ids.set(draft.id, this.#now + 300_000)
    if (draft.dedupe !== undefined)
      this.#keys.set(draft.dedupe.key, { message, until: this.#now + draft.dedupe.window })
    return { id: draft.id, duplicate: false }
  }

  claim(consumer: number, max: number, start: number) {
    const taken = []
    let started = 0
    while (!this.paused && taken.length < max) {
      const next = this.#messages.filter((message) => this.#claimable(message)).toSorted(byPlace)[0]
      if (next === undefined) break
      next.holds = true
      next.deliveryCount++
      const starts = next.lostStarted < soloAfter && started < start
      if (starts) started++
      next.claim = { consumer, deadline: this.#now + this.#lease, started: starts }
      const { attempt, deliveryCount, id, lostStarted, lostUnstarted, payload, priority } = next
      const claim = this.#claims.push(next) - 1
      taken.push({ claim, id, payload, priority, attempt, deliveryCount, lostStarted, lostUnstarted })
    }
    return taken
  }

  settle(claim: number, outcome: Outcome): "settled" | "lost" {
    const message = this.#claims[claim]
    if (message === undefined) return "lost"
    switch (outcome._tag) {
      case "retry":
        message.attempt++
        message.due = this.#now + outcome.delay
        break
      case "release":
        if (outcome.delay > 0) message.due = this.#now + outcome.delay
        break
      case "deadLetter":
        this.#dead.push(message)
        this.#end(message)
        break
      default:
        this.#end(message)
    }
    this.#back(message)
    return "settled"
  }

  start(claim: number): "held" | "lost" {
    const held = this.#claims[claim]?.claim
    if (held === undefined) return "lost"
    held.started = true
    return "held"
  }

  extend(claim: number): "held" | "lost" {
    const held = this.#claims[claim]?.claim
    if (held === undefined) return "lost"
    held.deadline = this.#now + this.#lease
    return "held"
  }

  purge(): number {
    const waiting = this.#messages.filter(({ claim }) => claim === undefined)
    for (const message of waiting) this.#end(message)
    return waiting.length
  }

  requeue(which: (id: string) => boolean): number {
    const moved = this.#dead.filter(({ id }) => which(id))
    this.#dead = this.#dead.filter(({ id }) => !which(id))
    for (const { deliveryCount, group, id, payload, priority } of moved) {
      this.#messages.push({
        id,
        seq: this.#seq++,
        group,
        payload,
        priority,
        due: this.#now,
        expiresAt: Number.POSITIVE_INFINITY,
        attempt: 1,
        deliveryCount,
        lostStarted: 0,
        lostUnstarted: 0,
        holds: false,
        claim: undefined
      })
    }
    return moved.length
  }

  purgeDead(): number {
    return this.#dead.splice(0).length
  }

  stats(): Stats {
    const waiting = this.#messages.filter(({ claim }) => claim === undefined)
    const ready = waiting.filter(({ due }) => due <= this.#now)
    return {
      ready: ready.length,
      delayed: waiting.length - ready.length,
      claimed: this.#messages.length - waiting.length,
      dead: this.#dead.length,
      oldestAge: Math.max(0, ...ready.map(({ due }) => this.#now - due)),
      paused: this.paused
    }
  }

  #claimable(message: ModelMessage): boolean {
    if (message.claim !== undefined || message.due > this.#now) return false
    if (message.group === undefined) return true
    const line = this.#messages.filter(({ group }) => group === message.group)
    const head = line.find(({ holds }) => holds) ?? line.filter(({ due }) => due <= this.#now).toSorted(byDue)[0]
    return head === message
  }

  #back(message: ModelMessage): void {
    const index = this.#claims.lastIndexOf(message)
    if (index >= 0) this.#claims[index] = undefined
    message.claim = undefined
    if (message.expiresAt <= this.#now) this.#end(message)
  }

  #end(message: ModelMessage): void {
    this.#messages = this.#messages.filter((other) => other !== message)
  }
}

const byDue = (a: ModelMessage, b: ModelMessage) => a.due - b.due || a.seq - b.seq
const byPlace = (a: ModelMessage, b: ModelMessage) => b.priority - a.priority || byDue(a, b)
