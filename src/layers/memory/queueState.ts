/**
 * One queue of the memory driver: a state machine without effects. Every method does its work in one JavaScript turn and
 * takes the time as an argument, so nothing can come between a check and the change that relies on it.
 *
 * A waiting message stands in `delayed` (not yet due) or in `due`. Of the due ones `ready` has those that may be claimed: all
 * messages without a group, and the head of each group's line. A claim therefore never passes over a blocked message.
 */
import type { Envelope, Publication } from "../../internal/envelope.ts"
import { SortedMap } from "../../internal/sortedMap.ts"
import type { Claimed, ClaimRequest, Outcome, Published, Stats } from "../../queue/driver.ts"
import { soloAfter } from "../../queue/driver.ts"
import { DeadShelf } from "./queueDead.ts"
import { type KeyMark, Marks } from "./queueMarks.ts"
import { Waiters } from "./queueWaiters.ts"

type Place = "delayed" | "blocked" | "ready" | "claimed"

class Item {
  message: Envelope
  /** Order of acceptance. */
  readonly seq: number
  due: number
  place: Place = "delayed"
  deliveries = 0
  retries = 0
  lostStarted = 0
  lostUnstarted = 0
  error: string | undefined = undefined
  /** The line it stands in or holds. */
  line: Line | undefined = undefined
  mark: KeyMark<Item> | undefined = undefined
  constructor(message: Envelope, seq: number, due: number) {
    this.message = message
    this.seq = seq
    this.due = due
  }
}

const byPlace = (a: Item, b: Item): number => b.message.priority - a.message.priority || byDue(a, b)
const byDue = (a: Item, b: Item): number => a.due - b.due || a.seq - b.seq
const byExpiry = (a: Item, b: Item): number => a.message.expiresAt! - b.message.expiresAt! || a.seq - b.seq

/** A group's line. `holder` was claimed before and holds the line until it ends; `standing` is the one in `ready`. */
interface Line {
  readonly group: string
  readonly members: SortedMap<Item, undefined>
  holder: Item | undefined
  standing: Item | undefined
}

export interface Claim {
  readonly token: string
  readonly seq: number
  readonly item: Item
  /** Milliseconds that an extension gives. */
  readonly lease: number
  deadline: number
  started: boolean
}

export class QueueState {
  readonly name: string
  readonly #delayed = new SortedMap<Item, undefined>(byDue)
  readonly #due = new SortedMap<Item, undefined>(byDue)
  readonly #ready = new SortedMap<Item, undefined>(byPlace)
  readonly #expiring = new SortedMap<Item, undefined>(byExpiry)
  readonly #lines = new Map<string, Line>()
  readonly #claims = new Map<string, Claim>()
  readonly #leases = new SortedMap<Claim, undefined>((a, b) => a.deadline - b.deadline || a.seq - b.seq)
  readonly #marks = new Marks<Item>()
  readonly #shelf = new DeadShelf()
  #seq = 0
  #paused = false
  #version = 0
  /** Messages dropped at their time to live since somebody last asked; for the metric. */
  #expired = 0
  readonly waiters = new Waiters()

  constructor(name: string) {
    this.name = name
  }

  /** Lets everything happen that is due by now. Every other method relies on it having been called in the same turn. */
  advance(now: number): void {
    for (let item = this.#delayed.firstKey(); item !== undefined && item.due <= now; item = this.#delayed.firstKey()) {
      this.#delayed.popFirst()
      this.#stand(item)
      this.#version++
    }
    for (let claim = this.#leases.firstKey(); claim !== undefined && claim.deadline <= now;) {
      this.#lose(claim, now)
      claim = this.#leases.firstKey()
    }
    for (let item = this.#expiring.firstKey(); item !== undefined && item.message.expiresAt! <= now;) {
      this.#leave(item)
      this.#expire(item)
      item = this.#expiring.firstKey()
    }
    this.#marks.forget(now)
  }

