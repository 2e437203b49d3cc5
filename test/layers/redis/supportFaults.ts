/** What the fault tests of this room are written with. */
import * as Net from "node:net"
import { assert } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Result, Schedule, Schema, type Scope, Stream } from "effect"
import type { Redis as Client } from "ioredis"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { type RedisServer, type ServerError, withRedis } from "../../servers/index.ts"
import { timed, until } from "../../support/faults.ts"

export { timed, until }

export const modes = [
  { mode: "with scripts", scripts: "always" },
  { mode: "without scripts", scripts: "never" }
] as const

let namespaces = 0
/** One that no other test has used. */
export const freshNamespace = (): string => `faults-${process.pid}-${++namespaces}`

export const Jobs = Queue.define("jobs", {
  payload: Schema.Finite,
  retry: { times: 10, schedule: Schedule.spaced("20 millis") }
})

/** Short limits, so that an outage is over within a test. */
export const impatient = { connectTimeout: "1 second", commandTimeout: "1 second", tracing: false } as const

export const kvOver = (options: Redis.Options): Effect.Effect<Kv.Service, Redis.RedisError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(Redis.layerKv({ ...impatient, ...options }))), (context) =>
    Context.get(context, Kv.Kv)
  )

/** Kv and Queue over one connection of their own, to be provided. */
export const roomOver = (options: Redis.Options) => Layer.build(Layer.fresh(Redis.layer({ ...impatient, ...options })))

export const using = (kv: Kv.Service) => Effect.provideService(Kv.Kv, kv)

export const sum = (kv: Kv.Service, key: string, n = 1n) => using(kv)(Kv.sum([key], n))

export const valueAt = (kv: Kv.Service, ...key: [Kv.KeyPart, ...Array<Kv.KeyPart>]) =>
  Effect.map(kv.get(key), (found) => (found._tag === "Some" ? found.value.value : undefined))

/** A connection that was cut comes back by itself. */
export const working = (kv: Kv.Service): Effect.Effect<void> =>
  until("the Kv works again", Effect.as(Effect.andThen(kv.delete(["nothing"]), kv.has(["nothing"])), true))

export const succeeds = <A, E, R>(what: string, limit: number, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(timed(what, limit, effect), ({ result }) =>
    Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.die(new Error(`${what} failed: ${describe(result.failure)}`))
  )

export const describe = (error: unknown): string =>
  error instanceof Kv.KvError || error instanceof Queue.QueueError || error instanceof Redis.RedisError
    ? `${error._tag} ${error.reason._tag}: ${error.message}`
    : String(error)

export interface Reason {
  readonly _tag: string
  readonly message: string
  readonly isRetryable: boolean
}

/** Why something failed that must fail within the limit. */
export const reasonOf = <R>(
  what: string,
  limit: number,
  effect: Effect.Effect<unknown, unknown, R>
): Effect.Effect<Reason, never, R> =>
  Effect.map(timed(what, limit, effect), ({ result }) => {
    assert.isTrue(Result.isFailure(result), `${what} did not fail`)
    return reasonIn((result as Result.Failure<unknown, unknown>).failure)
  })

export const reasonIn = (error: unknown): Reason => {
  if (error instanceof Kv.KvError || error instanceof Queue.QueueError || error instanceof Redis.RedisError) {
    const { isRetryable, message, reason } = error
    return { _tag: reason._tag, message, isRetryable }
  }
  if (error instanceof Kv.Conflict || error instanceof Queue.ClaimLost || error instanceof Queue.AlreadySettled)
    return { _tag: error._tag, message: error.message, isRetryable: false }
  throw new Error(`not an error of this library: ${String(error)}`)
}

/** What this process tells of while the test runs. */
const told = (event: "unhandledRejection" | "warning"): Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const seen: Array<string> = []
        const note = (what: unknown) => void seen.push(String(what))
        process.on(event, note)
        return { note, seen }
      }),
      ({ note }) => Effect.sync(() => process.off(event, note))
    ),
    ({ seen }) => seen
  )

/** Every rejection that nobody handles. */
export const rejections = told("unhandledRejection")
/** Every warning of the runtime. */
export const warnings = told("warning")

/** What a watch of a prefix tells, and the state that follows from it. */
export interface Watcher {
  readonly events: ReadonlyArray<Kv.Change>
  readonly state: ReadonlyMap<string, Kv.Value>
  readonly tags: () => string
  readonly cursor: () => Kv.Cursor
  readonly failure: () => unknown
}

export const watching = (
  kv: Kv.Service,
  prefix: Kv.Key,
  options?: Kv.WatchOptions
): Effect.Effect<Watcher, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<Kv.Change> = []
    let state = new Map<string, Kv.Value>()
    const shown: Array<Map<string, Kv.Value>> = [state]
    let cursor: Kv.Cursor | undefined
    let failure: unknown
    yield* Effect.forkScoped(
      Effect.tapError(
        Stream.runForEach(kv.watchPrefix(prefix, options), (change) =>
          Effect.sync(() => {
            events.push(change)
            if (change._tag === "Put") state.set(nameOf(change.entry.key), change.entry.value as Kv.Value)
            else if (change._tag === "Delete" || change._tag === "Expire") state.delete(nameOf(change.key))
            else if (change._tag === "Reset") shown[0] = state = new Map()
            else cursor = change.cursor
          })
        ),
        (error) => Effect.sync(() => void (failure = error))
      )
    )
    const watcher: Watcher = {
      events,
      get state() {
        return shown[0]!
      },
      tags: () => events.map(({ _tag }) => _tag).join(","),
      cursor: () => cursor!,
      failure: () => failure
    }
    if (options?.since === undefined)
      yield* until("the watch is synced", () => events.some(({ _tag }) => _tag === "Synced"))
    return watcher
  })

