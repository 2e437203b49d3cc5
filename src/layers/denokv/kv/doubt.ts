/** Commits that were sent and not answered yet: what must be known to find out about them. */
import type { Generation } from "./generation.ts"

interface Doubt {
  /** Generations whose logs may hold its line. */
  readonly generations: Set<number>
  /** The versionstamp of the generation that its last attempt checks. */
  checked: string
}

export class Doubts {
  readonly #doubts = new Map<string, Doubt>()

  get(commitId: string): Doubt | undefined {
    return this.#doubts.get(commitId)
  }

  /** It is about to be sent. `line`: the generation in whose log it leaves its line. */
  sending(commitId: string, generation: Generation, line: number): void {
    const doubt = this.#doubts.get(commitId)
    if (doubt === undefined)
      this.#doubts.set(commitId, { generations: new Set([line]), checked: generation.versionstamp })
    else {
      doubt.generations.add(line)
      doubt.checked = generation.versionstamp
    }
  }

  resolved(commitId: string): void {
    this.#doubts.delete(commitId)
  }
}
