/**
 * The queue inside a transaction: synchronous, every method a few statements. Rows stand in one table; partial indexes by state
 * keep apart what is ready, scheduled, claimed and blocked, so that nothing a claim may not take lies on its way.
 */
import type { Publication } from "../../../internal/envelope.ts"
import type { Claimed, ClaimRequest, Published, Settlement } from "../../../queue/driver.ts"
import { soloAfter } from "../../../queue/driver.ts"
import type { ConnectionService } from "../connection.ts"
import type { Statement } from "../sqlite.ts"
import type { Tx } from "../writer.ts"
import { Lines, ready, scheduled } from "./lines.ts"
import type { ClaimRow } from "./rows.ts"
import { claimedOf, headOf, parseToken, recordColumns, replacedHead, timesOf, whole } from "./rows.ts"
import { Tend } from "./tend.ts"

/** Milliseconds in which an accepted id adds nothing when it is enqueued again. */
const idWindow = 300_000
const idMark = 0
const keyMark = 1

interface MarkRow {
  readonly id: string
  readonly seq: number
}

interface LeftRow {
  readonly grp: string | null
  readonly expires: number | null
}

const held = "seq = ? AND token = ? AND state = 2 AND lease > ?"
const heldAs = `id = ? AND ${held}`

export class MessageStore {
  readonly lines: Lines
  readonly tend: Tend
  /** Messages dropped at their time to live since `begin`, by queue. */
  expired: Map<string, number> | undefined
  readonly #ids = new Map<string, number>()
  readonly #prepare: (sql: string) => Statement
  readonly #findQueue: Statement
  readonly #addQueue: Statement
  readonly #paused: Statement
  readonly #mark: Statement
  readonly #marked: Statement
  readonly #insert: Statement
  readonly #claim: Statement
  readonly #claimStarted: Statement
  readonly #remove: Statement
  readonly #retry: Statement
  readonly #release: Statement
  readonly #bury: Statement
  readonly #start: Statement
  readonly #extend: Statement

