/**
 * What a queue remembers of accepted messages: their ids for five minutes, their dedupe keys for their windows. Both are
 * forgotten on access, oldest first, at a constant cost per message; no timer is spent on them.
 */
import { SortedMap } from "../../internal/sortedMap.ts"

/** Milliseconds in which an accepted id adds nothing when it is enqueued again. */
export const idWindow = 300_000

/** A remembered dedupe key. `item` is the message as long as the queue still has it. */
export interface KeyMark<Item> {
  readonly key: string
  readonly id: string
  readonly until: number
  readonly seq: number
  item: Item | undefined
}

export class Marks<Item> {
  readonly #ids = new Set<string>()
  // A line of (id, until) in the order of acceptance: the window is the same for all, so the oldest goes first. Parallel
  // arrays with a moving head, since a set that loses its first members one by one is slow to iterate.
  #lineIds: Array<string> = []
  #lineUntil: Array<number> = []
  #head = 0
  readonly #keys = new Map<string, KeyMark<Item>>()
  readonly #keysByTime = new SortedMap<KeyMark<Item>, undefined>((a, b) => a.until - b.until || a.seq - b.seq)

  /** Forgets what is over by now. Called before every look-up, so that presence means: within the window. */
  forget(now: number): void {
    while (this.#head < this.#lineUntil.length && this.#lineUntil[this.#head]! <= now) {
      this.#ids.delete(this.#lineIds[this.#head]!)
      this.#head++
    }
    if (this.#head > 1024 && this.#head * 2 > this.#lineIds.length) {
      this.#lineIds = this.#lineIds.slice(this.#head)
      this.#lineUntil = this.#lineUntil.slice(this.#head)
      this.#head = 0
    }
    for (let first = this.#keysByTime.firstKey(); first !== undefined && first.until <= now;) {
      this.#keysByTime.popFirst()
      this.#keys.delete(first.key)
      first = this.#keysByTime.firstKey()
    }
  }

  hasId(id: string): boolean {
    return this.#ids.has(id)
  }

  addId(id: string, now: number): void {
    this.#ids.add(id)
    this.#lineIds.push(id)
    this.#lineUntil.push(now + idWindow)
  }

  key(key: string): KeyMark<Item> | undefined {
    return this.#keys.get(key)
  }

  /** Only for a key that is not remembered. */
  addKey(mark: KeyMark<Item>): void {
    this.#keys.set(mark.key, mark)
    this.#keysByTime.set(mark, undefined)
  }

  /** How many ids and keys are remembered. */
  get size(): number {
    return this.#ids.size + this.#keys.size
  }
}
