import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import type { SqliteError } from "./errors.ts"
import { faultOf, StoreFault } from "./faults.ts"
import type { Options } from "./options.ts"
import { defaultFilename } from "./options.ts"
import { openDatabase } from "./open.ts"
import type { Database, Statement } from "./sqlite.ts"
import { isBusy } from "./sqlite.ts"
import type { Wake } from "./wake.ts"
import { makeWake } from "./wake.ts"
import type { Job } from "./writer.ts"
import { makeWriter } from "./writer.ts"

/**
 * An open file with its prepared statements, its group commit and its wake-up. The drivers of this room work on it; a program
 * only passes it on, to share one file between layers.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionService {
  /** The absolute path, or `":memory:"`. */
  readonly filename: string
  /** Made when the file was created; 16 hexadecimal digits. */
  readonly storeId: string
  /** Identity of the store: equal for every connection of this process to the same file. */
  readonly store: symbol
  readonly shared: boolean
  readonly synchronous: "full" | "normal"
  readonly logAge: number
  readonly limits: "natural" | "portable"
  /** Milliseconds by the clock that rules expiry, due times and leases. */
  readonly now: () => number
  /** Waits by the same clock. */
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** The machine's clock, also under a test clock: for waits that spare the machine and decide nothing. */
  readonly realClock: Clock.Clock
  /** A prepared statement, made once per text. */
  readonly prepare: (sql: string) => Statement
  /** Runs synchronous reads; `snapshot` makes several statements see one state. */
  readonly read: <A>(f: () => A, options?: { readonly snapshot?: boolean | undefined }) => Effect.Effect<A, StoreFault>
  readonly write: <A>(job: Job<A>) => Effect.Effect<A, StoreFault>
  /** Is the open file still the one at its path? An open file that was deleted takes writes, and they are gone with it. */
  readonly inPlace: Effect.Effect<void, StoreFault>
  readonly wake: Wake
}

/**
 * The connection of the SQLite layers as a service, for programs that build Kv and Queue from one connection by hand.
 *
 * @since 0.1.0
 * @category services
 */
export class Connection extends Context.Service<Connection, ConnectionService>()(
  "effect-seams/layers/sqlite/Connection"
) {}

/**
 * Opens the file for the life of a scope. Closing the scope finishes the writes that were accepted, closes the file and leaves
 * no handle behind. Dies with a `RangeError` when `lockTimeout` or `logLength` is not a number above zero.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnection = (options?: Options): Effect.Effect<ConnectionService, SqliteError, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const realClock = Clock.Clock.defaultValue()
    const lockTimeout = yield* checked("lockTimeout", yield* millis("lockTimeout", options?.lockTimeout ?? 5_000))
    const logLength = yield* checked("logLength", options?.logLength ?? 100_000)
    const logAge = yield* millis("logAge", options?.logAge ?? "Infinity")
    const synchronous = yield* oneOf("synchronous", options?.synchronous ?? "full", ["full", "normal"])
    const limits = yield* oneOf("limits", options?.limits ?? "natural", ["natural", "portable"])
    const given = options?.filename ?? defaultFilename
    const memory = given === ":memory:"
    const filename = memory ? given : fileAt(given)

    let owned: Database | undefined
    let waking: Wake | undefined
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        owned?.close()
        waking?.closed()
      })
    )
    const { database, storeId } = yield* openDatabase({
      filename,
      memory,
      isDefault: given === defaultFilename,
      lockTimeout,
      realClock,
      own: (opened) => {
        owned = opened
      }
    })

    const prepare = statements(database)
    const wake = yield* makeWake({
      file: memory ? undefined : filename,
      dataVersion: dataVersionOf(prepare),
      realClock
    })
    waking = wake
    const writer = yield* makeWriter({
      database,
      prepare,
      clock,
      realClock,
      lockTimeout,
      synchronous,
      logLength,
      changed: wake.changed
    })
    yield* Effect.addFinalizer(() => Effect.sync(writer.close))

    return {
      filename,
      storeId,
      store: memory
        ? Symbol(storeId)
        : Symbol.for(`effect-seams/layers/sqlite/${fs.realpathSync(filename)}/${storeId}`),
      shared: !memory,
      synchronous,
      logAge,
      limits,
      now: () => clock.currentTimeMillisUnsafe(),
      realClock,
      sleep: (millis) => clock.sleep(Duration.millis(millis)),
      prepare,
      read: reader(database, prepare, lockTimeout, realClock),
      write: writer.write,
      inPlace: memory ? Effect.void : stillAt(filename),
      wake
    }
  })

/** An unusable option is a mistake of the program, not of the file. */
const millis = (name: string, input: Duration.Input): Effect.Effect<number> => {
  const found = durationMillis(input)
  return found === undefined
    ? Effect.die(new RangeError(`${name} of the SQLite layer is ${describeInput(input)}: give a duration from zero`))
    : Effect.succeed(found)
}

