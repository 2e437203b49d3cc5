/**
 * Access tokens, which a client is configured with, and data tokens, which it gets for one of them and shows with every request.
 *
 * A data token says when it ends and carries a signature made with the access token. So it needs no memory: it holds across restarts of a
 * gateway and at each of several gateways over one store, and is worth nothing any more once its access token is taken off the list.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import * as Redacted from "effect/Redacted"

export interface DataToken {
  readonly token: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface Tokens {
  /** A data token for the access token of an `authorization` header; `undefined` when it is not on the list. */
  readonly issue: (authorization: string | undefined, now: number) => DataToken | undefined
  /** Why the data token of an `authorization` header is refused, `undefined` when it is good. */
  readonly refuse: (authorization: string | undefined, now: number) => string | undefined
  /** All data tokens issued so far are over. */
  readonly expireAll: () => void
}

/** Data tokens whose signature was found good before. */
const remembered = 1_000

export const makeTokens = (
  accessTokens: ReadonlyArray<Redacted.Redacted>,
  databaseId: string,
  lifetime: number
): Tokens => {
  const secrets = accessTokens.map(Redacted.value)
  const digests = secrets.map(digest)
  let generation = 0
  const good = new Set<string>()

  const sign = (secret: string, claims: string) =>
    createHmac("sha256", secret).update(`effect-seams KV Connect ${databaseId} ${claims}`).digest("base64url")

  return {
    issue: (authorization, now) => {
      const given = bearerOf(authorization)
      if (given === undefined) return undefined
      const hash = digest(given)
      // All are looked at, so that the time tells nothing.
      const found = digests.reduce((at, one, i) => (timingSafeEqual(one, hash) ? i : at), -1)
      if (found < 0) return undefined
      const expiresAt = now + lifetime
      const claims = `${generation}.${expiresAt}`
      return { token: `${claims}.${sign(secrets[found]!, claims)}`, expiresAt }
    },
    refuse: (authorization, now) => {
      const given = bearerOf(authorization)
      if (given === undefined) return "There is no data token: send it as `authorization: Bearer <token>`."
      const [made = "", expires = "", signature = ""] = given.split(".")
      if (!good.has(given)) {
        const claims = `${made}.${expires}`
        const hash = digest(signature)
        if (!secrets.some((secret) => timingSafeEqual(digest(sign(secret, claims)), hash)))
          return "The data token is not valid."
        if (good.size >= remembered) good.clear()
        good.add(given)
      }
      const over = Number(made) !== generation || !(Number(expires) > now)
      return over ? "The data token has expired. Do the metadata exchange again." : undefined
    },
    expireAll: () => {
      generation++
    }
  }
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

const bearerOf = (authorization: string | undefined): string | undefined =>
  /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1]
