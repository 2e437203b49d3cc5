/**
 * Group commit. The writes of one tick go into one `BEGIN IMMEDIATE` transaction, so 64 concurrent commits cost one sync of the
 * disk and not 64. A group closes at the end of its tick, at 256 members or 1 MB; a lone write waits for nobody.
 *
 * A member that refuses itself must not take its neighbours with it. Refusals are rare, so a group first runs without savepoints;
 * if a member throws, the whole group is rolled back and runs again, this time with a savepoint around each.
 *
 * A busy file (another process writes) is tried again later with jitter, never with SQLite's own waiting, which would stop the
 * event loop.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import { steady } from "./steady.ts"
import { closedFault, faultOf, StoreDefect, StoreFault } from "./faults.ts"
import { schemaVersion } from "./schema.ts"
import type { Database, Statement } from "./sqlite.ts"
import { isBusy, resultCode } from "./sqlite.ts"

const maxGroup = 256
const maxGroupBytes = 1_048_576
/** How many commits beyond its length the log may grow before it is trimmed, at most; and what one trimming deletes at most. */
const trimEvery = 256
const trimAtMost = 2_048

/** Thrown by a job to undo what it did; the value is its answer. */
export class Rejected {
  readonly value: unknown
  constructor(value: unknown) {
    this.value = value
  }
}

/** The state of one transaction that its members share. */
export class Tx {
  /** Milliseconds by the Effect clock, read once, so that a group shows one moment. */
  now = 0
  /** Commits of the Kv; the next one gets `++counter`. */
  counter = 0
  /** Messages and dead letters; the next one gets `++seq`. */
  seq = 0
  floor = 0
  /** Whom to wake after COMMIT: 0 for the Kv, else the number of a queue. */
  readonly touched = new Set<number>()
}

export interface Job<A> {
  /** Must survive a power loss once answered; a group with no such member is not synced to the disk. */
  readonly durable: boolean
  readonly bytes: number
  /** Must leave no trace outside the database: it may run twice. */
  readonly run: (tx: Tx) => A
}

interface Pending {
  readonly job: Job<unknown>
  readonly resume: (exit: Exit.Exit<unknown, StoreFault>) => void
  readonly since: number
}

export interface WriterOptions {
  readonly database: Database
  readonly prepare: (sql: string) => Statement
  readonly clock: Clock.Clock
  /** Waiting for another process happens in real time, also when the program runs on a test clock. */
  readonly realClock: Clock.Clock
  readonly lockTimeout: number
  readonly synchronous: "full" | "normal"
  readonly logLength: number
  /** Called after COMMIT. */
  readonly changed: (touched: ReadonlySet<number>) => void
}

export interface Writer {
  readonly write: <A>(job: Job<A>) => Effect.Effect<A, StoreFault>
  /** Runs what is pending, as far as the file is free, and refuses everything from now on. */
  readonly close: () => void
}

export const makeWriter = (options: WriterOptions): Effect.Effect<Writer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const dispatcher = (yield* Scheduler.Scheduler).makeDispatcher()
    const locked = yield* Latch.make(false)
    const group = new Group(options)
    let active = false
    let closed = false

    const tick = () => {
      const busy = group.flush() === "busy"
      if (busy) locked.openUnsafe()
      else if (group.pending.length > 0) dispatcher.scheduleTask(tick, 0)
      else active = false
    }

    const waitForLock = Effect.gen(function* () {
      yield* locked.await
      locked.closeUnsafe()
      let delay = 1
      while (group.pending.length > 0) {
        yield* Effect.sleep(delay * (0.5 + (yield* Random.next)))
        group.expire()
        if (group.flush() !== "busy") break
        delay = Math.min(delay * 2, 25)
      }
      tick()
    }).pipe(Effect.forever, Effect.provideService(Clock.Clock, options.realClock))
    yield* Effect.forkScoped(steady("write retry", waitForLock))

    const write = <A>(job: Job<A>): Effect.Effect<A, StoreFault> =>
      Effect.callback<A, StoreFault>((resume) => {
        if (closed) {
          resume(Effect.fail(closedFault))
          return
        }
        const entry: Pending = {
          job,
          resume: resume as Pending["resume"],
          since: options.realClock.currentTimeMillisUnsafe()
        }
        group.pending.push(entry)
        if (!active) {
          active = true
          dispatcher.scheduleTask(tick, 0)
        }
        return Effect.sync(() => {
          const index = group.pending.indexOf(entry)
          if (index >= 0) group.pending.splice(index, 1)
        })
      })

    const close = () => {
      closed = true
      while (group.pending.length > 0) {
        if (group.flush() === "busy") break
      }
      group.failAll(closedFault)
    }
    return { write, close }
  })

