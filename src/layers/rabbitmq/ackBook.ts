/**
 * The deliveries of one channel that are not acked, in the order of their tags. An ack that has no unacked one before it covers all up to
 * itself, so acks that come in order are one frame; others are sent one by one, since a slow neighbour must not hold them back.
 */
export class AckBook {
  readonly #open = new Set<number>()
  readonly #send: (tag: number, multiple: boolean) => void
  constructor(send: (tag: number, multiple: boolean) => void) {
    this.#send = send
  }

  delivered(tag: number): void {
    this.#open.add(tag)
  }

  /** Tags of this book, each once, in any order. */
  ack(tags: ReadonlyArray<number>): void {
    const wanted = new Set(tags)
    let last: number | undefined
    // Tags are delivered in order, and a set keeps the order in which it was filled.
    for (const tag of this.#open) {
      if (!wanted.delete(tag)) break
      this.#open.delete(tag)
      last = tag
    }
    if (last !== undefined) this.#send(last, true)
    for (const tag of wanted) if (this.#open.delete(tag)) this.#send(tag, false)
  }

  get size(): number {
    return this.#open.size
  }
}
