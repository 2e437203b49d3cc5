/**
 * Which messages of each claim this worker still holds. The messages of one claim have one lease, so that a heartbeat is one row: the lease
 * is removed with the last of them, and one that is no longer extended gets a lease of its own.
 */
interface Token {
  readonly seq: number
  readonly claim: number
}

export class Held {
  readonly #claims = new Map<number, Set<number>>()
  readonly #apart = new Set<number>()
  /** Claims of which all has ended, the last of it by a commit of the program: their leases go with the next call. */
  #left: Array<bigint> = []

  add(claim: number, seq: number): void {
    const those = this.#claims.get(claim)
    if (those === undefined) this.#claims.set(claim, new Set([seq]))
    else those.add(seq)
  }

  /** The claims of which nothing is left once these are settled, or already. */
  over(tokens: ReadonlyArray<Token | undefined>): ReadonlyArray<bigint> {
    const counts = new Map<number, number>()
    for (const token of tokens) {
      if (token === undefined || this.#claims.get(token.claim)?.has(token.seq) !== true) continue
      counts.set(token.claim, (counts.get(token.claim) ?? 0) + 1)
    }
    const over = this.#left
    this.#left = []
    for (const [claim, count] of counts) if (count >= this.#claims.get(claim)!.size) over.push(BigInt(claim))
    return over
  }

  /** It has ended otherwise. Of one that was acked in a commit the lease may go; one that was lost may still be there. */
  forget(token: Token, how: "acked" | "lost"): void {
    if (this.#claims.get(token.claim)?.has(token.seq) !== true) return
    this.settled([token])
    if (how === "acked" && !this.#claims.has(token.claim)) this.#left.push(BigInt(token.claim))
  }

  settled(tokens: ReadonlyArray<Token | undefined>): void {
    for (const token of tokens) {
      if (token === undefined) continue
      const those = this.#claims.get(token.claim)
      if (those === undefined || !those.delete(token.seq)) continue
      this.#apart.delete(token.seq)
      if (those.size === 0) this.#claims.delete(token.claim)
    }
  }

  /** Messages under the leases of these, and not among them, that share their lease until now. */
  apart(tokens: ReadonlyArray<Token | undefined>): ReadonlyArray<bigint> {
    const named = new Set(tokens.map((token) => token?.seq))
    const found: Array<bigint> = []
    for (const claim of new Set(tokens.map((token) => token?.claim))) {
      if (claim === undefined) continue
      for (const seq of this.#claims.get(claim) ?? []) {
        if (named.has(seq) || this.#apart.has(seq)) continue
        this.#apart.add(seq)
        found.push(BigInt(seq))
      }
    }
    return found
  }
}