class Group {
  pending: Array<Pending> = []
  readonly #options: WriterOptions
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #rollback: Statement
  readonly #load: Statement
  readonly #store: Statement
  #syncing = true
  #savepoints = false
  readonly #slack: number

  constructor(options: WriterOptions) {
    this.#options = options
    const { prepare } = options
    this.#begin = prepare("BEGIN IMMEDIATE")
    this.#commit = prepare("COMMIT")
    this.#rollback = prepare("ROLLBACK")
    this.#load = prepare("SELECT counter, seq, floor, oldest FROM seams_meta WHERE id = 1")
    this.#store = prepare("UPDATE seams_meta SET counter = ?, seq = ?, floor = ? WHERE id = 1")
    this.#slack = Math.min(trimEvery, Math.ceil(options.logLength / 8))
    this.#sync(options.synchronous === "full")
  }

  /** Fails what has waited for the lock too long. */
  expire(): void {
    const { lockTimeout, realClock } = this.#options
    const oldest = realClock.currentTimeMillisUnsafe() - lockTimeout
    const late = this.pending.filter((entry) => entry.since <= oldest)
    if (late.length === 0) return
    this.pending = this.pending.filter((entry) => entry.since > oldest)
    const fault = new StoreFault("locked", `another process holds the write lock for more than ${lockTimeout} ms`)
    for (const entry of late) entry.resume(Exit.fail(fault))
  }

  failAll(fault: StoreFault): void {
    const all = this.pending
    this.pending = []
    for (const entry of all) entry.resume(Exit.fail(fault))
  }

  /** Runs one group. Never throws. */
  flush(): "done" | "busy" {
    const size = this.#groupSize()
    if (size === 0) return "done"
    let durable = false
    for (let i = 0; i < size && !durable; i++) durable = this.pending[i]!.job.durable
    try {
      this.#sync(durable && this.#options.synchronous === "full")
      this.#begin.run()
    } catch (error) {
      if (isBusy(error)) return "busy"
      const exit = this.#exitOf(error)
      this.#answer(size, () => exit)
      return "done"
    }
    const tx = new Tx()
    const exits = this.#run(tx, size)
    if (exits === "again") return this.flush()
    this.#answer(size, (index) => exits[index]!, tx.touched)
    return "done"
  }

