/** What the tests of the Redis room share: servers of a file, namespaces, looks from outside, and waiting with a bound. */
import { type ChildProcess, spawn } from "node:child_process"
import * as util from "node:util"
import { afterAll } from "vitest"
import { Cause, Effect, Exit, Schedule, Scope } from "effect"
import type { Redis } from "ioredis"
import type * as Room from "../../../src/layers/redis/index.ts"
import type * as Queue from "../../../src/Queue.ts"
import { type RedisServer, type ServerError, withRedis } from "../../servers/index.ts"
import { machinePace } from "../../../src/testing/pace.ts"

/** Started when a test first asks for it, and ended when all tests of the file have. */
export const once = <A, E>(start: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A> => {
  const scope = Scope.makeUnsafe()
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return Effect.runSync(Effect.cached(Effect.orDie(Scope.provide(start, scope))))
}

/** A namespace that no other test uses. */
export const newNamespace = (): string => `t-${globalThis.crypto.randomUUID().slice(0, 13)}`

export const addressOf = ({ port }: { readonly port: number }): { readonly host: string; readonly port: number } => ({
  host: "127.0.0.1",
  port
})

/** Asks until the answer is yes, for 20 seconds: twice as long as an idle worker or watcher leaves between two looks of its own. */
export const eventually = <E, R>(what: string, question: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  question.pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("10 millis") }),
    Effect.asVoid,
    Effect.timeoutOrElse({
      duration: 20_000 * machinePace,
      orElse: () => Effect.die(new Error(`not in ${20 * machinePace} seconds: ${what}`))
    })
  )

/** Everything a failure may be printed as. */
export const printed = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause) as Error
  const ways = [String(error), error.message, error.stack, JSON.stringify(error), Cause.pretty(cause)]
  return [...ways, util.inspect(error, { depth: 20, showHidden: true }), util.inspect(cause, { depth: 20 })].join("\n")
}

/** The calls of each command since the last `resetStats`. */
export const callsOf = (server: RedisServer): Effect.Effect<Readonly<Record<string, number>>, ServerError> =>
  withRedis(server, async (redis) =>
    Object.fromEntries(
      Array.from((await redis.info("commandstats")).matchAll(/^cmdstat_(.*?):calls=(\d+)/gm), ([, name, calls]) => [
        name,
        Number(calls)
      ])
    )
  )

export const resetStats = (server: RedisServer): Effect.Effect<void, ServerError> =>
  withRedis(server, async (redis) => void (await redis.config("RESETSTAT")))

/** The connections that a client name has at a server. */
export const connectionsOf = (
  server: { readonly url: string; readonly ca?: string | undefined },
  name: string
): Effect.Effect<number, ServerError> =>
  withRedis(
    server,
    async (redis) =>
      ((await redis.client("LIST")) as string).split("\n").filter((line) => line.includes(` name=${name} `)).length
  )

/** All keys that begin with a text, with what they hold: members of a collection, bytes of a string. */
export const sizesOf = async (redis: Redis, begin: string): Promise<Readonly<Record<string, number>>> => {
  const found = new Set<string>()
  // Braces are no special characters of a pattern.
  for await (const keys of redis.scanStream({ match: `${begin}*`, count: 1_000 }))
    for (const key of keys as ReadonlyArray<string>) found.add(key)
  const sizes = await Promise.all(
    Array.from(found).map(async (key) => {
      const type = await redis.type(key)
      const command = { hash: "hlen", zset: "zcard", set: "scard", list: "llen", string: "strlen" }[type]
      // It may have expired since.
      return command === undefined ? [] : [[key.slice(begin.length), Number(await redis.call(command, key))] as const]
    })
  )
  return Object.fromEntries(sizes.flat())
}

export const message = (queue: string, id: string, options?: Partial<Queue.Envelope>): Queue.Envelope => ({
  v: 1,
  id,
  queue,
  name: "",
  payload: "1",
  encoding: "json",
  enqueuedAt: 0,
  priority: 0,
  headers: {},
  meta: {},
  ...options
})

export const percentile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!

export type Options = Room.Options

/**
 * Runs a module of TypeScript in a process of its own, from the root of the project, until the scope closes; completes when it has printed
 * a line. It is killed with SIGKILL, so nothing of it is tidied up.
 */
export const startModule = (code: string): Effect.Effect<{ readonly kill: Effect.Effect<void> }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ChildProcess>((resume) => {
      const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
        stdio: ["ignore", "pipe", "pipe"]
      })
      let errors = ""
      child.stderr.on("data", (data: Buffer) => (errors += data.toString()))
      child.stdout.once("data", () => resume(Effect.succeed(child)))
      child.once("exit", () => resume(Effect.die(new Error(`the child ended: ${errors}`))))
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  ).pipe(
    Effect.map((child) => ({
      kill: Effect.callback<void>((resume) => {
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
    }))
  )