const oneOf = <A extends string>(name: string, given: A, known: ReadonlyArray<A>): Effect.Effect<A> =>
  known.includes(given)
    ? Effect.succeed(given)
    : Effect.die(
        new RangeError(`${name} of the SQLite layer is ${JSON.stringify(given)}: give one of ${known.join(", ")}`)
      )

const checked = (name: string, value: number): Effect.Effect<number> =>
  Number.isFinite(value) && value > 0
    ? Effect.succeed(Math.ceil(value))
    : Effect.die(new RangeError(`${name} of the SQLite layer is ${value}: give a finite number above zero`))

/**
 * {@link makeConnection} as a layer, for {@link Connection}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (options?: Options): Layer.Layer<Connection, SqliteError> =>
  Layer.effect(Connection, makeConnection(options))

/** A folder stands for a file of the usual name in it. */
const fileAt = (given: string): string => {
  const resolved = path.resolve(given)
  const folder = /[/\\]$/.test(given) || fs.statSync(resolved, { throwIfNoEntry: false })?.isDirectory() === true
  return folder ? path.join(resolved, path.basename(defaultFilename)) : resolved
}

const stillAt = (filename: string): Effect.Effect<void, StoreFault> => {
  const identity = () => {
    const found = fs.statSync(filename, { bigint: true, throwIfNoEntry: false })
    return found === undefined ? undefined : `${found.dev}:${found.ino}`
  }
  const opened = identity()
  const gone = new StoreFault(
    "moved",
    `${filename} was deleted, moved or replaced while it was open: what is written now is lost with it; close the layer and open it again`
  )
  return Effect.suspend(() => (identity() === opened ? Effect.void : Effect.fail(gone)))
}

const statements = (database: Database): ((sql: string) => Statement) => {
  const cache = new Map<string, Statement>()
  return (sql) => {
    let statement = cache.get(sql)
    if (statement === undefined) {
      statement = database.prepare(sql)
      cache.set(sql, statement)
    }
    return statement
  }
}

const dataVersionOf = (prepare: (sql: string) => Statement) => {
  const statement = prepare("PRAGMA data_version")
  return () => (statement.get() as { readonly data_version: number }).data_version
}

const busy: unique symbol = Symbol("effect-seams/layers/sqlite/busy")

const reader = (
  database: Database,
  prepare: (sql: string) => Statement,
  lockTimeout: number,
  realClock: Clock.Clock
): ConnectionService["read"] => {
  const begin = prepare("BEGIN")
  const commit = prepare("COMMIT")
  const inSnapshot = <A>(f: () => A): A => {
    begin.run()
    try {
      return f()
    } finally {
      if (database.isTransaction) commit.run()
    }
  }
  const failure = (error: unknown): Effect.Effect<never, StoreFault> => {
    const fault = faultOf(error, database)
    return fault === undefined ? Effect.die(error) : Effect.fail(fault)
  }
  const attempt = <A>(f: () => A, snapshot: boolean): Effect.Effect<A, StoreFault> | typeof busy => {
    try {
      return Effect.succeed(snapshot ? inSnapshot(f) : f())
    } catch (error) {
      return isBusy(error) ? busy : failure(error)
    }
  }
  // Readers meet a lock only while somebody recovers, switches or removes the write-ahead log.
  const retry = <A>(f: () => A, snapshot: boolean): Effect.Effect<A, StoreFault> =>
    Effect.gen(function* () {
      const start = realClock.currentTimeMillisUnsafe()
      while (realClock.currentTimeMillisUnsafe() - start < lockTimeout) {
        yield* Effect.sleep(1 + 9 * (yield* Random.next))
        const answer = attempt(f, snapshot)
        if (answer !== busy) return yield* answer
      }
      return yield* Effect.fail(
        new StoreFault("locked", `another process locks the file for more than ${lockTimeout} ms`)
      )
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  return (f, options) =>
    Effect.suspend(() => {
      const snapshot = options?.snapshot === true
      const answer = attempt(f, snapshot)
      return answer === busy ? retry(f, snapshot) : answer
    })
}
