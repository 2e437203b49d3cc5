import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { readConfig } from "../../internal/environment.ts"
import { DenoKvError } from "./errors.ts"
import { closedFault, faultOf, NativeFault, unanswered } from "./faults.ts"
import { makeFetch } from "./fetch.ts"
import { initialised } from "./initial.ts"
import { bumpKey } from "./kv/keys.ts"
import type { NativeEntry, NativeKey, NativeKv, NativeSelector, NativeWrite } from "./native.ts"
import { openNative } from "./open.ts"
import type { ConnectionOptions } from "./options.ts"
import { type Runtime, runtimeOf } from "./runtime.ts"
import { type Target, targetOf } from "./target.ts"
import type { Wake } from "./wake.ts"
import { makeWake } from "./wake.ts"

/**
 * An open store, shared by the drivers of this room. A program only passes it on, to build layers over one connection.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionService {
  /** The path, or the URL of the server without credentials. */
  readonly address: string
  readonly kind: "memory" | "file" | "remote"
  readonly runtime: Runtime
  /** Made when the store was first opened; 16 hexadecimal digits. */
  readonly storeId: string
  /** Identity of the store: equal for every connection of this process to the same store. */
  readonly store: symbol
  /** The open handle. What is written through it is not seen by watches; see {@link NativeKv}. */
  readonly native: NativeKv
  /** Milliseconds by the clock of this process, which rules expiry. */
  readonly now: () => number
  /** The machine's clock, also under a test clock: for waits that spare the machine and decide nothing. */
  readonly realClock: Clock.Clock
  /** How long one call of a remote store may take, in milliseconds; `undefined` for a local one. */
  readonly timeout: number | undefined
  /** One snapshot of at most ten keys. */
  readonly getMany: (keys: ReadonlyArray<NativeKey>) => Effect.Effect<ReadonlyArray<NativeEntry>, NativeFault>
  /** One snapshot of at most 500 entries. */
  readonly list: (
    selector: NativeSelector,
    options: { readonly limit: number; readonly reverse?: boolean | undefined }
  ) => Effect.Effect<ReadonlyArray<NativeEntry>, NativeFault>
  /** The versionstamp of the write; `undefined`: a check did not hold. */
  readonly write: (write: NativeWrite) => Effect.Effect<string | undefined, NativeFault>
  readonly wake: Wake
}

/**
 * The connection of the Deno KV layers as a service, for programs that build Kv and Queue from one connection by hand.
 *
 * @since 0.1.0
 * @category services
 */
export class Connection extends Context.Service<Connection, ConnectionService>()(
  "effect-seams/layers/denokv/Connection"
) {}

/**
 * Opens the store for the life of a scope. Closing the scope ends the calls that are under way within two seconds, closes the handle and
 * leaves nothing behind that keeps the process alive.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnection = (
  options: ConnectionOptions
): Effect.Effect<ConnectionService, DenoKvError, Scope.Scope> =>
  Effect.gen(function* () {
    const target = targetOf(options)
    if (target instanceof DenoKvError) return yield* target
    const clock = yield* Clock.Clock
    const realClock = Clock.Clock.defaultValue()
    const calls = makeCalls(target, realClock)
    let waking: Wake | undefined
    const native = yield* Effect.acquireRelease(
      Effect.provideService(openNative(target, makeFetch(target, calls.signal)), Clock.Clock, realClock),
      (handle) =>
        Effect.andThen(
          calls.close(handle),
          Effect.sync(() => waking?.closed())
        ),
      { interruptible: true }
    )
    const { call } = calls
    const getMany: ConnectionService["getMany"] = (keys) => call(() => native.getMany(keys))
    const storeId = yield* initialised(target, getMany, (write) => call(() => written(native, write)))
    const wake = yield* makeWake({
      kind: target.kind,
      bump: Effect.map(getMany([bumpKey]), ([entry]) => entry?.versionstamp ?? ""),
      // The other form of `@deno/kv` leaves a rejection that nobody can handle when the connection breaks.
      watch: () => native.watch([bumpKey], { raw: true }),
      realClock
    })
    waking = wake
    return {
      address: target.address,
      kind: target.kind,
      runtime: runtimeOf(),
      storeId,
      store: Symbol.for(`effect-seams/layers/denokv/${storeId}`),
      native,
      now: () => clock.currentTimeMillisUnsafe(),
      realClock,
      timeout: target.kind === "remote" ? target.timeout : undefined,
      getMany,
      list: (selector, { limit, reverse }) =>
        call(() => drain(native.list(selector, { limit, batchSize: limit, reverse: reverse === true }), limit)),
      write: (write) =>
        Effect.tap(
          call(() => written(native, write)),
          (versionstamp) =>
            Effect.sync(() => {
              if (write.bump && versionstamp !== undefined) wake.changed(versionstamp)
            })
        ),
      wake
    }
  })

const written = (native: NativeKv, { bump, checks, mutations }: NativeWrite): Promise<string | undefined> => {
  const atomic = native.atomic()
  if (checks.length > 0) atomic.check(...checks)
  for (const mutation of mutations) {
    if (mutation._tag === "Set") atomic.set(mutation.key, mutation.value)
    else atomic.delete(mutation.key)
  }
  if (bump) atomic.sum(bumpKey, 1n)
  return atomic.commit().then((result) => (result.ok ? result.versionstamp : undefined))
}

const drain = (
  entries: AsyncIterator<NativeEntry>,
  limit: number,
  found: Array<NativeEntry> = []
): Promise<ReadonlyArray<NativeEntry>> =>
  entries.next().then((step) => {
    if (step.done === true) return found
    found.push(step.value)
    return found.length >= limit ? found : drain(entries, limit, found)
  })

const cutOff = new NativeFault("unknown", "the layer was closed while it was under way")

/** How long calls that are under way may go on when the scope closes. */
const lastCalls = 2_000

