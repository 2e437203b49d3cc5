/** A number that grows, and those in this process who wait for it. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

export class Signal {
  /** Made when somebody waits: most raises find nobody. */
  #latch: Latch.Latch | undefined
  #version = 0

  /** Grows with every `raise`. Take it before you look: then a wait misses nothing that came since. */
  get version(): number {
    return this.#version
  }

  raise(): void {
    this.#version++
    const before = this.#latch
    this.#latch = undefined
    before?.openUnsafe()
  }

  /** Completes when the version is no longer the given one. */
  after(version: number): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.#version === version ? (this.#latch ??= Latch.makeUnsafe(false)).await : Effect.void
    )
  }
}