  /** How many of the pending jobs make the next group. */
  #groupSize(): number {
    let bytes = 0
    let size = 0
    while (size < this.pending.length && size < maxGroup) {
      bytes += this.pending[size]!.job.bytes
      if (size > 0 && bytes > maxGroupBytes) break
      size++
    }
    return size
  }

  /** Answers and wakes run the code of others, which may write again or close all: the group is out of `pending` by then. */
  #answer(
    size: number,
    exitOf: (index: number) => Exit.Exit<unknown, StoreFault>,
    touched?: ReadonlySet<number>
  ): void {
    const group = this.pending.splice(0, size)
    if (touched !== undefined) this.#options.changed(touched)
    for (let i = 0; i < group.length; i++) group[i]!.resume(exitOf(i))
  }

  #run(tx: Tx, size: number): "again" | ReadonlyArray<Exit.Exit<unknown, StoreFault>> {
    const { clock } = this.#options
    const savepoints = this.#savepoints
    this.#savepoints = false
    const exits: Array<Exit.Exit<unknown, StoreFault>> = []
    try {
      const meta = this.#load.get() as { counter: number; seq: number; floor: number; oldest: number }
      if (meta.oldest > schemaVersion) return this.#undo(tx, size, newerFault)
      tx.now = clock.currentTimeMillisUnsafe()
      tx.counter = meta.counter
      tx.seq = meta.seq
      tx.floor = meta.floor
      for (let i = 0; i < size; i++) {
        const { job } = this.pending[i]!
        const outcome = savepoints ? this.#guarded(tx, job) : attempt(tx, job)
        if (outcome instanceof StoreFault) return this.#undo(tx, size, outcome)
        if (outcome._tag === "Run") exits.push(Exit.succeed(outcome.value))
        else if (savepoints) exits.push(outcome.exit)
        else if (size === 1) return this.#undo(tx, size, undefined, outcome.exit)
        else {
          this.#savepoints = true
          this.#undo(tx, size, undefined)
          return "again"
        }
      }
      this.#trim(tx)
      if (tx.counter !== meta.counter || tx.seq !== meta.seq || tx.floor !== meta.floor)
        this.#store.run(tx.counter, tx.seq, tx.floor)
    } catch (error) {
      const exit = this.#exitOf(error)
      return this.#undo(tx, size, undefined, exit)
    }
    try {
      this.#commit.run()
    } catch (error) {
      const fault = faultOf(error, this.#options.database)
      return this.#undo(tx, size, new StoreFault("unknown", `COMMIT failed: ${fault?.detail ?? String(error)}`, error))
    }
    return exits
  }

  /** One member inside a savepoint; what it threw is undone alone. */
  #guarded(tx: Tx, job: Job<unknown>): Attempt | StoreFault {
    const { database } = this.#options
    const { counter, seq } = tx
    const touched = new Set(tx.touched)
    database.exec("SAVEPOINT member")
    const outcome = attempt(tx, job)
    if (outcome instanceof StoreFault) return outcome
    if (outcome._tag === "Refused") {
      database.exec("ROLLBACK TO member")
      tx.counter = counter
      tx.seq = seq
      tx.touched.clear()
      for (const topic of touched) tx.touched.add(topic)
    }
    database.exec("RELEASE member")
    return outcome
  }

  #undo(
    tx: Tx,
    size: number,
    fault: StoreFault | undefined,
    exit?: Exit.Exit<unknown, StoreFault>
  ): ReadonlyArray<Exit.Exit<unknown, StoreFault>> {
    try {
      // After some errors SQLite has rolled back by itself.
      if (this.#options.database.isTransaction) this.#rollback.run()
    } catch {
      // The answer below says that it failed; there is nothing more to undo.
    }
    tx.touched.clear()
    const one = exit ?? Exit.fail(fault ?? closedFault)
    return Array.from({ length: size }, () => one)
  }

  #exitOf(error: unknown): Exit.Exit<unknown, StoreFault> {
    const fault = faultOf(error, this.#options.database)
    return fault === undefined ? Exit.die(error) : Exit.fail(fault)
  }

  /** FULL syncs the disk at every commit in WAL mode, NORMAL leaves it to the checkpoints. */
  #sync(on: boolean): void {
    if (this.#syncing === on) return
    this.#options.prepare(on ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL").run()
    this.#syncing = on
  }

  #trim(tx: Tx): void {
    const { logLength } = this.#options
    if (tx.counter - tx.floor < logLength + this.#slack) return
    const floor = Math.min(tx.counter - logLength, tx.floor + trimAtMost)
    this.#options.prepare("DELETE FROM seams_log WHERE n <= ?").run(floor)
    tx.floor = floor
  }
}

type Attempt =
  | { readonly _tag: "Run"; readonly value: unknown }
  | { readonly _tag: "Refused"; readonly exit: Exit.Exit<unknown, StoreFault> }

/** After these the transaction is lost for everybody in it. */
const fatal: ReadonlySet<number> = new Set([5, 6, 7, 8, 10, 11, 13, 14, 26])

const attempt = (tx: Tx, job: Job<unknown>): Attempt | StoreFault => {
  try {
    return { _tag: "Run", value: job.run(tx) }
  } catch (error) {
    if (error instanceof Rejected) return { _tag: "Refused", exit: Exit.succeed(error.value) }
    const code = resultCode(error)
    if (code === undefined) return { _tag: "Refused", exit: Exit.die(new StoreDefect(error)) }
    const fault = new StoreFault("failed", (error as Error).message, error)
    return fatal.has(code) ? fault : { _tag: "Refused", exit: Exit.fail(fault) }
  }
}

const newerFault: StoreFault = new StoreFault(
  "failed",
  "a later version of effect-seams has migrated the file and this one can no longer work with it; upgrade and start again"
)
