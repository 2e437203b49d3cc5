/** One commit inside a transaction: checks, then mutations in order, then the lines of the log. */
import type { Packed } from "../../../internal/keyCodec.ts"
import { toBytes } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome, Mutation } from "../../../kv/driver.ts"
import { CounterOverflow, KvError, NotACounter } from "../../../kv/KvError.ts"
import { formatPacked } from "../../../kv/value.ts"
import type { ConnectionService } from "../connection.ts"
import type { MessageStore } from "../queue/store.ts"
import type { Statement } from "../sqlite.ts"
import type { Tx } from "../writer.ts"
import { Rejected } from "../writer.ts"
import type { KvRow } from "./rows.ts"
import { deadline, isLive, kindOf, parameterOf, stampOf } from "./rows.ts"

export const opNone = 0
export const opPut = 1
export const opDelete = 2
export const opExpire = 3

/** The topic of the Kv in `wake`; queues have their numbers, from 1. */
export const kvTopic = 0

const largestCounter = 2n ** 63n - 1n

export class KvTables {
  readonly #version: Statement
  readonly #row: Statement
  readonly #upsert: Statement
  readonly #upsertKeepingExpiry: Statement
  readonly #delete: Statement
  readonly #log: Statement
  readonly #messages: MessageStore

  constructor({ prepare }: ConnectionService, messages: MessageStore) {
    this.#messages = messages
    this.#version = prepare("SELECT vs, exp FROM seams_kv WHERE k = ?")
    this.#row = prepare("SELECT kind, v, vs, exp FROM seams_kv WHERE k = ?")
    this.#upsert = prepare(
      "INSERT INTO seams_kv (k, kind, v, vs, exp) VALUES (?, ?, ?, ?, ?) ON CONFLICT (k) DO UPDATE SET kind = excluded.kind, v = excluded.v, vs = excluded.vs, exp = excluded.exp"
    )
    this.#upsertKeepingExpiry = prepare("UPDATE seams_kv SET v = ?, vs = ? WHERE k = ?")
    this.#delete = prepare("DELETE FROM seams_kv WHERE k = ? RETURNING exp")
    this.#log = prepare("INSERT INTO seams_log (n, k, op, cid, at) VALUES (?, ?, ?, ?, ?)")
  }

  commit(tx: Tx, commit: Commit): CommitOutcome {
    const failed = commit.checks.length === 0 ? none : this.#failed(commit.checks, tx.now)
    if (failed.length > 0) return { _tag: "Conflict", failed }
    const counter = ++tx.counter
    const versionstamp = stampOf(counter, commit.id)
    const only = commit.mutations.length === 1 ? commit.mutations[0] : undefined
    if (only !== undefined) {
      const bytes = "key" in only ? toBytes(only.key) : nobody
      const op = this.#mutate(tx, only, bytes, versionstamp)
      this.#log.run(counter, op === opNone ? nobody : bytes, op, commit.id, tx.now)
    } else {
      this.#mutateAll(tx, commit, counter, versionstamp)
    }
    tx.touched.add(kvTopic)
    return { _tag: "Committed", versionstamp }
  }

  /** Removes expired entries as a commit of its own; each gets its line. */
  expire(tx: Tx, keys: ReadonlyArray<Uint8Array>, commitId: string): void {
    const counter = ++tx.counter
    for (const key of keys) {
      this.#delete.get(key)
      this.#log.run(counter, key, opExpire, commitId, tx.now)
    }
    tx.touched.add(kvTopic)
  }

  #failed(checks: Commit["checks"], now: number): ReadonlyArray<number> {
    const failed: Array<number> = []
    for (let i = 0; i < checks.length; i++) {
      const check = checks[i]!
      const row = this.#version.get(toBytes(check.key)) as Pick<KvRow, "vs" | "exp"> | undefined
      const found = row !== undefined && isLive(row.exp, now) ? row.vs : null
      if (found !== check.versionstamp) failed.push(i)
    }
    return failed
  }

  #mutateAll(tx: Tx, commit: Commit, counter: number, versionstamp: string): void {
    const lines = new Map<Packed, { readonly bytes: Uint8Array; op: number }>()
    for (const mutation of commit.mutations) {
      if (!("key" in mutation)) {
        this.#mutate(tx, mutation, nobody, versionstamp)
        continue
      }
      const line = lines.get(mutation.key)
      const bytes = line?.bytes ?? toBytes(mutation.key)
      const op = this.#mutate(tx, mutation, bytes, versionstamp)
      if (line === undefined) lines.set(mutation.key, { bytes, op })
      else if (op !== opNone) line.op = op
    }
    let logged = false
    for (const { bytes, op } of lines.values()) {
      if (op === opNone) continue
      this.#log.run(counter, bytes, op, commit.id, tx.now)
      logged = true
    }
    if (!logged) this.#log.run(counter, nobody, opNone, commit.id, tx.now)
  }

  /** What the log says of it; `opNone` for what changed no key. */
  #mutate(tx: Tx, mutation: Mutation, bytes: Uint8Array, versionstamp: string): number {
    switch (mutation._tag) {
      case "Set": {
        const { expireIn, value } = mutation
        const exp = expireIn === undefined ? null : deadline(tx.now, expireIn)
        this.#upsert.run(bytes, kindOf(value), parameterOf(value), versionstamp, exp)
        return opPut
      }
      case "Delete": {
        const gone = this.#delete.get(bytes) as { readonly exp: number | null } | undefined
        // An expiry that nobody swept yet becomes part of this commit, so that watchers hear of it once and by its name.
        return gone === undefined ? opNone : isLive(gone.exp, tx.now) ? opDelete : opExpire
      }
      case "Enqueue":
        this.#messages.publish(tx, mutation.publication)
        return opNone
      case "Ack":
        if (!this.#messages.ack(tx, mutation.queue, mutation.id, mutation.token))
          throw new Rejected({ _tag: "ClaimLost", queue: mutation.queue, id: mutation.id } satisfies CommitOutcome)
        return opNone
      default:
        this.#count(tx, mutation, bytes, versionstamp)
        return opPut
    }
  }

  #count(
    tx: Tx,
    mutation: Extract<Mutation, { readonly operand: bigint }>,
    bytes: Uint8Array,
    versionstamp: string
  ): void {
    const { _tag, expireIn, operand } = mutation
    const found = this.#row.get(bytes) as KvRow | undefined
    const live = found !== undefined && isLive(found.exp, tx.now) ? found : undefined
    if (live !== undefined && live.kind !== 2)
      throw new Rejected(
        new KvError({
          reason: new NotACounter({
            key: formatPacked(mutation.key),
            detail: `${_tag.toLowerCase()} met ${live.kind === 0 ? "a JSON value" : "bytes"}`
          })
        })
      )
    const current = live === undefined ? undefined : BigInt(live.v as string)
    const next =
      _tag === "Sum"
        ? (current ?? 0n) + operand
        : current === undefined || (_tag === "Min" ? operand < current : operand > current)
          ? operand
          : current
    if (next > largestCounter || next < 0n)
      throw new Rejected(
        new KvError({
          reason: new CounterOverflow({
            key: formatPacked(mutation.key),
            detail: `${_tag.toLowerCase()} of ${operand} on ${current ?? 0n}`
          })
        })
      )
    const exp = expireIn === undefined ? null : deadline(tx.now, expireIn)
    if (live === undefined) this.#upsert.run(bytes, 2, next.toString(), versionstamp, exp)
    else this.#upsertKeepingExpiry.run(next.toString(), versionstamp, bytes)
  }
}

const none: ReadonlyArray<number> = []
const nobody = new Uint8Array(0)
