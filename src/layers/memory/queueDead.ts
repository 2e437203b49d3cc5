/** The dead letters of one queue, in the order in which they died. */
import { compareNumbers, SortedMap } from "../../internal/sortedMap.ts"
import type { DeadMessage } from "../../queue/driver.ts"

export class DeadShelf {
  readonly #letters = new SortedMap<number, DeadMessage>(compareNumbers)
  // An id can die twice (requeued from two places, or enqueued again after its window): no letter replaces another.
  readonly #places = new Map<string, Array<number>>()
  #next = 0

  get size(): number {
    return this.#letters.size
  }

  add(letter: DeadMessage): void {
    const place = this.#next++
    this.#letters.set(place, letter)
    const places = this.#places.get(letter.message.id)
    if (places === undefined) this.#places.set(letter.message.id, [place])
    else places.push(place)
  }

  /** The latest letter of an id. */
  get(id: string): DeadMessage | undefined {
    const place = this.#places.get(id)?.at(-1)
    return place === undefined ? undefined : this.#letters.get(place)
  }

  /** Takes letters away and gives them, oldest first. */
  take(ids: ReadonlyArray<string> | "all"): Array<DeadMessage> {
    if (ids === "all") {
      const letters = this.#letters.range(undefined, undefined).map(([, letter]) => letter)
      this.#letters.clear()
      this.#places.clear()
      return letters
    }
    const places = new Set(ids.flatMap((id) => this.#places.get(id) ?? []))
    const taken: Array<DeadMessage> = []
    for (const place of Array.from(places).toSorted(compareNumbers)) {
      const letter = this.#letters.get(place)!
      this.#letters.delete(place)
      this.#places.delete(letter.message.id)
      taken.push(letter)
    }
    return taken
  }

  page(after: number | undefined, limit: number) {
    const from = after === undefined ? undefined : after + 1
    const found = this.#letters.range(from, undefined, { limit: limit + 1 })
    const page = found.slice(0, limit)
    const last = page.at(-1)
    return {
      letters: page.map(([, letter]) => letter),
      cursor: found.length > limit && last !== undefined ? String(last[0]) : undefined
    }
  }
}