const makeCalls = (target: Target, realClock: Clock.Clock) => {
  const ending = new AbortController()
  const underWay = new Set<Promise<unknown>>()
  let closed = false
  const remote = target.kind === "remote"

  const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, NativeFault> =>
    Effect.suspend(() => {
      if (closed) return Effect.fail(closedFault)
      return Effect.tryPromise({
        try: () => {
          const promise = run()
          underWay.add(promise)
          const over = () => void underWay.delete(promise)
          promise.then(over, over)
          return promise
        },
        // What was under way when the layer was closed may have been carried out.
        catch: (error) => (closed ? cutOff : faultOf(error, remote))
      })
    })

  /** The lock of the file is met at the first write of a transaction: nothing was written then. */
  const unlocked = <A>(run: () => Promise<A>, fault: NativeFault): Effect.Effect<A, NativeFault> =>
    Effect.gen(function* () {
      const start = realClock.currentTimeMillisUnsafe()
      let most = 4
      let last = fault
      while (realClock.currentTimeMillisUnsafe() - start < target.lockTimeout) {
        yield* Effect.sleep(1 + most * (yield* Random.next))
        const result = yield* Effect.result(attempt(run))
        if (result._tag === "Success") return result.success
        last = result.failure
        if (last.kind !== "locked") return yield* Effect.fail(last)
        most = Math.min(most * 1.5, 40)
      }
      return yield* Effect.fail(
        new NativeFault("locked", `other processes lock the file for more than ${target.lockTimeout} ms`, last.cause)
      )
    }).pipe(Effect.provideService(Clock.Clock, realClock))

  const call = <A>(run: () => Promise<A>): Effect.Effect<A, NativeFault> =>
    remote
      ? Effect.timeoutOrElse(attempt(run), {
          duration: target.timeout,
          orElse: () => Effect.fail(unanswered(target.timeout))
        }).pipe(Effect.provideService(Clock.Clock, realClock))
      : Effect.catchIf(
          attempt(run),
          (fault) => fault.kind === "locked",
          (fault) => unlocked(run, fault)
        )

  const close = (handle: NativeKv): Effect.Effect<void> =>
    Effect.suspend(() => {
      closed = true
      if (remote) ending.abort()
      return Effect.promise(() => Promise.allSettled(underWay)).pipe(
        Effect.timeoutOption(lastCalls),
        Effect.andThen(
          // The program may have closed it through the raw handle.
          Effect.ignore(Effect.try({ try: () => handle.close(), catch: () => undefined }))
        ),
        Effect.provideService(Clock.Clock, realClock)
      )
    })

  return { call, close, signal: ending.signal }
}

/**
 * {@link makeConnection} as a layer, for {@link Connection}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (options: ConnectionOptions): Layer.Layer<Connection, DenoKvError> =>
  Layer.effect(Connection, makeConnection(options))

/**
 * {@link layerConnection} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnectionConfig = (
  options: Config.Wrap<ConnectionOptions>
): Layer.Layer<Connection, DenoKvError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerConnection))
