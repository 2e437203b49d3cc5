/** Tells those who wait in this process that a claim may find more. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

export class Signal {
  #latch = Latch.makeUnsafe(false)
  #version = 0

  /** Grows with every notification: take it before looking. */
  get version(): number {
    return this.#version
  }

  notify(): void {
    this.#version++
    const before = this.#latch
    this.#latch = Latch.makeUnsafe(false)
    before.openUnsafe()
  }

  /** Completes when there was a notification since a version. */
  after(version: number): Effect.Effect<void> {
    return Effect.suspend(() => (this.#version === version ? this.#latch.await : Effect.void))
  }
}
