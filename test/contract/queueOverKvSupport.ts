/** Kvs for the tests of the queue over a Kv: slow, failing and counted ones, each as one of several processes sees its store. */
import { Effect, type Scope } from "effect"
import * as Kv from "../../src/Kv.ts"
import { makeKvDriver } from "../../src/layers/memory/index.ts"

/** Numbers from 0 to 1 that are the same for the same seed. */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export const unavailable = (operation: string) =>
  new Kv.KvError({ reason: new Kv.Unavailable({ backend: "test", operation, detail: "the test says so" }) })

export const commitUnknown = (commitId: string) =>
  new Kv.KvError({ reason: new Kv.CommitUnknown({ backend: "test", commitId, detail: "the answer was lost" }) })

export interface Storm {
  readonly random: () => number
  /** Milliseconds that a call takes at most, on its way there and back. */
  readonly latency: number
  /** How many of 1,000 calls find the store unreachable. */
  readonly failures: number
  /** How many of 1,000 commits are applied, or not, without an answer, and are never found out about. */
  readonly unknowns: number
}

/** A driver behind a network. */
export const stormy = (driver: Kv.Driver, { failures, latency, random, unknowns }: Storm): Kv.Driver => {
  const way = Effect.suspend(() => {
    const millis = Math.floor(random() * (latency + 1))
    return millis === 0 ? Effect.void : Effect.sleep(millis)
  })
  const call = <A>(operation: string, effect: Effect.Effect<A, Kv.KvError>): Effect.Effect<A, Kv.KvError> =>
    Effect.gen(function* () {
      yield* way
      if (random() * 1_000 < failures) return yield* unavailable(operation)
      const answer = yield* effect
      yield* way
      return answer
    })
  return {
    ...driver,
    now: call("now", driver.now),
    getMany: (keys) => call("getMany", driver.getMany(keys)),
    list: (range, options) => call("list", driver.list(range, options)),
    commit: (commit) =>
      Effect.suspend(() => {
        const lot = random() * 1_000
        if (lot < unknowns / 2) return Effect.andThen(way, commitUnknown(commit.id))
        const sent = call("commit", driver.commit(commit))
        return lot < unknowns ? Effect.andThen(sent, commitUnknown(commit.id)) : sent
      }),
    outcome: (id) =>
      // What the storm has lost stays lost.
      Effect.map(driver.outcome(id), (): "unknown" => "unknown")
  }
}

/** What happens once around the next call of a driver: what another process does in between, or a failure. */
export interface Hooks {
  beforeCommit?: Effect.Effect<unknown, Kv.KvError> | undefined
  afterCommit?: Effect.Effect<unknown, Kv.KvError> | undefined
  afterList?: ((found: number) => Effect.Effect<unknown, Kv.KvError> | undefined) | undefined
}

export const hooked = (driver: Kv.Driver, hooks: Hooks): Kv.Driver => {
  const once = (name: "beforeCommit" | "afterCommit") =>
    Effect.suspend(() => {
      const hook = hooks[name] ?? Effect.void
      hooks[name] = undefined
      return hook
    })
  return {
    ...driver,
    commit: (commit) =>
      Effect.andThen(
        once("beforeCommit"),
        Effect.tap(driver.commit(commit), () => once("afterCommit"))
      ),
    list: (range, options) =>
      Effect.tap(driver.list(range, options), ({ entries }) => {
        const hook = hooks.afterList?.(entries.length)
        if (hook === undefined) return Effect.void
        hooks.afterList = undefined
        return hook
      })
  }
}

export interface Counted {
  readonly kv: Kv.Service
  readonly counts: { commits: number; conflicts: number; reads: number; pages: number; clocks: number }
}

/** A Kv that counts the calls of its driver. */
export const counted = (driver: Kv.Driver): Effect.Effect<Counted, never, Scope.Scope> => {
  const counts = { commits: 0, conflicts: 0, reads: 0, pages: 0, clocks: 0 }
  const also = <A, E>(effect: Effect.Effect<A, E>, count: () => void) =>
    Effect.suspend(() => {
      count()
      return effect
    })
  return Effect.map(
    Kv.make({
      ...driver,
      now: also(driver.now, () => counts.clocks++),
      getMany: (keys) => also(driver.getMany(keys), () => counts.reads++),
      list: (range, options) => also(driver.list(range, options), () => counts.pages++),
      commit: (commit) =>
        Effect.tap(
          also(driver.commit(commit), () => counts.commits++),
          (outcome) => Effect.sync(() => void (outcome._tag === "Conflict" && counts.conflicts++))
        )
    }),
    (kv) => ({ kv, counts })
  )
}

export const memoryDriver = makeKvDriver({ limits: "portable" })

/** What a queue has left in its Kv: how many entries of each kind. */
export const leftovers = (kv: Kv.Service, queue: string) =>
  Effect.gen(function* () {
    const kinds = new Map<string, number>()
    let cursor: Kv.PageCursor | undefined
    do {
      const page: Kv.Page = yield* kv.page({ prefix: ["~effect-seams/queue", queue] }, { limit: 500, cursor })
      for (const { key } of page.entries) kinds.set(String(key[2]), (kinds.get(String(key[2])) ?? 0) + 1)
      cursor = page.cursor._tag === "Some" ? page.cursor.value : undefined
    } while (cursor !== undefined)
    return Object.fromEntries(kinds)
  })
