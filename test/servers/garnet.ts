/** A user of a Redis who may do what Microsoft Garnet can do, so that tests show what needs more than that. */
import type { Effect } from "effect"
import type { ServerError } from "./machine.ts"
import { type Target, withRedis } from "./redisAdmin.ts"

/** What Garnet lacks, beside the categories of scripts, functions and streams. */
const lacking: ReadonlyArray<string> = [
  "copy",
  "wait",
  "waitaof",
  "sort",
  "sort_ro",
  "touch",
  "client|tracking",
  "client|trackinginfo",
  "client|caching",
  "client|getredir",
  // An ACL cannot tell the settings apart, so `notify-keyspace-events` takes all the others with it.
  "config|set"
]

export interface GarnetOptions {
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Further commands to refuse, as in an ACL: `getdel`, `client|kill`, `@blocking`. */
  readonly without?: ReadonlyArray<string> | undefined
}

/**
 * Makes the user on a running server, in place of one with the same name, and returns the address with the credentials.
 * Refused: scripts, functions, streams, COPY, WAIT, WAITAOF, SORT, TOUCH, CLIENT TRACKING and CONFIG SET. The user is still
 * there after `kill` and `start`, except on a server in a container.
 */
export const garnetProfile = (target: Target, options?: GarnetOptions): Effect.Effect<string, ServerError> =>
  withRedis(target, async (redis) => {
    const { password = "garnet-secret", username = "garnet", without = [] } = options ?? {}
    // An ACL refuses names that the server does not know: WAITAOF came with Redis 7.2.
    const known = (await redis.call("COMMAND", "INFO", ...lacking)) as ReadonlyArray<unknown>
    const refused = ["@scripting", "@stream", ...lacking.filter((_, index) => known[index] !== null), ...without]
    const rules = ["reset", "on", `>${password}`, "~*", "&*", "+@all", ...refused.map((name) => `-${name}`)]
    await redis.call("ACL", "SETUSER", username, ...rules)
    // Fails without an ACL file, as in a container.
    await redis.call("ACL", "SAVE").catch(() => undefined)
    const url = new URL(target.url)
    url.username = username
    url.password = password
    return url.href
  })
