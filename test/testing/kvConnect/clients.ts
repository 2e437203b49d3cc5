/** A server with clients of it, for the tests. */
import { openKv } from "@deno/kv"
import type { Kv as Client } from "@deno/kv"
import { Data, Effect, Layer, Redacted, type Scope } from "effect"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"

export const accessToken = "a-token-of-the-tests"

export const server = (options?: Partial<KvConnect.Options>) =>
  Layer.orDie(KvConnect.layer({ accessTokens: [Redacted.make(accessToken)], ...options }))

export class ClientError extends Data.TaggedError("ClientError")<{ readonly message: string }> {}

/** What a client answers, or why it does not. */
export const ask = <A>(run: () => Promise<A>): Effect.Effect<A, ClientError> =>
  Effect.tryPromise({ try: run, catch: (error) => new ClientError({ message: String(error) }) })

/** A client of Node, closed with the scope. */
export const nodeClient = (
  url: string,
  options?: Readonly<Record<string, unknown>>
): Effect.Effect<Client, ClientError, Scope.Scope> =>
  Effect.acquireRelease(
    ask(() => openKv(url, { accessToken, ...options })),
    (kv) => Effect.sync(() => kv.close())
  )

/** What Deno's client of the tests needs. */
export const denoOptions = {
  flags: ["--unstable-kv"],
  env: { DENO_KV_ACCESS_TOKEN: accessToken }
} as const
