/**
 * The low-water mark of each queue: fresh messages below it are taken by somebody already, and their dead rows would have to be walked
 * over by every claim for as long as any transaction of the server can still see them.
 *
 * Nothing is hidden for long: who publishes says the lowest number he was given (`NOTIFY` carries it), which lowers the mark, and once a
 * second a claim looks at everything. Where that takes long, since the snapshot is old, it is done as seldom as keeps it a twentieth of the
 * time: a queue gets slower by that much, and does not stop.
 */
import { numbersInDraw } from "../schema/queueTables.ts"

/**
 * Numbers given out and not committed yet lie behind the lowest that was claimed, by as many as are published in the meantime: those of 500
 * calls, or of 8,000 messages in large ones.
 */
const slack = 500 * numbersInDraw
const lookAtAllEvery = 1_000
const shareOfLooks = 20

interface Mark {
  value: number
  /** Grows when the mark is lowered: a claim that began before knows less than the mark. */
  lowered: number
  /** When everything is looked at again. */
  nextLookAtAll: number
}

export interface Look {
  /** Claim above this number. */
  readonly above: number
  /** At everything, also at what else old snapshots keep dead rows of. */
  readonly all: boolean
  /** When it began. */
  readonly at: number
  readonly lowered: number
}

export class Marks {
  readonly #marks = new Map<number, Mark>()
  readonly #now: () => number
  constructor(now: () => number) {
    this.#now = now
  }

  look(q: number): Look {
    const mark = this.#of(q)
    const now = this.#now()
    const all = now >= mark.nextLookAtAll
    if (all) mark.nextLookAtAll = now + lookAtAllEvery
    return { above: all ? -1 : mark.value, all, at: now, lowered: mark.lowered }
  }

  /** A look has ended, well or not. */
  looked(q: number, { all, at }: Look): void {
    if (!all) return
    const now = this.#now()
    this.#of(q).nextLookAtAll = now + Math.max(lookAtAllEvery, (now - at) * shareOfLooks)
  }

  /** What a claim found: the lowest number of a fresh message. */
  found(q: number, { lowered }: Look, lowest: number): void {
    const mark = this.#of(q)
    if (mark.lowered === lowered) mark.value = Math.max(-1, lowest - slack)
  }

  lower(q: number, lowest: number): void {
    const mark = this.#of(q)
    if (lowest > mark.value) return
    mark.value = lowest - 1
    mark.lowered++
  }

  /** Some notifications may have been missed. */
  forget(q: number): void {
    this.lower(q, -1)
  }

  #of(q: number): Mark {
    const known = this.#marks.get(q)
    if (known !== undefined) return known
    const made: Mark = { value: -1, lowered: 0, nextLookAtAll: Number.NEGATIVE_INFINITY }
    this.#marks.set(q, made)
    return made
  }
}
