/** Commands to a Redis from a test: one short connection each, which never comes back by itself and is closed at the end. */
import * as Fs from "node:fs"
import { Effect, Schedule } from "effect"
import { Redis } from "ioredis"
import { ServerError } from "./machine.ts"

/** Where to connect; every `Server` of Redis is one. */
export interface Target {
  readonly url: string
  /** The file of the certificate to trust, when the address begins with `rediss:`. */
  readonly ca?: string | undefined
}

interface Connection {
  readonly redis: Redis
  /** Why it was closed, if that was told; commands only say that it is. */
  readonly reason: () => Error | undefined
}

const open = ({ ca, url }: Target): Connection => {
  let reason: Error | undefined
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    connectTimeout: 5000,
    commandTimeout: 20_000,
    ...(ca === undefined ? {} : { tls: { ca: Fs.readFileSync(ca) } })
  })
  redis.on("error", (error) => (reason = error))
  return { redis, reason: () => reason }
}

/** A test's own assertion inside `use` is no matter of the server's, and is reported as it is. */
const failWith = (cause: unknown, reason: Error | undefined): Effect.Effect<never, ServerError> => {
  if (!(cause instanceof Error)) return Effect.fail(new ServerError({ kind: "redis", message: String(cause) }))
  if (cause.name === "AssertionError") return Effect.die(cause)
  const { message } = cause.message === "Connection is closed." ? (reason ?? cause) : cause
  return Effect.fail(new ServerError({ kind: "redis", message }))
}

/** Uses a connection of its own to a Redis, or a sentinel. Fails when it cannot connect or a command is refused. */
export const withRedis = <A>(target: Target, use: (redis: Redis) => Promise<A>): Effect.Effect<A, ServerError> =>
  Effect.acquireUseRelease(
    Effect.sync(() => open(target)),
    ({ reason, redis }) =>
      Effect.promise(async () => {
        await redis.connect()
        return await use(redis)
      }).pipe(Effect.catchDefect((cause) => failWith(cause, reason()))),
    ({ redis }) => Effect.sync(() => redis.disconnect())
  )

/** The lines `name:value` of INFO, of one section or all of them, or of CLUSTER INFO. */
export const parseInfo = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text.split(/\r?\n/).flatMap((line) => {
      const at = line.indexOf(":")
      return line.startsWith("#") || at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const]
    })
  )

/** Asks until the answer is yes. A question that fails is one to ask again; after 30 seconds its failure is the reason. */
export const until = (what: string, question: Effect.Effect<boolean, ServerError>): Effect.Effect<void, ServerError> =>
  Effect.suspend(() => {
    let last = "the answer was no"
    return question.pipe(
      Effect.catch((error) =>
        Effect.sync(() => {
          last = error.message
          return false
        })
      ),
      Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("50 millis") }),
      Effect.asVoid,
      Effect.timeoutOrElse({
        duration: "30 seconds",
        orElse: () =>
          Effect.fail(new ServerError({ kind: "redis", message: `not within 30 seconds: ${what} (${last})` }))
      })
    )
  })
