/**
 * What the Kv contract cases are written with: one fresh corner of the store per case, time that can be moved, and watchers
 * whose events can be waited for.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { makeMessageIds } from "../internal/ids.ts"
import { pack } from "../internal/keyCodec.ts"
import * as Kv from "../Kv.ts"
import { advanceLive, machinePace } from "./pace.ts"

/**
 * What the Kv contract suite needs to know of a backend.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvSuiteOptions<E = never> {
  /** The backend. It is built for every case; a case keeps to keys of its own, so the store behind it may be a shared one. */
  readonly layer: Layer.Layer<Kv.Kv, E>
  /**
   * Which clock rules the store: `"virtual"`, Effect's `TestClock`, or `"live"`, a real one, for servers with a clock of their
   * own.
   */
  readonly clock: "virtual" | "live"
  /**
   * Lets this many milliseconds pass for the store. Default: `TestClock.adjust` when virtual, and a sleep a little longer than
   * asked when live.
   */
  readonly advance?: ((millis: number) => Effect.Effect<void>) | undefined
  /** What the backend declares of itself; what is given here is compared. */
  readonly capabilities?: Partial<Omit<Kv.Capabilities, "durability" | "limits">> | undefined
  /** The backend with `limits: "portable"`, to have the floor enforced exactly. Its cases are left out when there is none. */
  readonly portable?: Layer.Layer<Kv.Kv, E> | undefined
  /**
   * The backend with a change log that certainly has lost its oldest line after this many changes. The cases of slow
   * watchers and of `Compacted` are left out when there is none.
   */
  readonly shortLog?: { readonly layer: Layer.Layer<Kv.Kv, E>; readonly lines: number } | undefined
  /** Two clients of one store, as two processes have them. Cases across clients are left out when there is none. */
  readonly pair?: Effect.Effect<readonly [Kv.Service, Kv.Service], E, Scope.Scope> | undefined
  /** Real milliseconds a case may take. Default: 30,000. */
  readonly timeout?: number | undefined
}

/** What a case works with. */
export interface Case {
  readonly kv: Kv.Service
  readonly virtual: boolean
  /** Begins every key of the case. */
  readonly root: string
  readonly key: (...parts: ReadonlyArray<Kv.KeyPart>) => Kv.Key
  readonly advance: (millis: number) => Effect.Effect<void>
  /** A moment of real time, in which a store may do what it does in the background. */
  readonly pause: Effect.Effect<void>
  /** Runs an effect that waits by the clock, moving a virtual clock along. */
  readonly settle: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export type Body = (c: Case) => Effect.Effect<void, unknown, Kv.Kv | Scope.Scope>

/** Registers cases over a layer. */
export interface Cases {
  (name: string, body: Body): void
}

export const casesOver = <E>(layer: Layer.Layer<Kv.Kv, E>, options: KvSuiteOptions<E>): Cases => {
  const virtual = options.clock === "virtual"
  const live = (millis: number) => (virtual ? TestClock.withLive(Effect.sleep(millis)) : Effect.sleep(millis))
  const advance = options.advance ?? ((millis: number) => (virtual ? TestClock.adjust(millis) : advanceLive(millis)))
  const pause = live(1)
  const settle: Case["settle"] = (effect) =>
    virtual
      ? Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
          while (fiber.pollUnsafe() === undefined) {
            yield* advance(20)
            yield* pause
          }
          return yield* Fiber.join(fiber)
        })
      : effect
  const run = virtual ? it.effect : it.live
  return (name, body) =>
    run(
      name,
      () =>
        Effect.gen(function* () {
          const kv = yield* Kv.Kv
          const root = `case-${(yield* makeMessageIds)(0)}`
          yield* body({ kv, virtual, root, key: (...parts) => [root, ...parts], advance, pause, settle })
        }).pipe(Effect.scoped, Effect.provide(Layer.fresh(layer))),
      (options.timeout ?? 30_000) * machinePace
    )
}

/** The reason's tag of a failed operation, or what came instead. */
export const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.result(effect), (result) => {
    if (Result.isSuccess(result)) return "success"
    const error: unknown = result.failure
    if (error instanceof Kv.KvError) return error.reason._tag
    return error instanceof Kv.Conflict ? "Conflict" : String(error)
  })

/** The error's reason, when it has this tag; else the case fails. */
export const failure = <A, R, Tag extends Kv.KvError["reason"]["_tag"]>(
  tag: Tag,
  effect: Effect.Effect<A, unknown, R>
): Effect.Effect<Extract<Kv.KvError["reason"], { readonly _tag: Tag }>, never, R> =>
  Effect.map(Effect.result(effect), (result) => {
    if (Result.isSuccess(result)) return assert.fail(`expected ${tag}, but it succeeded`)
    const error: unknown = result.failure
    if (!(error instanceof Kv.KvError)) return assert.fail(`expected ${tag}, got ${String(error)}`)
    assert.strictEqual(error.reason._tag, tag)
    return error.reason as Extract<Kv.KvError["reason"], { readonly _tag: Tag }>
  })

/** The indexes of the failed checks; the case fails when there is no Conflict. */
export const conflict = <A, R>(effect: Effect.Effect<A, unknown, R>): Effect.Effect<ReadonlyArray<number>, never, R> =>
  Effect.map(Effect.result(effect), (result) =>
    Result.isFailure(result) && result.failure instanceof Kv.Conflict
      ? result.failure.failed
      : assert.fail(`expected Conflict, got ${String(result)}`)
  )

export const valueOf = (entry: Option.Option<Kv.Entry>): unknown =>
  Option.isSome(entry) ? entry.value.value : "(none)"

export const some = <A>(option: Option.Option<A>): A =>
  Option.isSome(option) ? option.value : assert.fail("expected an entry, got none")

