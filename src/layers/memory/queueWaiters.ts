/** Those who wait for a change of one queue: workers for something to claim, observers for a change of the counts. */

export interface Waiter {
  /** When it looks again by itself; `Infinity`: it holds no timer. */
  readonly until: number
  readonly wake: () => void
}

export interface Watched {
  readonly version: number
  readonly claimable: boolean
  readonly nextClaimable: number
}

export class Waiters {
  readonly #claimers = new Set<Waiter>()
  readonly #observers = new Set<Waiter>()
  #announced = 0

  addClaimer(waiter: Waiter): void {
    this.#claimers.add(waiter)
  }

  addObserver(waiter: Waiter): void {
    this.#observers.add(waiter)
  }

  remove(waiter: Waiter): void {
    this.#claimers.delete(waiter)
    this.#observers.delete(waiter)
  }

  /** The queue is closed. */
  wakeAll(): void {
    for (const waiter of [...this.#claimers, ...this.#observers]) waiter.wake()
    this.#claimers.clear()
    this.#observers.clear()
  }

  /** Wakes those for whom the changes since the last call matter. */
  announce(queue: Watched): void {
    if (this.#announced === queue.version) return
    this.#announced = queue.version
    if (this.#observers.size > 0) {
      const observers = [...this.#observers]
      this.#observers.clear()
      for (const waiter of observers) waiter.wake()
    }
    if (this.#claimers.size === 0) return
    // A worker whose timer would ring too late is woken to set it anew.
    const { claimable, nextClaimable } = queue
    for (const waiter of this.#claimers) {
      if (claimable || nextClaimable < waiter.until) {
        this.#claimers.delete(waiter)
        waiter.wake()
      }
    }
  }
}
