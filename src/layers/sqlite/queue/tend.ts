/** What time alone brings about in a queue: messages become due or expire, leases run out, remembered keys are forgotten. */
import type { ConnectionService } from "../connection.ts"
import type { Statement } from "../sqlite.ts"
import type { Tx } from "../writer.ts"
import type { Lines } from "./lines.ts"
import { ready } from "./lines.ts"

/** Of one kind and in one transaction; the rest follows with the next call. */
const batch = 1_000
const batches = 10

export class Tend {
  readonly #lines: Lines
  readonly #needs: Statement
  readonly #due: Statement
  readonly #dueGrouped: Statement
  readonly #state: Statement
  readonly #lose: Statement
  readonly #expire: Statement
  readonly #forget: Statement

  constructor({ prepare }: ConnectionService, lines: Lines) {
    this.#lines = lines
    this.#needs = prepare(
      `SELECT EXISTS (SELECT 1 FROM seams_message WHERE q = ? AND state = 1 AND due <= ?) AS due,
        EXISTS (SELECT 1 FROM seams_message WHERE q = ? AND state = 2 AND lease <= ?) AS lost,
        EXISTS (SELECT 1 FROM seams_message WHERE q = ? AND expires IS NOT NULL AND expires <= ? AND state <> 2) AS expired`
    )
    this.#due = prepare(
      `UPDATE seams_message SET state = 0 WHERE seq IN (
        SELECT seq FROM seams_message WHERE q = ? AND state = 1 AND due <= ? AND grp IS NULL ORDER BY due LIMIT ?)`
    )
    this.#dueGrouped = prepare(
      `SELECT seq, grp, due, held FROM seams_message WHERE q = ? AND state = 1 AND due <= ? AND grp IS NOT NULL
        ORDER BY due, seq LIMIT ?`
    )
    this.#state = prepare("UPDATE seams_message SET state = ? WHERE seq = ?")
    this.#lose = prepare(
      `UPDATE seams_message SET state = 0, token = NULL, lost_started = lost_started + started,
        lost_unstarted = lost_unstarted + 1 - started, started = 0 WHERE q = ? AND state = 2 AND lease <= ?`
    )
    this.#expire = prepare(
      `DELETE FROM seams_message WHERE seq IN (
        SELECT seq FROM seams_message WHERE q = ? AND expires IS NOT NULL AND expires <= ? AND state <> 2 LIMIT ?)
        RETURNING seq, grp`
    )
    this.#forget = prepare(
      "DELETE FROM seams_mark WHERE (q, kind, key) IN (SELECT q, kind, key FROM seams_mark WHERE until <= ? ORDER BY until LIMIT ?)"
    )
  }

  #needsOf(q: number, now: number): Needs {
    return this.#needs.get(q, now, q, now, q, now) as Needs
  }

  needed(q: number, now: number): boolean {
    const needs = this.#needsOf(q, now)
    return needs.due !== 0 || needs.lost !== 0 || needs.expired !== 0
  }

  /** Brings the queue up to the moment of the transaction; answers how many messages expired. */
  run(tx: Tx, q: number): number {
    const needs = this.#needsOf(q, tx.now)
    if (needs.due === 0 && needs.lost === 0 && needs.expired === 0) return 0
    tx.touched.add(q)
    // The order matters: a lost claim and a due message may be expired.
    if (needs.lost !== 0) this.#lose.run(q, tx.now)
    if (needs.due !== 0) this.#becomeDue(q, tx.now)
    return this.#drop(q, tx.now)
  }

  #becomeDue(q: number, now: number): void {
    for (let i = 0; i < batches; i++) {
      if (Number(this.#due.run(q, now, batch).changes) < batch) break
    }
    for (let i = 0; i < batches; i++) {
      const rows = this.#dueGrouped.all(q, now, batch) as ReadonlyArray<GroupedRow>
      // One that holds its line never left it.
      for (const { due, grp, held, seq } of rows)
        this.#state.run(held === 1 ? ready : this.#lines.join(q, grp, seq, due), seq)
      if (rows.length < batch) break
    }
  }

  #drop(q: number, now: number): number {
    let dropped = 0
    for (let i = 0; i < batches; i++) {
      const rows = this.#expire.all(q, now, batch) as ReadonlyArray<{
        readonly seq: number
        readonly grp: string | null
      }>
      for (const { grp, seq } of rows) if (grp !== null) this.#lines.leave(q, grp, seq)
      dropped += rows.length
      if (rows.length < batch) break
    }
    return dropped
  }

  /** Forgets ids and dedupe keys whose window is over. */
  forget(now: number, limit: number): void {
    this.#forget.run(now, limit)
  }
}

interface Needs {
  readonly due: number
  readonly lost: number
  readonly expired: number
}

interface GroupedRow {
  readonly seq: number
  readonly grp: string
  readonly due: number
  readonly held: number
}