export const keyText = (key: Kv.Key): string => String(pack(key))

/** Sets many entries, a full portable commit at a time. */
export const setAll = (
  kv: Kv.Service,
  entries: ReadonlyArray<readonly [Kv.Key, unknown]>
): Effect.Effect<void, Kv.KvError | Kv.Conflict, Kv.Kv> =>
  Effect.gen(function* () {
    for (let i = 0; i < entries.length; i += 500) {
      yield* Effect.provideService(
        Kv.atomic(entries.slice(i, i + 500).map(([key, value]) => Kv.set(key, value as Kv.Storable))),
        Kv.Kv,
        kv
      )
    }
  })

/** A running watch: what it said so far, and the state that follows from it. */
export interface Watcher<A = unknown> {
  readonly events: ReadonlyArray<Kv.Change<A>>
  readonly tags: () => string
  /** The entries a consumer of the watch believes in, by packed key. */
  readonly state: () => ReadonlyMap<string, Kv.Entry<A>>
  /** Waits, at most ten real seconds, until the events satisfy this. */
  readonly until: (what: string, done: (watcher: Watcher<A>) => boolean) => Effect.Effect<void>
  readonly synced: Effect.Effect<void>
  /** The reason it failed for, `undefined` while it runs. */
  readonly failed: () => unknown
  readonly stop: Effect.Effect<void>
}

const patience = 10_000 * machinePace

export const watching = <A, E, R>(
  { pause }: Case,
  changes: Stream.Stream<Kv.Change<A>, E, R>,
  onEach: (change: Kv.Change<A>) => Effect.Effect<void> = () => Effect.void
): Effect.Effect<Watcher<A>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<Kv.Change<A>> = []
    let error: unknown
    const fiber = yield* changes.pipe(
      Stream.runForEach((change) =>
        Effect.suspend(() => {
          events.push(change)
          return onEach(change)
        })
      ),
      Effect.catch((cause) => Effect.sync(() => void (error = cause))),
      Effect.forkScoped({ startImmediately: true })
    )
    const tags = () => events.map((event) => event._tag).join(" ")
    const watcher: Watcher<A> = {
      events,
      tags,
      state: () => foldChanges(events),
      failed: () => error,
      stop: Fiber.interrupt(fiber),
      synced: Effect.suspend(() => watcher.until("Synced", (w) => w.events.some((event) => event._tag === "Synced"))),
      until: (what, done) =>
        Effect.gen(function* () {
          for (let waited = 0; waited < patience; waited++) {
            if (done(watcher)) return
            if (error !== undefined) return assert.fail(`the watch failed before ${what}: ${String(error)}`)
            yield* pause
          }
          assert.fail(`a watch did not come to ${what} within ${patience} ms; it said: ${tags()}`)
        })
    }
    return watcher
  })

const foldChanges = <A>(events: ReadonlyArray<Kv.Change<A>>): ReadonlyMap<string, Kv.Entry<A>> => {
  const state = new Map<string, Kv.Entry<A>>()
  for (const event of events) {
    if (event._tag === "Reset") state.clear()
    else if (event._tag === "Put") state.set(keyText(event.entry.key), event.entry)
    else if (event._tag === "Delete" || event._tag === "Expire") state.delete(keyText(event.key))
  }
  return state
}

/** The stored entries below a prefix, in the form a watcher's state has. */
export const stored = (kv: Kv.Service, prefix: Kv.Key): Effect.Effect<ReadonlyMap<string, Kv.Entry>, Kv.KvError> =>
  Effect.map(Stream.runCollect(kv.list({ prefix })), (entries) => new Map(entries.map((e) => [keyText(e.key), e])))

/** Waits until a watcher's state is what is stored. */
export const untilEqual = ({ kv, pause }: Case, watcher: Watcher, prefix: Kv.Key): Effect.Effect<void, Kv.KvError> =>
  Effect.gen(function* () {
    const entries = (state: ReadonlyMap<string, Kv.Entry>) =>
      Array.from(state.values(), (e) => [e.key, e.value, e.versionstamp] as const)
    for (let waited = 0; waited < patience; waited++) {
      const there = yield* stored(kv, prefix)
      const seen = watcher.state()
      if (
        there.size === seen.size &&
        Array.from(there).every(([key, entry]) => seen.get(key)?.versionstamp === entry.versionstamp)
      ) {
        return
      }
      if (waited === patience - 1) {
        assert.deepStrictEqual(entries(watcher.state()), entries(yield* stored(kv, prefix)), "the watcher's state")
      }
      yield* pause
    }
  })

/** Versionstamps never go down along one key. */
export const assertOrdered = (events: ReadonlyArray<Kv.Change>): void => {
  const last = new Map<string, string>()
  for (const event of events) {
    if (event._tag === "Reset") last.clear()
    if (event._tag !== "Put" && event._tag !== "Delete" && event._tag !== "Expire") continue
    const [key, stamp] =
      event._tag === "Put"
        ? [keyText(event.entry.key), event.entry.versionstamp]
        : [keyText(event.key), event.versionstamp]
    const before = last.get(key)
    if (before !== undefined) assert.isTrue(stamp >= before, `${event._tag} of one key came out of order`)
    last.set(key, stamp)
  }
}

/** What a watch said, brief enough to compare: `Put a 1`, `Delete a`, `Synced`. */
export const brief = (changes: ReadonlyArray<Kv.Change>): ReadonlyArray<string> =>
  changes.map((change) => {
    if (change._tag === "Put") return `Put ${change.entry.key.slice(1).join(".")} ${JSON.stringify(change.entry.value)}`
    return change._tag === "Delete" || change._tag === "Expire"
      ? `${change._tag} ${change.key.slice(1).join(".")}`
      : change._tag
  })
