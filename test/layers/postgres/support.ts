/** What the tests of the PostgreSQL room share: schemas of their own, connections, and waiting with a bound. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { assert } from "@effect/vitest"
import { Effect, Schedule, type Scope, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import type { Driver, LogLine } from "../../../src/kv/driver.ts"
import { type ConnectionService, makeConnection, type Options } from "../../../src/layers/postgres/index.ts"
import { makeKvDriver } from "../../../src/layers/postgres/kv/driver.ts"
import { serverUrl } from "../../servers/index.ts"
import { machinePace } from "../../../src/testing/pace.ts"

/** A schema that no other test uses. */
export const freshSchema = (): string => `t-${globalThis.crypto.randomUUID().slice(0, 13)}`

export interface Room {
  readonly connection: ConnectionService
  readonly client: PgClient.PgClient
  readonly driver: Driver
  readonly kv: Kv.Service
}

/** A Kv with a connection of its own, as a process has it. */
export const roomOver = (options: Options): Effect.Effect<Room, never, Scope.Scope> =>
  Effect.gen(function* () {
    const connection = yield* Effect.orDie(makeConnection(options))
    const driver = yield* makeKvDriver(connection, options)
    return { connection, client: connection.client, driver, kv: yield* Kv.make(driver) }
  })

/** The same on the server that all tests share. */
export const room = (options: Options): Effect.Effect<Room, never, Scope.Scope> =>
  Effect.flatMap(Effect.orDie(serverUrl("postgres")), (url) => roomOver({ url, ...options }))

let roots = 0
/** The first part of keys that no other case uses. */
export const newRoot = (): string => `root-${roots++}`

export const atomic = (
  kv: Kv.Service,
  steps: Parameters<typeof Kv.atomic>[0]
): Effect.Effect<Kv.Versionstamp, Kv.KvError | Kv.Conflict> =>
  Effect.provideService(Kv.atomic(steps) as Effect.Effect<Kv.Versionstamp, Kv.KvError | Kv.Conflict, Kv.Kv>, Kv.Kv, kv)

export const count = (kv: Kv.Service, key: Kv.Key, n = 1n): ReturnType<typeof atomic> => atomic(kv, [Kv.sum(key, n)])

export const stampAt = (kv: Kv.Service, key: Kv.Key): Effect.Effect<Kv.Versionstamp, unknown> =>
  Effect.map(Effect.flatMap(kv.get(key), Effect.fromOption), (entry) => entry.versionstamp)

export const inTransaction = <A, E, R>(one: Room, effect: Effect.Effect<A, E, R>): Effect.Effect<A, never, R> =>
  Effect.orDie(one.client.withTransaction(effect))

/** Along each key numbers only grow, and no line comes twice. */
export const assertInOrder = (lines: ReadonlyArray<LogLine>): void => {
  const last = new Map<string, string>()
  const all = new Set<string>()
  for (const { key, versionstamp } of lines) {
    assert.isFalse(all.has(key + versionstamp), "a line came twice")
    all.add(key + versionstamp)
    assert.isTrue((last.get(key) ?? "") < versionstamp, "lines of one key came out of order")
    last.set(key, versionstamp)
  }
}

/** Asks until the answer is yes, for 20 seconds. */
export const eventually = <E, R>(what: string, question: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  question.pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("10 millis") }),
    Effect.asVoid,
    Effect.timeoutOrElse({
      duration: 20_000 * machinePace,
      orElse: () => Effect.die(new Error(`not in ${20 * machinePace} seconds: ${what}`))
    })
  )

/** How long an effect took, in milliseconds, and what it gave. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [number, A], E, R> =>
  Effect.clockWith((clock) => {
    const begun = clock.currentTimeMillisUnsafe()
    return Effect.map(effect, (value) => [clock.currentTimeMillisUnsafe() - begun, value] as const)
  })

export const valueAt = (kv: Kv.Service, ...key: Kv.Key): Effect.Effect<unknown, Kv.KvError> =>
  Effect.map(kv.get(key), (entry) => (entry._tag === "Some" ? entry.value.value : undefined))

/** The state that a watch of a prefix tells, by the last part of each key. */
export const stateOf = (
  kv: Kv.Service,
  prefix: ReadonlyArray<Kv.KeyPart>
): Effect.Effect<ReadonlyMap<string, unknown>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const state = new Map<string, unknown>()
    let synced = false
    yield* kv.watchPrefix(prefix).pipe(
      Stream.runForEach((change) =>
        Effect.sync(() => {
          if (change._tag === "Put") state.set(String(change.entry.key.at(-1)), change.entry.value)
          else if (change._tag === "Delete" || change._tag === "Expire") state.delete(String(change.key.at(-1)))
          else if (change._tag === "Reset") state.clear()
          else synced = true
        })
      ),
      Effect.orDie,
      Effect.forkScoped({ startImmediately: true })
    )
    yield* eventually(
      "the watch is synced",
      Effect.sync(() => synced)
    )
    return state
  })

/** All lines behind a place, read to the end in pages of so many lines. */
export const linesAfter = (
  driver: Driver,
  after: Kv.Cursor,
  limit = 256
): Effect.Effect<{ readonly lines: ReadonlyArray<LogLine>; readonly next: Kv.Cursor }, Kv.KvError> =>
  Effect.gen(function* () {
    const lines: Array<LogLine> = []
    let next = after
    while (true) {
      const page = yield* driver.log.read({ after: next, watched: everything, limit })
      if (page._tag === "Trimmed") return yield* Effect.die(new Error(`trimmed: ${page.detail}`))
      lines.push(...page.lines)
      next = page.next
      if (!page.more) return { lines, next }
    }
  })

const everything = { _tag: "Range", range: { start: "", end: "\xff\xff" } } as never
