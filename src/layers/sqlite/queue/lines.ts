/**
 * The lines of groups. `seams_line` names the head of every line that is not empty; the head alone stands in the index that
 * claims read, all others are `blocked` outside of it, so a claim never passes over a message it may not take.
 */
import type { ConnectionService } from "../connection.ts"
import type { Statement } from "../sqlite.ts"

export const ready = 0
export const scheduled = 1
export const claimed = 2
export const blocked = 3

interface HeadRow {
  readonly seq: number
  readonly due: number
  readonly state: number
  readonly held: number
}

export class Lines {
  readonly #line: Statement
  readonly #head: Statement
  readonly #open: Statement
  readonly #close: Statement
  readonly #lead: Statement
  readonly #next: Statement
  readonly #state: Statement

  constructor({ prepare }: ConnectionService) {
    this.#line = prepare("SELECT seq FROM seams_line WHERE q = ? AND grp = ?")
    this.#head = prepare("SELECT seq, due, state, held FROM seams_message WHERE seq = ?")
    this.#open = prepare("INSERT INTO seams_line (q, grp, seq) VALUES (?, ?, ?)")
    this.#close = prepare("DELETE FROM seams_line WHERE q = ? AND grp = ?")
    this.#lead = prepare("UPDATE seams_line SET seq = ? WHERE q = ? AND grp = ?")
    this.#next = prepare(
      "SELECT seq FROM seams_message WHERE q = ? AND grp = ? AND state = 3 ORDER BY due, seq LIMIT 1"
    )
    this.#state = prepare("UPDATE seams_message SET state = ? WHERE seq = ?")
  }

  /** A message that became due stands in its line; answers its state. */
  join(q: number, grp: string, seq: number, due: number): typeof ready | typeof blocked {
    const line = this.#line.get(q, grp) as { readonly seq: number } | undefined
    if (line === undefined) {
      this.#open.run(q, grp, seq)
      return ready
    }
    const head = this.#head.get(line.seq) as HeadRow | undefined
    if (head !== undefined && (head.held !== 0 || head.state !== ready || !before(due, seq, head))) return blocked
    // Nobody has seen the head yet, and this one was due before it.
    if (head !== undefined) this.#state.run(blocked, head.seq)
    this.#lead.run(seq, q, grp)
    return ready
  }

  /** A message that is gone, or waits outside, leaves its line; the next one becomes the head. */
  leave(q: number, grp: string, seq: number): void {
    const line = this.#line.get(q, grp) as { readonly seq: number } | undefined
    if (line?.seq !== seq) return
    const next = this.#next.get(q, grp) as { readonly seq: number } | undefined
    if (next === undefined) {
      this.#close.run(q, grp)
    } else {
      this.#lead.run(next.seq, q, grp)
      this.#state.run(ready, next.seq)
    }
  }
}

const before = (due: number, seq: number, head: HeadRow): boolean =>
  due < head.due || (due === head.due && seq < head.seq)
