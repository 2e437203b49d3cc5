import type { Packed } from "../../internal/keyCodec.ts"
import type { Compare } from "../../internal/sortedMap.ts"
import { SortedMap, compareStrings } from "../../internal/sortedMap.ts"
import type {
  Commit,
  CommitOutcome,
  LogRead,
  LogLine,
  Mutation,
  Range,
  Stored,
  StoredValue,
  Watched
} from "../../kv/driver.ts"
import { CounterOverflow, KvError, NotACounter, Unavailable, Unsupported } from "../../kv/KvError.ts"
import type { Cursor, Versionstamp } from "../../kv/model.ts"
import { formatPacked } from "../../kv/value.ts"
import { RememberedCommits, RingLog, fenced } from "./kvLog.ts"

/**
 * The queue that takes part in the commits of a memory store. Everything is synchronous: a commit is checked whole and then
 * applied whole within one turn of the event loop.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface JoinedQueue {
  /** The first ack whose claim is no longer held, if any. */
  readonly lostAck: (
    acks: ReadonlyArray<{ readonly queue: string; readonly id: string; readonly token: string }>,
    now: number
  ) => { readonly queue: string; readonly id: string } | undefined
  readonly apply: (mutations: ReadonlyArray<QueueMutation>, now: number) => void
}

type QueueMutation = Extract<Mutation, { readonly _tag: "Enqueue" | "Ack" }>
type Ack = Extract<Mutation, { readonly _tag: "Ack" }>
type KeyMutation = Exclude<Mutation, QueueMutation>

// A write to an existing key replaces what the cell holds and leaves both indexes alone.
interface Cell {
  stored: Stored
}

/** What a commit makes of a key; `value: undefined` = deleted. */
interface Staged {
  readonly value: StoredValue | undefined
  readonly expiresAt: number | undefined
}

const deleted: Staged = { value: undefined, expiresAt: undefined }

const maxCounter = 2n ** 63n - 1n

// Passing over lines of other keys is cheap, but a long log must not hold the event loop.
const scanLimit = 8_192

const byDeadline: Compare<Stored> = (a, b) => a.expiresAt! - b.expiresAt! || compareStrings(a.key, b.key)

const hex16 = (n: number): string => n.toString(16).padStart(16, "0")

/** The synchronous store behind the memory driver. Every method is one step that nothing can interleave with. */
export class MemoryStore {
  readonly #id: string
  readonly #nextId: () => string
  readonly #joined: JoinedQueue | undefined
  readonly #cells = new Map<Packed, Cell>()
  readonly #order = new SortedMap<Packed, Cell>(compareStrings)
  readonly #expiries = new SortedMap<Stored, true>(byDeadline)
  readonly #log: RingLog
  readonly #logLines: number
  readonly #commits: RememberedCommits
  #counter = 0
  #head: Cursor
  #headCounter = 0

  constructor(options: {
    /** 16 hex characters. */
    readonly id: string
    readonly nextCommitId: () => string
    readonly logLines: number
    readonly joined: JoinedQueue | undefined
  }) {
    this.#id = options.id
    this.#nextId = options.nextCommitId
    this.#logLines = options.logLines
    this.#log = new RingLog(options.logLines)
    this.#commits = new RememberedCommits(options.logLines)
    this.#joined = options.joined
    this.#head = this.#cursor(0)
  }

  /** The counter of the last commit or sweep. */
  get counter(): number {
    return this.#counter
  }

  get head(): Cursor {
    if (this.#headCounter !== this.#counter) {
      this.#headCounter = this.#counter
      this.#head = this.#cursor(this.#counter)
    }
    return this.#head
  }

  get(key: Packed, now: number): Stored | undefined {
    const stored = this.#live(key, now)
    return stored === undefined ? undefined : copyOut(stored)
  }

  list(range: Range, limit: number, reverse: boolean, now: number): ReadonlyArray<Stored> {
    const entries: Array<Stored> = []
    const walk = reverse
      ? this.#order.entriesFrom(range.end, { inclusive: false, reverse: true })
      : this.#order.entriesFrom(range.start)
    for (const [key, { stored }] of walk) {
      if (entries.length >= limit || (reverse ? key < range.start : key >= range.end)) break
      if (isLive(stored, now)) entries.push(copyOut(stored))
    }
    return entries
  }