  /** When `claim` may find more without anybody doing anything; `Infinity`: never. */
  get nextClaimable(): number {
    if (this.#paused) return Number.POSITIVE_INFINITY
    const due = this.#delayed.firstKey()?.due ?? Number.POSITIVE_INFINITY
    const lost = this.#leases.firstKey()?.deadline ?? Number.POSITIVE_INFINITY
    // The end of a head frees its line.
    const freed = this.#lines.size === 0 ? undefined : this.#expiring.firstKey()?.message.expiresAt
    return Math.min(due, lost, freed ?? Number.POSITIVE_INFINITY)
  }

  /** When the counts change without anybody doing anything. */
  get nextChange(): number {
    const due = this.#delayed.firstKey()?.due ?? Number.POSITIVE_INFINITY
    const lost = this.#leases.firstKey()?.deadline ?? Number.POSITIVE_INFINITY
    const expiry = this.#expiring.firstKey()?.message.expiresAt ?? Number.POSITIVE_INFINITY
    return Math.min(due, lost, expiry)
  }

  get claimable(): boolean {
    return !this.#paused && this.#ready.size > 0
  }

  /** Grows with every change of the counts. */
  get version(): number {
    return this.#version
  }

  get expired(): number {
    return this.#expired
  }

  takeExpired(): number {
    const expired = this.#expired
    this.#expired = 0
    return expired
  }

  /** Puts a message that nobody holds where it waits. */
  #enter(item: Item, now: number): void {
    this.#version++
    const expiresAt = item.message.expiresAt
    if (expiresAt !== undefined) {
      if (expiresAt <= now) return this.#expire(item)
      this.#expiring.set(item, undefined)
    }
    if (item.due > now) {
      item.place = "delayed"
      this.#delayed.set(item, undefined)
    } else {
      this.#stand(item)
    }
  }

  #stand(item: Item): void {
    this.#due.set(item, undefined)
    const group = item.message.group
    if (group === undefined) {
      item.place = "ready"
      this.#ready.set(item, undefined)
      return
    }
    item.place = "blocked"
    const line = (item.line ??= this.#lineOf(group))
    if (line.holder !== item) line.members.set(item, undefined)
    this.#rank(line)
  }

