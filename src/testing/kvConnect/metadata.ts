/** The metadata exchange: an access token for a data token, a version both sides know, and where the data is. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { Refusal, badRequest, isRefusal } from "./refusal.ts"
import type { Tokens } from "./tokens.ts"

/** The best first. */
export const versions: ReadonlyArray<number> = [3, 2, 1]

/** What a client is told. It is refused with fields that are not known, so that there are no others. */
export interface Metadata {
  readonly version: number
  readonly databaseId: string
  readonly endpoints: ReadonlyArray<{ readonly url: string; readonly consistency: "strong" }>
  readonly token: string
  /** ISO 8601. */
  readonly expiresAt: string
}

export const exchangeMetadata = (
  request: {
    readonly body: Uint8Array
    readonly authorization: string | undefined
    /** The address that the client used, for version 1, which does not resolve relative ones. */
    readonly base: string
  },
  tokens: Tokens,
  databaseId: string
): Effect.Effect<Metadata, Refusal> =>
  Effect.gen(function* () {
    const version = versionFor(request.body)
    if (isRefusal(version)) return yield* Effect.fail(version)
    const token = tokens.issue(request.authorization, yield* Clock.currentTimeMillis)
    if (token === undefined)
      return yield* Effect.fail(
        new Refusal(
          401,
          "The access token is not valid. Give one that this server knows (DENO_KV_ACCESS_TOKEN, or accessToken of @deno/kv)."
        )
      )
    // Relative, so that it holds behind a proxy and below a path.
    const url = version === 1 ? wholeUrl(request.base) : `v${version}`
    if (url === undefined)
      return yield* Effect.fail(badRequest("The header host names no host, which version 1 of KV Connect needs."))
    return {
      version,
      databaseId,
      endpoints: [{ url, consistency: "strong" }],
      token: token.token,
      expiresAt: DateTime.formatIso(DateTime.makeUnsafe(token.expiresAt))
    }
  })

const wholeUrl = (base: string): string | undefined => (URL.canParse(base) ? new URL("v1", base).href : undefined)

const versionFor = (body: Uint8Array): number | Refusal => {
  // Clients of version 1 send none.
  const supported = body.length === 0 ? [1] : supportedIn(body)
  if (supported === undefined)
    return badRequest('The body is no metadata request: send JSON as in {"supportedVersions":[1,2,3]}.')
  return (
    versions.find((version) => supported.includes(version)) ??
    badRequest(
      `The client knows versions ${supported.join(", ")} of KV Connect; this server knows ${versions.toReversed().join(", ")}.`
    )
  )
}

const supportedIn = (body: Uint8Array): ReadonlyArray<unknown> | undefined => {
  try {
    const { supportedVersions } = JSON.parse(Buffer.from(body).toString("utf8")) as { supportedVersions?: unknown }
    return Array.isArray(supportedVersions) && supportedVersions.every(Number.isInteger) ? supportedVersions : undefined
  } catch {
    return undefined
  }
}
