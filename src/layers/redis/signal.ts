import * as Effect from "effect/Effect"

/** A number that grows, and those who wait for it. Read it before you look; then a wait misses nothing that came since. */
export class Signal {
  #version = 0
  readonly #waiters = new Set<() => void>()

  get version(): number {
    return this.#version
  }

  raise(): void {
    this.#version++
    const those = Array.from(this.#waiters)
    this.#waiters.clear()
    for (const wake of those) wake()
  }

  /** Completes when the number is no longer the given one. */
  after(version: number): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.#version !== version) {
        resume(Effect.void)
        return
      }
      const wake = () => resume(Effect.void)
      this.#waiters.add(wake)
      return Effect.sync(() => this.#waiters.delete(wake))
    })
  }
}