  #lineOf(group: string): Line {
    let line = this.#lines.get(group)
    if (line === undefined) {
      line = { group, members: new SortedMap<Item, undefined>(byDue), holder: undefined, standing: undefined }
      this.#lines.set(group, line)
    }
    return line
  }

  /** Lets the head of a line, and only it, stand in `ready`. */
  #rank(line: Line): void {
    const head = line.holder ?? line.members.firstKey()
    if (line.standing !== undefined && line.standing !== head) {
      this.#ready.delete(line.standing)
      line.standing.place = "blocked"
      line.standing = undefined
    }
    if (head === undefined) {
      this.#lines.delete(line.group)
    } else if (head.place === "blocked") {
      head.place = "ready"
      line.standing = head
      this.#ready.set(head, undefined)
    }
  }

  /** Takes a waiting message out of every order it stands in. A holder goes on holding its line. */
  #leave(item: Item): void {
    this.#version++
    if (item.place === "delayed") {
      this.#delayed.delete(item)
    } else {
      this.#due.delete(item)
      if (item.place === "ready") this.#ready.delete(item)
      const line = item.line
      if (line !== undefined) {
        if (line.standing === item) line.standing = undefined
        line.members.delete(item)
        if (line.holder !== item) {
          item.line = undefined
          this.#rank(line)
        }
      }
    }
    if (item.message.expiresAt !== undefined) this.#expiring.delete(item)
  }

  /** The end of a message that stands nowhere any more. */
  #end(item: Item): void {
    this.#version++
    if (item.mark !== undefined) item.mark.item = undefined
    const line = item.line
    if (line !== undefined) {
      line.holder = undefined
      this.#rank(line)
    }
  }

  #expire(item: Item): void {
    this.#expired++
    this.#end(item)
  }

  publish(publication: Publication, now: number): Published {
    const { message } = publication
    if (publication.requeued !== true) {
      if (this.#marks.hasId(message.id)) return { id: message.id, duplicate: true }
      const mark = message.dedupe === undefined ? undefined : this.#marks.key(message.dedupe.key)
      if (mark !== undefined) {
        if (message.dedupe?.onDuplicate === "replace" && mark.item !== undefined) {
          this.#replace(mark.item, publication, now)
        }
        return { id: mark.id, duplicate: true }
      }
      this.#marks.addId(message.id, now)
    }
    const stored = accepted(publication, now)
    // A time in the past counts as now: nobody gets in front of those who wait already.
    const item = new Item(stored, this.#seq++, Math.max(now, stored.notBefore ?? now))
    if (publication.requeued !== true && message.dedupe !== undefined) {
      const { key, window } = message.dedupe
      item.mark = { key, id: message.id, until: now + window, seq: item.seq, item }
      this.#marks.addKey(item.mark)
    }
    this.#enter(item, now)
    return { id: message.id, duplicate: false }
  }

  #replace(item: Item, publication: Publication, now: number): void {
    if (item.place === "claimed") return
    this.#leave(item)
    const { id, group, dedupe, enqueuedAt } = item.message
    item.message = { ...accepted(publication, now), id, group, dedupe, enqueuedAt }
    item.due = Math.max(now, item.message.notBefore ?? now)
    this.#enter(item, now)
  }

  claim(lease: number, request: ClaimRequest, now: number): Array<Claimed> {
    const claimed: Array<Claimed> = []
    if (this.#paused) return claimed
    let started = 0
    while (claimed.length < request.max) {
      const item = this.#ready.firstKey()
      if (item === undefined) break
      if (item.line !== undefined) item.line.holder = item
      this.#leave(item)
      item.place = "claimed"
      item.deliveries++
      const seq = this.#seq++
      const claim: Claim = {
        token: `${item.seq}-${seq}`,
        seq,
        item,
        lease,
        deadline: now + lease,
        started: item.lostStarted < soloAfter && started < request.start
      }
      if (claim.started) started++
      this.#claims.set(claim.token, claim)
      this.#leases.set(claim, undefined)
      claimed.push({
        message: item.message,
        token: claim.token,
        deliveryCount: item.deliveries,
        attempt: attemptOf(item),
        lostStarted: item.lostStarted,
        lostUnstarted: item.lostUnstarted
      })
    }
    return claimed
  }

  holds(token: string, id: string): boolean {
    return this.#claims.get(token)?.item.message.id === id
  }

  settle(token: string, id: string, outcome: Outcome, now: number): "settled" | "lost" {
    const claim = this.#claims.get(token)
    if (claim === undefined || claim.item.message.id !== id) return "lost"
    this.#drop(claim)
    const { item } = claim
    switch (outcome._tag) {
      case "ack":
      case "discard":
        this.#end(item)
        break
      case "retry":
        item.retries++
        item.error = outcome.error ?? item.error
        item.due = now + outcome.delay
        this.#enter(item, now)
        break
      case "release":
        if (outcome.delay > 0) item.due = now + outcome.delay
        this.#enter(item, now)
        break
      case "deadLetter":
        this.#shelf.add({
          message: item.message,
          attempt: attemptOf(item),
          deliveryCount: item.deliveries,
          reason: outcome.reason,
          error: outcome.error ?? item.error,
          diedAt: now
        })
        this.#end(item)
        break
    }
    return "settled"
  }

  start(token: string): "held" | "lost" {
    const claim = this.#claims.get(token)
    if (claim === undefined) return "lost"
    claim.started = true
    return "held"
  }

  extend(token: string, now: number): "held" | "lost" {
    const claim = this.#claims.get(token)
    if (claim === undefined) return "lost"
    this.#leases.delete(claim)
    claim.deadline = now + claim.lease
    this.#leases.set(claim, undefined)
    return "held"
  }

  #drop(claim: Claim): void {
    this.#claims.delete(claim.token)
    this.#leases.delete(claim)
  }

  #lose(claim: Claim, now: number): void {
    this.#drop(claim)
    if (claim.started) claim.item.lostStarted++
    else claim.item.lostUnstarted++
    this.#enter(claim.item, now)
  }

  setPaused(paused: boolean): void {
    if (this.#paused === paused) return
    this.#paused = paused
    this.#version++
  }

  purge(): number {
    const waiting = [...this.#due, ...this.#delayed]
    for (const [item] of waiting) {
      this.#leave(item)
      this.#end(item)
    }
    return waiting.length
  }

  stats(now: number): Stats {
    const oldest = this.#due.firstKey()
    return {
      ready: this.#due.size,
      delayed: this.#delayed.size,
      claimed: this.#claims.size,
      dead: this.#shelf.size,
      oldestAge: oldest === undefined ? 0 : Math.max(0, now - oldest.due),
      paused: this.#paused
    }
  }

  get dead(): Pick<DeadShelf, "get" | "page" | "size"> {
    return this.#shelf
  }

  requeueDead(ids: ReadonlyArray<string> | "all", now: number): number {
    const letters = this.#shelf.take(ids)
    for (const { message, deliveryCount } of letters) {
      // Its time to live belonged to its first life: a requeue that drops what it brings back would be no requeue.
      const back = { ...message, notBefore: undefined, expiresAt: undefined }
      const item = new Item(back, this.#seq++, now)
      item.deliveries = deliveryCount
      this.#enter(item, now)
    }
    return letters.length
  }

  purgeDead(ids: ReadonlyArray<string> | "all"): number {
    const letters = this.#shelf.take(ids)
    if (letters.length > 0) this.#version++
    return letters.length
  }
}

const attemptOf = (item: Item): number => 1 + item.retries + item.lostStarted

/** The record as the queue keeps it: with absolute times, and out of the caller's reach. */
const accepted = ({ message, delay, ttl }: Publication, now: number): Envelope => ({
  ...message,
  headers: { ...message.headers },
  meta: { ...message.meta },
  enqueuedAt: now,
  notBefore: delay === undefined ? message.notBefore : now + delay,
  expiresAt: ttl === undefined ? message.expiresAt : now + ttl
})
