import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Option } from "effect"
import { DatabaseSync } from "node:sqlite"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { applyMigrations } from "../../../src/layers/sqlite/schema.ts"
import type { Database } from "../../../src/layers/sqlite/sqlite.ts"
import type { Job } from "../../../src/layers/sqlite/writer.ts"
import { makeWriter, Rejected } from "../../../src/layers/sqlite/writer.ts"
import { temporaryFile } from "./processes.ts"

/** A writer over a real file, with every transaction statement noted. */
const open = (filename: string) =>
  Effect.gen(function* () {
    const database = new DatabaseSync(filename)
    yield* Effect.addFinalizer(() => Effect.sync(() => database.close()))
    database.exec("PRAGMA journal_mode = WAL")
    if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'seams_meta'").get() === undefined) {
      applyMigrations(database as Database, undefined, "0123456789abcdef")
      database.exec("CREATE TABLE notes (n INTEGER PRIMARY KEY)")
    }
    const noted: Array<string> = []
    const exec = database.exec.bind(database)
    const note = (sql: string) => {
      if (/^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|PRAGMA synchronous)/.test(sql)) noted.push(sql)
    }
    const clock = yield* Clock.Clock
    const writer = yield* makeWriter({
      database: {
        exec: (sql) => {
          note(sql)
          exec(sql)
        },
        prepare: (sql) => database.prepare(sql),
        close: () => database.close(),
        get isTransaction() {
          return database.isTransaction
        }
      },
      prepare: (sql) => {
        const statement = database.prepare(sql)
        return {
          setReturnArrays: (on) => statement.setReturnArrays(on),
          run: (...parameters) => {
            note(sql)
            return statement.run(...parameters)
          },
          get: (...parameters) => statement.get(...parameters),
          all: (...parameters) => statement.all(...parameters)
        }
      },
      clock,
      realClock: Clock.Clock.defaultValue(),
      lockTimeout: 1_000,
      synchronous: "full",
      logLength: 100,
      changed: () => undefined
    })
    const insert = database.prepare("INSERT INTO notes VALUES (?)")
    const noteJob = (n: number, options?: Partial<Job<number>>): Job<number> => ({
      durable: true,
      bytes: 100,
      run: (tx) => {
        insert.run(n)
        return ++tx.counter
      },
      ...options
    })
    const all = (jobs: ReadonlyArray<Job<unknown>>) =>
      Effect.forEach(jobs, (job) => Effect.exit(writer.write(job)), { concurrency: "unbounded" })
    const kept = () =>
      database
        .prepare("SELECT n FROM notes ORDER BY n")
        .all()
        .map((row) => row["n"])
    const counter = () => database.prepare("SELECT counter FROM seams_meta").get()?.["counter"]
    return { writer, noted, noteJob, all, kept, counter, database }
  })

const begins = (noted: ReadonlyArray<string>) => noted.filter((sql) => sql.startsWith("BEGIN")).length

const refusing = (value: string): Job<unknown> => ({
  durable: true,
  bytes: 100,
  run: (tx) => {
    tx.counter++
    throw new Rejected(value)
  }
})