export const nameOf = (key: Kv.Key): string => key.slice(1).map(String).join(".")

/** Runs an effect over and over beside the test, until told to stop. */
export const keepDoing = <R>(effect: Effect.Effect<unknown, never, R>) =>
  Effect.suspend(() => {
    let going = true
    return Effect.map(
      Effect.forkScoped(
        Effect.suspend(() => effect).pipe(Effect.repeat({ while: () => going, schedule: Schedule.spaced("1 millis") }))
      ),
      (fiber) =>
        Effect.andThen(
          Effect.sync(() => (going = false)),
          Effect.orDie(Effect.timeout(Fiber.await(fiber), "20 seconds"))
        )
    )
  })

/** What the Kv's keys on the server say of each other: nothing half applied, nothing left over. */
export const inspectKv = (
  server: { readonly url: string },
  namespace: string
): Effect.Effect<
  { readonly commits: number; readonly logged: number; readonly indexed: number; readonly problems: Array<string> },
  ServerError
> =>
  withRedis(server, async (redis: Client) => {
    const tag = `{${namespace}}:`
    const commits = Number((await redis.get(`${tag}v`)) ?? 0)
    const logged = await redis.llen(`${tag}l`)
    const index = await redis.zrangeBuffer(`${tag}i`, "0", "-1")
    const expiries = new Set((await redis.zrangeBuffer(`${tag}x`, "0", "-1")).map((key) => key.toString("latin1")))
    const problems: Array<string> = []
    if (logged !== commits) problems.push(`${commits} commits, ${logged} in the log`)
    const prefixed = (prefix: string) => index.map((member) => Buffer.concat([Buffer.from(tag + prefix), member]))
    if (index.length > 0) {
      const found = await redis.mgetBuffer(...prefixed("k:"), ...prefixed("s:"))
      for (const [i, member] of index.entries()) {
        const name = member.toString("latin1")
        for (const [what, one] of Object.entries({ value: found[i], stamp: found[index.length + i] }))
          if (one === null && !expiries.has(name)) problems.push(`${JSON.stringify(name)} is listed and has no ${what}`)
      }
    }
    const values = await redis.keys(`${tag}k:*`)
    const stamps = await redis.keys(`${tag}s:*`)
    if (values.length !== stamps.length) problems.push(`${values.length} values and ${stamps.length} stamps`)
    if (values.length > index.length) problems.push(`${values.length} values, ${index.length} listed`)
    if ((await redis.exists(`${tag}t`)) !== 0) problems.push("the scratch key was left")
    return { commits, logged, indexed: index.length, problems }
  })

/** How many connections have this name at the server. */
export const connectionsOf = (server: { readonly url: string }, name: string) =>
  withRedis(server, async (redis) => {
    const list = String(await redis.client("LIST"))
    return list.split("\n").filter((line) => line.includes(` name=${name} `)).length
  })

/** A proxy that can let the lines of subscribers die: they stay open, and nothing passes. */
export const lineProxy = (target: number) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Net.Server; readonly lines: Set<Line> }>((resume) => {
      const lines = new Set<Line>()
      const server = Net.createServer({ noDelay: true }, (client) => {
        const upstream = Net.connect({ host: "127.0.0.1", port: target, noDelay: true })
        const line: Line = { client, upstream, subscriber: false, dead: false }
        lines.add(line)
        client.on("data", (bytes) => {
          if (bytes.toString("latin1").toLowerCase().includes("subscribe\r\n")) line.subscriber = true
          if (!line.dead) upstream.write(bytes)
        })
        upstream.on("data", (bytes) => {
          if (!line.dead) client.write(bytes)
        })
        for (const [one, other] of [
          [client, upstream],
          [upstream, client]
        ] as const) {
          one.on("error", () => undefined)
          one.on("close", () => {
            lines.delete(line)
            other.destroy()
          })
        }
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, lines })))
    }),
    ({ lines, server }) =>
      Effect.sync(() => {
        server.close()
        for (const { client } of lines) client.destroy()
      })
  ).pipe(
    Effect.map(({ lines, server }) => ({
      port: (server.address() as Net.AddressInfo).port,
      stallSubscribers: Effect.sync(() => {
        for (const line of lines) if (line.subscriber) line.dead = true
      }),
      /** Those whose line is alive. */
      subscribers: () => Array.from(lines).filter(({ dead, subscriber }) => subscriber && !dead).length
    }))
  )

interface Line {
  readonly client: Net.Socket
  readonly upstream: Net.Socket
  subscriber: boolean
  dead: boolean
}

/** For a server that `loadSlowly` restarts: half a millisecond for each key. */
export const slowLoading = ["--enable-debug-command", "yes", "--key-load-delay", "500"].concat(
  "--loading-process-events-interval-bytes",
  "1024"
)

/** Restarts a server over so much data, read so slowly, that it says LOADING for seconds. */
export const loadSlowly = (server: RedisServer): Effect.Effect<void, ServerError> =>
  Effect.gen(function* () {
    yield* withRedis(server, async (redis) => {
      await redis.call("DEBUG", "POPULATE", "20000")
      await redis.call("BGREWRITEAOF")
    })
    yield* until(
      "the file is rewritten",
      Effect.map(
        withRedis(server, (redis) => redis.info("persistence")),
        (info) => /aof_rewrite_in_progress:0[^]*aof_last_bgrewrite_status:ok/.test(info)
      )
    )
    yield* server.kill
    yield* Effect.forkDetach(Effect.ignore(server.start))
    yield* until(
      "it is loading",
      Effect.map(
        withRedis(server, (redis) => redis.info("persistence")),
        (info) => info.includes("loading:1")
      )
    )
  })
