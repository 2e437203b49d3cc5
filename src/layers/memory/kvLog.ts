import type { Packed } from "../../internal/keyCodec.ts"
import type { CommitOutcome, LogLine, Watched } from "../../kv/driver.ts"
import type { Versionstamp } from "../../kv/model.ts"

/** A line as it is kept: what happened to a key, without the entry, which a reader looks up when it reads. */
export interface KeptLine {
  readonly counter: number
  readonly key: Packed
  readonly versionstamp: Versionstamp
  readonly op: LogLine["op"]
}

/**
 * The last lines of a store's changes, in a ring. Lines of one commit share its counter, so a place in the log is a counter,
 * and readers never stop inside a commit.
 */
export class RingLog {
  readonly #capacity: number
  readonly #lines: Array<KeptLine> = []
  #written = 0
  #lostUpTo = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** The counter of the newest line that was dropped; 0 while all are there. A reader that has not seen it missed lines. */
  get lostUpTo(): number {
    return this.#lostUpTo
  }

  append(line: KeptLine): void {
    if (this.#lines.length < this.#capacity) {
      this.#lines.push(line)
    } else {
      const slot = this.#written % this.#capacity
      this.#lostUpTo = this.#lines[slot]!.counter
      this.#lines[slot] = line
    }
    this.#written++
  }

  /**
   * Lines after a counter that match, oldest first. Both bounds are soft: reading goes on to the end of the commit it is in.
   * `upTo` is the counter of the last line that was looked at, `undefined` when there was none.
   */
  read(
    after: number,
    watched: Watched,
    bounds: { readonly limit: number; readonly scan: number }
  ): { readonly lines: ReadonlyArray<KeptLine>; readonly upTo: number | undefined; readonly more: boolean } {
    const lines: Array<KeptLine> = []
    let upTo: number | undefined
    let at = this.#firstAfter(after)
    for (let scanned = 0; at < this.#written; at++, scanned++) {
      const line = this.#lines[at % this.#capacity]!
      if (line.counter !== upTo && (lines.length >= bounds.limit || scanned >= bounds.scan)) break
      upTo = line.counter
      if (isWatched(watched, line.key)) lines.push(line)
    }
    return { lines, upTo, more: at < this.#written }
  }

  /** The number of the first line whose counter lies above the given one. */
  #firstAfter(counter: number): number {
    let low = this.#written - this.#lines.length
    let high = this.#written
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#lines[middle % this.#capacity]!.counter <= counter) low = middle + 1
      else high = middle
    }
    return low
  }
}

const isWatched = (watched: Watched, key: Packed): boolean =>
  watched._tag === "Keys" ? watched.keys.has(key) : key >= watched.range.start && key < watched.range.end

/** An id that was asked for before its commit arrived: the commit is refused if it still comes. */
export const fenced = "fenced"

const prefixLength = 12

/**
 * What became of the last commits, by their ids. Ids count up under a prefix per client (`internal/ids.ts`), so that a
 * forgotten id can be told from one that never came.
 */
export class RememberedCommits {
  readonly #capacity: number
  readonly #ids: Array<string> = []
  readonly #outcomes = new Map<string, CommitOutcome | typeof fenced>()
  readonly #forgotten = new Map<string, string>()
  #written = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get(id: string): CommitOutcome | typeof fenced | undefined {
    return this.#outcomes.get(id)
  }

  /** Whether an id that {@link get} does not know may belong to a commit that was applied long ago. */
  mayBeForgotten(id: string): boolean {
    const last = this.#forgotten.get(id.slice(0, prefixLength))
    return last !== undefined && id.slice(prefixLength) <= last
  }

  remember(id: string, outcome: CommitOutcome | typeof fenced): void {
    if (this.#ids.length < this.#capacity) {
      this.#ids.push(id)
    } else {
      const slot = this.#written % this.#capacity
      this.#forget(this.#ids[slot]!)
      this.#ids[slot] = id
    }
    this.#written++
    this.#outcomes.set(id, outcome)
  }

  #forget(id: string): void {
    this.#outcomes.delete(id)
    const prefix = id.slice(0, prefixLength)
    const suffix = id.slice(prefixLength)
    const last = this.#forgotten.get(prefix)
    if (last === undefined || last < suffix) this.#forgotten.set(prefix, suffix)
  }
}
