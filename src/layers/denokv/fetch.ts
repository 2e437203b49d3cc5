/**
 * How `@deno/kv` reaches a server. Requests end with the layer. A token of the data path that the server takes no more is exchanged for
 * a new one, which the package itself does only when the time that was announced for it is over.
 */
import type { Target } from "./target.ts"
import * as Redacted from "effect/Redacted"

interface Init {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
}

export type Fetch = (url: string, init: Init) => Promise<Response>

export const makeFetch = (target: Target, signal: AbortSignal): Fetch => {
  const send = (url: string, init: Init) =>
    globalThis.fetch(url, {
      method: init.method,
      headers: init.headers,
      body: (init.body ?? null) as string | null,
      signal
    })
  /** The newest token of the data path, once one was exchanged here. */
  let renewed: { readonly instead: string; readonly token: string } | undefined
  let renewing: Promise<string | undefined> | undefined

  const exchange = (instead: string): Promise<string | undefined> => {
    renewing ??= send(target.path, {
      method: "POST",
      headers: {
        authorization: `Bearer ${target.accessToken === undefined ? "" : Redacted.value(target.accessToken)}`,
        "content-type": "application/json"
      },
      body: JSON.stringify({ supportedVersions: [1, 2, 3] })
    })
      .then((response) =>
        response.status === 200 ? (response.json() as Promise<{ readonly token?: unknown }>) : { token: undefined }
      )
      .then(
        ({ token }) => {
          renewing = undefined
          if (typeof token !== "string") return undefined
          renewed = { instead, token }
          return token
        },
        (error: unknown) => {
          renewing = undefined
          throw error
        }
      )
    return renewing
  }

  return (url, init) => {
    if (url === target.path) return send(url, init)
    const given = tokenOf(init)
    const current = renewed?.instead === given ? renewed.token : given
    return send(url, current === given ? init : withToken(init, current)).then((response) => {
      if (response.status !== 401 && response.status !== 403) return response
      return exchange(given).then((token) => {
        if (token === undefined || token === current) return response
        // A body that nobody reads keeps its connection.
        response.body?.cancel().catch(() => undefined)
        return send(url, withToken(init, token))
      })
    })
  }
}

const withToken = (init: Init, token: string): Init => ({
  ...init,
  headers: { ...init.headers, authorization: `Bearer ${token}` }
})
const tokenOf = (init: Init): string => (init.headers["authorization"] ?? "").slice("Bearer ".length)
