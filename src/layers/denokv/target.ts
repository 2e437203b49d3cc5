/** From options to a place: what kind of store, under which name people see it, and how long things may take. */
import type * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { DenoKvError, InvalidPath, TokenMissing } from "./errors.ts"
import type { ConnectionOptions } from "./options.ts"
import { tokenVariable, variable } from "./runtime.ts"

export interface Target {
  readonly kind: "memory" | "file" | "remote"
  readonly path: string
  /** For people: a URL without credentials and query. */
  readonly address: string
  readonly accessToken: Redacted.Redacted | undefined
  readonly connectTimeout: number
  readonly timeout: number
  readonly lockTimeout: number
}

export const targetOf = (options: ConnectionOptions): Target | DenoKvError => {
  const { path } = options as { readonly path: unknown }
  if (typeof path !== "string") return invalid("path", `it is ${path === null ? "null" : `a ${typeof path}`}; ${forms}`)
  if (path.trim() === "") return invalid("path", `it is empty; ${forms}`)
  const connectTimeout = millis("connectTimeout", options.connectTimeout ?? 5_000)
  if (typeof connectTimeout !== "number") return connectTimeout
  const timeout = millis("timeout", options.timeout ?? 10_000)
  if (typeof timeout !== "number") return timeout
  const lockTimeout = millis("lockTimeout", options.lockTimeout ?? 5_000)
  if (typeof lockTimeout !== "number") return lockTimeout
  const times = { connectTimeout, timeout, lockTimeout }
  if (path === ":memory:")
    return tokenless(options) ?? { kind: "memory", path, address: path, accessToken: undefined, ...times }
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(path)?.[1]?.toLowerCase()
  if (scheme === "http" || scheme === "https") return remote(path, options, times)
  if (scheme !== undefined && path.slice(scheme.length + 1).startsWith("//"))
    return invalid("path", `${scheme}:// is no scheme of a Deno KV store; ${forms}`)
  if (path.includes("\0")) return invalid("path", "it holds a NUL character")
  return tokenless(options) ?? { kind: "file", path, address: path, accessToken: undefined, ...times }
}

const forms = 'give the path of a file, ":memory:", or the http or https URL of a KV Connect server'

const remote = (
  path: string,
  { accessToken }: ConnectionOptions,
  times: Pick<Target, "connectTimeout" | "timeout" | "lockTimeout">
): Target | DenoKvError => {
  let url: URL
  try {
    url = new URL(path)
  } catch {
    return invalid("path", `it is no usable URL; ${forms}`)
  }
  if (url.username !== "" || url.password !== "")
    return invalid("path", `the URL holds credentials; give the access token as "accessToken" or ${tokenVariable}`)
  const address = url.origin + url.pathname
  const given = accessToken === undefined ? variable(tokenVariable) : accessToken
  const token = typeof given === "string" ? Redacted.make(given) : given
  if (token === undefined || Redacted.value(token) === "")
    return new DenoKvError({ reason: new TokenMissing({ address }) })
  if (!/^[\x21-\x7e]+$/.test(Redacted.value(token)))
    return invalid("accessToken", "it holds characters that no HTTP header can carry")
  return { kind: "remote", path, address, accessToken: token, ...times }
}

/** A token for a file is a mistake about where the data goes. */
const tokenless = ({ accessToken }: ConnectionOptions): DenoKvError | undefined =>
  accessToken === undefined
    ? undefined
    : invalid("accessToken", "only a store with an http or https path has one; leave it out, or correct the path")

const invalid = (option: string, detail: string): DenoKvError =>
  new DenoKvError({ reason: new InvalidPath({ option, detail }) })

const millis = (option: string, input: Duration.Input): number | DenoKvError => {
  const found = durationMillis(input)
  return found !== undefined && found > 0 && Number.isFinite(found)
    ? found
    : invalid(option, `${describeInput(input)} is no finite duration above zero`)
}