  constructor(connection: ConnectionService) {
    const { prepare } = connection
    this.#prepare = prepare
    this.lines = new Lines(connection)
    this.tend = new Tend(connection, this.lines)
    this.#findQueue = prepare("SELECT q FROM seams_queue WHERE name = ?")
    this.#addQueue = prepare("INSERT INTO seams_queue (name) VALUES (?) RETURNING q")
    this.#paused = prepare("SELECT paused FROM seams_queue WHERE q = ?")
    // Changes nothing while the mark that is there is still remembered.
    this.#mark = prepare(
      `INSERT INTO seams_mark (q, kind, key, id, seq, until) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
        SET id = excluded.id, seq = excluded.seq, until = excluded.until WHERE seams_mark.until <= ?`
    )
    this.#marked = prepare("SELECT id, seq FROM seams_mark WHERE q = ? AND kind = ? AND key = ? AND until > ?")
    this.#insert = prepare(
      `INSERT INTO seams_message (seq, q, state, rank, due, expires, grp, id, name, enqueued, head, payload)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
    )
    const claim = (started: string) =>
      prepare(
        `UPDATE seams_message SET state = 2, token = ?, lease = ?, started = ${started}, deliveries = deliveries + 1,
          held = grp IS NOT NULL WHERE seq IN (
            SELECT seq FROM seams_message WHERE q = ? AND state = 0 AND (expires IS NULL OR expires > ?)
            ORDER BY rank, due, seq LIMIT ?)
          RETURNING seq, due, deliveries, retries, lost_started, lost_unstarted, ${recordColumns}`
      )
    this.#claim = claim("0")
    this.#claimStarted = claim(`lost_started < ${soloAfter}`)
    this.#remove = prepare(`DELETE FROM seams_message WHERE ${heldAs} RETURNING grp`)
    this.#retry = prepare(
      `UPDATE seams_message SET state = ?, due = ?, token = NULL, started = 0, retries = retries + 1,
        error = coalesce(?, error) WHERE ${heldAs} RETURNING grp, expires`
    )
    this.#release = prepare(
      `UPDATE seams_message SET state = ?, due = coalesce(?, due), token = NULL, started = 0 WHERE ${heldAs}
        RETURNING grp, expires`
    )
    this.#bury = prepare(
      `INSERT INTO seams_dead (n, q, attempt, deliveries, reason, error, died, ${recordColumns})
        SELECT ?, q, 1 + retries + lost_started, deliveries, ?, coalesce(?, error), ?, ${recordColumns}
        FROM seams_message WHERE ${heldAs}`
    )
    this.#start = prepare(`UPDATE seams_message SET started = 1 WHERE ${held}`)
    this.#extend = prepare(`UPDATE seams_message SET lease = ? WHERE ${held}`)
  }

  /** Called at the start of every job, which may run twice. */
  begin(): void {
    this.expired = undefined
  }

  /** The number of a queue that is known to exist on the disk. */
  known(name: string): number | undefined {
    return this.#ids.get(name)
  }

  /** Outside of transactions only: what is read inside may be rolled back. */
  remember(name: string): number | undefined {
    const row = this.#findQueue.get(name) as { readonly q: number } | undefined
    if (row !== undefined) this.#ids.set(name, row.q)
    return row?.q
  }

  number(name: string): number {
    const known = this.#ids.get(name)
    if (known !== undefined) return known
    const row = (this.#findQueue.get(name) ?? this.#addQueue.get(name)) as { readonly q: number }
    return row.q
  }

  publish(tx: Tx, publication: Publication): Published {
    const { message, requeued } = publication
    const { id } = message
    const q = this.number(message.queue)
    const seq = ++tx.seq
    if (requeued !== true) {
      const { dedupe } = message
      if (dedupe === undefined) {
        if (!this.#remember(tx, q, idMark, id, id, seq, idWindow)) return { id, duplicate: true }
      } else {
        if (this.#marked.get(q, idMark, id, tx.now) !== undefined) return { id, duplicate: true }
        const first = this.#marked.get(q, keyMark, dedupe.key, tx.now) as MarkRow | undefined
        if (first !== undefined) {
          if (dedupe.onDuplicate === "replace") this.#replace(tx, q, first, publication)
          return { id: first.id, duplicate: true }
        }
        this.#remember(tx, q, idMark, id, id, seq, idWindow)
        this.#remember(tx, q, keyMark, dedupe.key, id, seq, dedupe.window)
      }
    }
    const { due, expires, notBefore } = timesOf(publication, tx.now)
    tx.touched.add(q)
    if (expires !== null && expires <= tx.now) {
      this.#countExpired(message.queue, 1)
      return { id, duplicate: false }
    }
    const group = message.group ?? null
    const state = due > tx.now ? scheduled : group === null ? ready : this.lines.join(q, group, seq, due)
    const head = headOf(message, notBefore)
    this.#insert.run(
      seq,
      q,
      state,
      0 - message.priority,
      due,
      expires,
      group,
      id,
      message.name,
      tx.now,
      head,
      message.payload
    )
    return { id, duplicate: false }
  }

  /** False: the key is remembered already. */
  #remember(tx: Tx, q: number, kind: number, key: string, id: string, seq: number, window: number): boolean {
    return this.#mark.run(q, kind, key, id, seq, whole(tx.now + window), tx.now).changes !== 0
  }

  /** Gives the waiting message of a dedupe key another content and due time; its id, group and counts stay. */
  #replace(tx: Tx, q: number, first: MarkRow, publication: Publication): void {
    const row = this.#prepare(
      "SELECT state, head, grp, held, enqueued FROM seams_message WHERE seq = ? AND id = ?"
    ).get(first.seq, first.id) as { state: number; head: string | null; grp: string | null; held: number } | undefined
    if (row === undefined || row.state === 2) return
    const { message } = publication
    const { due, expires, notBefore } = timesOf(publication, tx.now)
    tx.touched.add(q)
    // Out of its line first (state 1 stands nowhere), then in again by the new due time.
    this.#prepare(
      `UPDATE seams_message SET state = 1, rank = ?, due = ?, expires = ?, name = ?, head = ?, payload = ? WHERE seq = ?`
    ).run(
      0 - message.priority,
      due,
      expires,
      message.name,
      replacedHead(row.head, message, notBefore),
      message.payload,
      first.seq
    )
    if (row.grp !== null && row.held === 0) this.lines.leave(q, row.grp, first.seq)
    if (expires !== null && expires <= tx.now) {
      this.#drop(q, message.queue, first.seq, row.grp)
      return
    }
    if (due > tx.now) return
    const state = row.grp === null || row.held === 1 ? ready : this.lines.join(q, row.grp, first.seq, due)
    this.#prepare("UPDATE seams_message SET state = ? WHERE seq = ?").run(state, first.seq)
  }

  claim(tx: Tx, q: number, queue: string, request: ClaimRequest, claim: string, lease: number): Array<Claimed> {
    if (request.max <= 0) return []
    this.tendTo(tx, q, queue)
    if ((this.#paused.get(q) as { readonly paused: number }).paused !== 0) return []
    const all = request.start >= request.max
    const claiming = all ? this.#claimStarted : this.#claim
    const rows = claiming.all(claim, whole(tx.now + lease), q, tx.now, request.max) as Array<ClaimRow>
    // RETURNING promises no order.
    if (rows.length > 1) rows.sort(byPlace)
    let starting = all ? 0 : request.start
    for (const row of rows) {
      if (starting === 0) break
      if (row.lost_started >= soloAfter) continue
      this.#start.run(row.seq, claim, tx.now)
      starting--
    }
    if (rows.length > 0) tx.touched.add(q)
    return rows.map((row) => claimedOf(queue, claim, row))
  }

  /** True: settled. False: the claim is lost. */
  settle(tx: Tx, q: number, queue: string, { id, outcome, token }: Settlement): boolean {
    const parsed = parseToken(token)
    if (parsed === undefined) return false
    const { claim, seq } = parsed
    const now = tx.now
    let left: LeftRow | undefined
    switch (outcome._tag) {
      case "ack":
      case "discard":
        return this.#removed(tx, q, seq, claim, id)
      case "deadLetter":
        if (this.#bury.run(++tx.seq, outcome.reason, outcome.error ?? null, now, id, seq, claim, now).changes === 0)
          return false
        return this.#removed(tx, q, seq, claim, id)
      case "retry": {
        const due = whole(now + outcome.delay)
        const state = due > now ? scheduled : ready
        left = this.#retry.get(state, due, outcome.error ?? null, id, seq, claim, now) as LeftRow | undefined
        break
      }
      case "release": {
        const due = outcome.delay > 0 ? whole(now + outcome.delay) : null
        left = this.#release.get(due === null ? ready : scheduled, due, id, seq, claim, now) as LeftRow | undefined
        break
      }
    }
    if (left === undefined) return false
    tx.touched.add(q)
    if (left.expires !== null && left.expires <= now) this.#drop(q, queue, seq, left.grp)
    return true
  }

  /** For an `ack` step of a Kv commit. */
  ack(tx: Tx, queue: string, id: string, token: string): boolean {
    return this.settle(tx, this.number(queue), queue, { id, token, outcome: { _tag: "ack" } })
  }

  start(tx: Tx, token: string): boolean {
    const parsed = parseToken(token)
    return parsed !== undefined && this.#start.run(parsed.seq, parsed.claim, tx.now).changes !== 0
  }

  extend(tx: Tx, token: string, lease: number): boolean {
    const parsed = parseToken(token)
    return (
      parsed !== undefined && this.#extend.run(whole(tx.now + lease), parsed.seq, parsed.claim, tx.now).changes !== 0
    )
  }

  tendTo(tx: Tx, q: number, queue: string): void {
    const dropped = this.tend.run(tx, q)
    if (dropped > 0) this.#countExpired(queue, dropped)
  }

  #removed(tx: Tx, q: number, seq: number, claim: string, id: string): boolean {
    const row = this.#remove.get(id, seq, claim, tx.now) as { readonly grp: string | null } | undefined
    if (row === undefined) return false
    tx.touched.add(q)
    if (row.grp !== null) this.lines.leave(q, row.grp, seq)
    return true
  }

  #drop(q: number, queue: string, seq: number, grp: string | null): void {
    this.#prepare("DELETE FROM seams_message WHERE seq = ?").run(seq)
    if (grp !== null) this.lines.leave(q, grp, seq)
    this.#countExpired(queue, 1)
  }

  #countExpired(queue: string, n: number): void {
    this.expired ??= new Map()
    this.expired.set(queue, (this.expired.get(queue) ?? 0) + n)
  }
}

const byPlace = (a: ClaimRow, b: ClaimRow): number => a.rank - b.rank || a.due - b.due || a.seq - b.seq