describe("group commit", () => {
  it.live("puts the writes of one tick into one transaction, in order", () =>
    Effect.gen(function* () {
      const { all, counter, kept, noted, noteJob } = yield* open(yield* temporaryFile)
      const exits = yield* all(Array.from({ length: 64 }, (_, i) => noteJob(i)))
      assert.deepStrictEqual(
        exits,
        Array.from({ length: 64 }, (_, i) => Exit.succeed(i + 1))
      )
      assert.deepStrictEqual(noted, ["BEGIN IMMEDIATE", "COMMIT"])
      assert.strictEqual(kept().length, 64)
      assert.strictEqual(counter(), 64)
    })
  )

  it.live("closes a group at 256 members, and at 1 MB", () =>
    Effect.gen(function* () {
      const { all, noted, noteJob } = yield* open(yield* temporaryFile)
      yield* all(Array.from({ length: 300 }, (_, i) => noteJob(i)))
      assert.strictEqual(begins(noted), 2)
      yield* all(Array.from({ length: 10 }, (_, i) => noteJob(1_000 + i, { bytes: 300_000 })))
      assert.strictEqual(begins(noted), 2 + 4, "three of 300 KB each")
      yield* all([noteJob(2_000, { bytes: 5_000_000 })])
      assert.strictEqual(begins(noted), 2 + 4 + 1, "a large one goes alone")
    })
  )

  it.live("rolls back a member that refuses itself, and nobody else", () =>
    Effect.gen(function* () {
      const { all, counter, kept, noted, noteJob } = yield* open(yield* temporaryFile)
      const half: Job<unknown> = {
        ...noteJob(99),
        run: (tx) => {
          noteJob(99).run(tx)
          throw new Rejected("changed its mind")
        }
      }
      const exits = yield* all([noteJob(1), half, noteJob(2), refusing("no"), noteJob(3)])
      assert.deepStrictEqual(exits, [
        Exit.succeed(1),
        Exit.succeed("changed its mind"),
        Exit.succeed(2),
        Exit.succeed("no"),
        Exit.succeed(3)
      ])
      assert.deepStrictEqual(kept(), [1, 2, 3])
      assert.strictEqual(counter(), 3, "numbers of refused members are used by the next")
      assert.strictEqual(noted.filter((sql) => sql.startsWith("SAVEPOINT")).length, 5)
    })
  )

  it.live("spends no savepoint on a lone write, nor on a group in which nobody refuses", () =>
    Effect.gen(function* () {
      const { all, kept, noted, noteJob } = yield* open(yield* temporaryFile)
      yield* all([refusing("alone")])
      yield* all([noteJob(1)])
      yield* all([noteJob(2), noteJob(3)])
      assert.deepStrictEqual(
        noted.filter((sql) => sql.startsWith("SAVEPOINT")),
        []
      )
      assert.deepStrictEqual(kept(), [1, 2, 3])
    })
  )

  it.live("a statement that fails, or a defect, ends its own member only", () =>
    Effect.gen(function* () {
      const { all, kept, noteJob } = yield* open(yield* temporaryFile)
      const defect = new Error("a mistake of ours")
      const broken: Job<unknown> = {
        durable: true,
        bytes: 0,
        run: () => {
          throw defect
        }
      }
      const [first, twice, died, last] = yield* all([noteJob(1), noteJob(1), broken, noteJob(2)])
      assert.isTrue(Exit.isSuccess(first!) && Exit.isSuccess(last!))
      assert.isTrue(Exit.isFailure(twice!) && Cause.hasFails(twice.cause))
      assert.isTrue(Exit.isFailure(died!) && Cause.hasDies(died.cause))
      assert.deepStrictEqual(kept(), [1, 2])
    })
  )

  it.live("syncs the disk only for groups that hold a durable member", () =>
    Effect.gen(function* () {
      const { all, noted, noteJob } = yield* open(yield* temporaryFile)
      const lazy = (n: number) => noteJob(n, { durable: false })
      yield* all([lazy(1)])
      yield* all([lazy(2)])
      yield* all([lazy(3), noteJob(4)])
      assert.deepStrictEqual(
        noted.filter((sql) => sql.startsWith("PRAGMA")),
        ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"]
      )
    })
  )

  it.live("a write that is interrupted while the file is locked is never applied", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const { kept, noteJob, writer } = yield* open(filename)
      const other = new DatabaseSync(filename)
      yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
      other.exec("BEGIN IMMEDIATE")
      const interrupted = yield* Effect.forkChild(writer.write(noteJob(1)), { startImmediately: true })
      const waiting = yield* Effect.forkChild(writer.write(noteJob(2)), { startImmediately: true })
      yield* Effect.sleep("20 millis")
      yield* Fiber.interrupt(interrupted)
      other.exec("COMMIT")
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(kept(), [2])
    })
  )
})

describe("a COMMIT that fails", () => {
  /** The next COMMIT of a write throws an I/O error, before or after it has taken effect. */
  const withFailingCommit = (applied: boolean, use: (arm: () => void) => Effect.Effect<unknown, unknown>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const original = DatabaseSync.prototype.prepare
        let armed = false
        DatabaseSync.prototype.prepare = function (this: DatabaseSync, sql: string) {
          const statement = original.call(this, sql)
          if (sql !== "COMMIT") return statement
          const run = statement.run.bind(statement)
          statement.run = () => {
            if (!armed) return run()
            armed = false
            if (applied) run()
            throw Object.assign(new Error("disk I/O error"), { code: "ERR_SQLITE_ERROR", errcode: 1_034 })
          }
          return statement
        }
        return { original, arm: () => (armed = true) }
      }),
      ({ arm }) => use(() => void arm()),
      ({ original }) =>
        Effect.sync(() => {
          DatabaseSync.prototype.prepare = original
        })
    )

  it.live("is found out: what took effect is reported as committed", () =>
    withFailingCommit(true, (arm) =>
      Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* kv.set(["a"], 0)
        arm()
        const stamp = yield* kv.set(["a"], 1)
        const entry = Option.getOrThrow(yield* kv.get(["a"]))
        assert.strictEqual(entry.value, 1)
        assert.strictEqual(entry.versionstamp, stamp)
      }).pipe(Effect.provide(Sqlite.layerKv({ filename: ":memory:" })))
    )
  )

  it.live("is found out: what did not is an error that says nothing was written", () =>
    withFailingCommit(false, (arm) =>
      Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* kv.set(["a"], 0)
        arm()
        const error = yield* Effect.flip(kv.set(["a"], 1))
        assert.strictEqual(error.reason._tag, "Unavailable")
        assert.match(error.message, /nothing was written/i)
        assert.strictEqual(Option.getOrThrow(yield* kv.get(["a"])).value, 0)
        yield* kv.set(["a"], 2)
      }).pipe(Effect.provide(Sqlite.layerKv({ filename: ":memory:" })))
    )
  )

  it.live("the driver answers absent for an id it never saw, and unknown once the log has dropped lines", () =>
    Effect.gen(function* () {
      const connection = yield* Sqlite.makeConnection({ filename: ":memory:", logLength: 8 })
      const driver = yield* Sqlite.makeKvDriver(connection)
      const commit = (id: string) => driver.commit({ id, checks: [], mutations: [], size: 0 })
      const id = (n: number) => n.toString(16).padStart(20, "0")
      const first = yield* commit(id(1))
      assert.deepStrictEqual(yield* driver.outcome(id(1)), first)
      assert.strictEqual(yield* driver.outcome(id(999)), "absent")
      for (let n = 2; n < 40; n++) yield* commit(id(n))
      assert.strictEqual(yield* driver.outcome(id(1)), "unknown")
      const last = yield* commit(id(40))
      assert.deepStrictEqual(yield* driver.outcome(id(40)), last)
    })
  )
})