  commit(commit: Commit, now: number): CommitOutcome | KvError {
    const before = this.#commits.get(commit.id)
    if (before !== undefined) return before === fenced ? refused : before
    const failed: Array<number> = []
    for (let i = 0; i < commit.checks.length; i++) {
      const check = commit.checks[i]!
      if ((this.#live(check.key, now)?.versionstamp ?? null) !== check.versionstamp) failed.push(i)
    }
    if (failed.length > 0) return { _tag: "Conflict", failed }
    return this.#apply(commit, now)
  }

  outcome(id: string): CommitOutcome | "absent" | "unknown" {
    const known = this.#commits.get(id)
    if (known !== undefined) return known === fenced ? "absent" : known
    if (this.#commits.mayBeForgotten(id)) return "unknown"
    this.#commits.remember(id, fenced)
    return "absent"
  }

  /** Removes at most `max` entries whose time is over, as one commit. Answers how many. */
  sweep(now: number, max: number): number {
    const over: Array<Stored> = []
    for (const [stored] of this.#expiries) {
      if (stored.expiresAt! > now || over.length >= max) break
      over.push(stored)
    }
    if (over.length === 0) return 0
    const versionstamp = this.#nextVersionstamp(this.#nextId())
    for (const stored of over) {
      this.#remove(stored)
      this.#log.append({ counter: this.#counter, key: stored.key, versionstamp, op: "expire" })
    }
    this.#commits.remember(versionstamp.slice(16), { _tag: "Committed", versionstamp })
    return over.length
  }

  /** The deadline that comes first, of the entries that are still there. */
  get nextDeadline(): number | undefined {
    return this.#expiries.firstKey()?.expiresAt
  }

  readLog(after: Cursor, watched: Watched, limit: number, now: number): LogRead {
    const counter = this.placeOf(after)
    if (counter === undefined) {
      return {
        _tag: "Trimmed",
        detail: "the place belongs to another store, and a memory store lives as long as its layer"
      }
    }
    if (counter < this.#log.lostUpTo) {
      return { _tag: "Trimmed", detail: `the log of this memory store keeps its last ${this.#logLines} changes only` }
    }
    const { lines, more, upTo } = this.#log.read(counter, watched, { limit: Math.max(1, limit), scan: scanLimit })
    return {
      _tag: "Lines",
      lines: lines.map(({ key, op, versionstamp }): LogLine => ({ key, versionstamp, op, entry: this.get(key, now) })),
      next: more && upTo !== undefined ? this.#cursor(upTo) : this.head,
      more
    }
  }

  /** The counter of a cursor; `undefined` when this store did not make it. */
  placeOf(cursor: Cursor): number | undefined {
    if (cursor === this.#head) return this.#headCounter
    if (cursor.length !== 33 || !cursor.startsWith(this.#id) || cursor[16] !== ".") return undefined
    const counter = Number(`0x${cursor.slice(17)}`)
    return counter <= this.#counter ? counter : undefined
  }

  locate(versionstamp: Versionstamp): Cursor | undefined {
    const commit = this.#commits.get(versionstamp.slice(16))
    if (commit === undefined || commit === fenced) return undefined
    if (commit._tag !== "Committed" || commit.versionstamp !== versionstamp) return undefined
    const counter = Number.parseInt(versionstamp.slice(0, 16), 16)
    return counter < this.#log.lostUpTo ? undefined : this.#cursor(counter)
  }

  #apply(commit: Commit, now: number): CommitOutcome | KvError {
    const { mutations } = commit
    const only = mutations[0]
    let key: Packed | undefined
    let one: Staged | undefined
    let many: Map<Packed, Staged> | undefined
    const forQueue: Array<QueueMutation> = []
    if (mutations.length === 1 && only !== undefined && isKeyMutation(only)) {
      const next = stage(only, this.#live(only.key, now), now)
      if (isKvError(next)) return next
      key = only.key
      one = next
    } else {
      many = new Map()
      for (const mutation of mutations) {
        if (!isKeyMutation(mutation)) {
          forQueue.push(mutation)
          continue
        }
        const next = stage(mutation, many.get(mutation.key) ?? this.#live(mutation.key, now), now)
        if (isKvError(next)) return next
        many.set(mutation.key, next)
      }
    }
    if (forQueue.length > 0) {
      if (this.#joined === undefined) return notJoined
      const lost = this.#joined.lostAck(
        forQueue.filter((m): m is Ack => m._tag === "Ack"),
        now
      )
      if (lost !== undefined) return { _tag: "ClaimLost", queue: lost.queue, id: lost.id }
    }
    // From here on nothing can fail.
    const versionstamp = this.#nextVersionstamp(commit.id)
    if (key !== undefined && one !== undefined) this.#write(key, one, versionstamp, now)
    if (many !== undefined) for (const [at, staged] of many) this.#write(at, staged, versionstamp, now)
    if (forQueue.length > 0) this.#joined!.apply(forQueue, now)
    const outcome: CommitOutcome = { _tag: "Committed", versionstamp }
    this.#commits.remember(commit.id, outcome)
    return outcome
  }

  #write(key: Packed, staged: Staged, versionstamp: Versionstamp, now: number): void {
    const cell = this.#cells.get(key)
    if (staged.value === undefined) {
      if (cell === undefined) return
      const op = isLive(cell.stored, now) ? "delete" : "expire"
      this.#remove(cell.stored)
      this.#log.append({ counter: this.#counter, key, versionstamp, op })
      return
    }
    const stored: Stored = { key, value: copyIn(staged.value), versionstamp, expiresAt: staged.expiresAt }
    if (cell === undefined) {
      const fresh: Cell = { stored }
      this.#cells.set(key, fresh)
      this.#order.set(key, fresh)
    } else {
      if (cell.stored.expiresAt !== undefined) this.#expiries.delete(cell.stored)
      cell.stored = stored
    }
    if (stored.expiresAt !== undefined) this.#expiries.set(stored, true)
    this.#log.append({ counter: this.#counter, key, versionstamp, op: "put" })
  }

  #remove(stored: Stored): void {
    this.#cells.delete(stored.key)
    this.#order.delete(stored.key)
    if (stored.expiresAt !== undefined) this.#expiries.delete(stored)
  }

  #live(key: Packed, now: number): Stored | undefined {
    const stored = this.#cells.get(key)?.stored
    return stored !== undefined && isLive(stored, now) ? stored : undefined
  }

  #nextVersionstamp(commitId: string): Versionstamp {
    this.#counter++
    return (hex16(this.#counter) + commitId) as Versionstamp
  }

  #cursor(counter: number): Cursor {
    return `${this.#id}.${hex16(counter)}` as Cursor
  }
}

const isLive = (stored: Stored, now: number): boolean => stored.expiresAt === undefined || stored.expiresAt > now

const isKvError = (u: Staged | KvError): u is KvError => u instanceof KvError

const isKeyMutation = (mutation: Mutation): mutation is KeyMutation =>
  mutation._tag !== "Enqueue" && mutation._tag !== "Ack"

/** What a mutation makes of a key, from what the key holds at that moment of the commit. */
const stage = (mutation: KeyMutation, old: Staged | undefined, now: number): Staged | KvError => {
  switch (mutation._tag) {
    case "Set":
      return {
        value: mutation.value,
        expiresAt: mutation.expireIn === undefined ? undefined : now + mutation.expireIn
      }
    case "Delete":
      return deleted
    default:
      return count(mutation, old, now)
  }
}

const count = (
  { _tag, expireIn, key, operand }: Extract<KeyMutation, { readonly _tag: "Sum" | "Min" | "Max" }>,
  old: Staged | undefined,
  now: number
): Staged | KvError => {
  const held = old?.value
  if (held !== undefined && held._tag !== "Counter") {
    const kind = held._tag === "Json" ? "a JSON value" : "bytes"
    return new KvError({
      reason: new NotACounter({ key: formatPacked(key), detail: `${_tag.toLowerCase()} met ${kind}` })
    })
  }
  let value = operand
  if (held !== undefined) {
    if (_tag === "Sum") value = held.value + operand
    else if (_tag === "Min" ? held.value < operand : held.value > operand) value = held.value
  }
  if (value < 0n || value > maxCounter) {
    return new KvError({
      reason: new CounterOverflow({
        key: formatPacked(key),
        detail: `${_tag.toLowerCase()} of ${operand} on ${held?.value ?? 0n}`
      })
    })
  }
  const made = held === undefined && expireIn !== undefined ? now + expireIn : undefined
  return { value: { _tag: "Counter", value }, expiresAt: held === undefined ? made : old?.expiresAt }
}

// A plain copy, also of a Buffer, whose own slice would share its memory.
const copyIn = (value: StoredValue): StoredValue =>
  value._tag === "Bytes" ? { _tag: "Bytes", bytes: new Uint8Array(value.bytes) } : value

const copyOut = (stored: Stored): Stored =>
  stored.value._tag === "Bytes"
    ? { ...stored, value: { _tag: "Bytes", bytes: new Uint8Array(stored.value.bytes) } }
    : stored

const refused = /* @__PURE__ */ new KvError({
  reason: /* @__PURE__ */ new Unavailable({
    backend: "memory",
    operation: "commit",
    detail: "its outcome was asked for before it arrived, so it was refused"
  })
})

const notJoined = /* @__PURE__ */ new KvError({
  reason: /* @__PURE__ */ new Unsupported({
    feature: "An enqueue or ack step in a commit",
    detail:
      "this memory Kv was built without a queue. Provide the `layer` of layers/memory, which holds both over one store, or use Kv.outbox for two stores."
  })
})
