/**
 * The low-water mark of each queue: fresh messages below it are taken by somebody already, and their dead rows would have to be walked
 * over by every claim for as long as any transaction of the server can still see them.
 *
 * Nothing is hidden for long: who publishes says the lowest number he was given (`NOTIFY` carries it), which lowers the mark, and once a
 * second a claim looks at everything.
 */

/** Numbers given out and not committed yet lie behind the lowest that was claimed, by as many as are published in the meantime. */
const slack = 5_000
const lookAtAllEvery = 1_000

interface Mark {
  value: number
  /** Grows when the mark is lowered: a claim that began before knows less than the mark. */
  lowered: number
  lookedAtAll: number
}

export interface Look {
  /** Claim above this number. */
  readonly above: number
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
    if (now - mark.lookedAtAll < lookAtAllEvery) return { above: mark.value, lowered: mark.lowered }
    mark.lookedAtAll = now
    return { above: -1, lowered: mark.lowered }
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
    const made: Mark = { value: -1, lowered: 0, lookedAtAll: Number.NEGATIVE_INFINITY }
    this.#marks.set(q, made)
    return made
  }
}
