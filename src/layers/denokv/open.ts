/** Opening a store on each runtime, with every way in which that fails told apart. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import {
  AuthRefused,
  DenoKvError,
  type DenoKvErrorReason,
  FlagMissing,
  OpenFailed,
  PackageMissing,
  PermissionMissing,
  PlatformUnsupported,
  TlsRefused,
  Unreachable,
  WrongServer
} from "./errors.ts"
import { describedWithCause, isTls, isUnsent, messageOf, statusOf } from "./faults.ts"
import type { Fetch } from "./fetch.ts"
import type { NativeKv } from "./native.ts"
import { denoGlobal, runtimeOf, tokenVariable } from "./runtime.ts"
import type { Target } from "./target.ts"

/** Opens the store; a handle that comes after the time is up is closed at once. */
export const openNative = (target: Target, fetch: Fetch): Effect.Effect<NativeKv, DenoKvError> =>
  Effect.suspend(() => {
    const opening = runtimeOf() === "Deno" ? openOnDeno(target) : openWithPackage(target, fetch)
    return opening instanceof DenoKvError
      ? Effect.fail(opening)
      : Effect.flatMap(opening, (open) => bounded(target, open))
  })

const bounded = (target: Target, open: () => Promise<NativeKv>): Effect.Effect<NativeKv, DenoKvError> =>
  Effect.suspend(() => {
    let late = false
    return Effect.tryPromise({
      try: () =>
        open().then((kv) => {
          if (late) kv.close()
          return kv
        }),
      catch: (error) => new DenoKvError({ reason: reasonOf(target, error) })
    }).pipe(
      Effect.onInterrupt(() => Effect.sync(() => void (late = true))),
      Effect.timeoutOrElse({
        duration: target.connectTimeout,
        orElse: () => {
          const detail = `no answer within ${target.connectTimeout} ms`
          const { address } = target
          return Effect.fail(
            new DenoKvError({
              reason:
                target.kind === "remote"
                  ? new Unreachable({ address, detail })
                  : new OpenFailed({ path: address, detail })
            })
          )
        }
      })
    )
  })

type Opening = Effect.Effect<() => Promise<NativeKv>, DenoKvError>

const openOnDeno = (target: Target): Opening | DenoKvError => {
  const deno = denoGlobal()
  const openKv = deno?.openKv
  if (deno === undefined || typeof openKv !== "function") return new DenoKvError({ reason: new FlagMissing({}) })
  const open = () => openKv(target.path) as Promise<NativeKv>
  const { accessToken } = target
  if (accessToken === undefined) return Effect.succeed(open)
  return Effect.succeed(() => {
    // Deno takes the token from the environment and nowhere else. It reads it within the call, before anything else can run.
    const before = deno.env.get(tokenVariable)
    const token = Redacted.value(accessToken)
    if (before === token) return open()
    deno.env.set(tokenVariable, token)
    try {
      return open()
    } finally {
      if (before === undefined) deno.env.delete(tokenVariable)
      else deno.env.set(tokenVariable, before)
    }
  })
}

interface DenoKvPackage {
  readonly openKv: (path: string, options: Readonly<Record<string, unknown>>) => Promise<unknown>
}

const openWithPackage = (target: Target, fetch: Fetch): Opening =>
  Effect.tryPromise({
    try: () => import("@deno/kv") as Promise<DenoKvPackage>,
    catch: (error) =>
      new DenoKvError({
        reason: /ERR_MODULE_NOT_FOUND|Cannot find (?:package|module)/.test(
          `${(error as { readonly code?: string }).code ?? ""} ${messageOf(error)}`
        )
          ? new PackageMissing({ runtime: runtimeOf() })
          : new PlatformUnsupported({ detail: messageOf(error) })
      })
  }).pipe(
    Effect.map(({ openKv }) => () => {
      // Values of ours are bytes. Others are shown as what they are not, whatever the runtime could make of them.
      const codec = {
        encodeV8: () => {
          throw new TypeError("effect-seams writes bytes only")
        },
        decodeV8: () => notBytes
      }
      return openKv(
        target.path,
        target.kind === "remote"
          ? {
              ...codec,
              accessToken: target.accessToken === undefined ? "" : Redacted.value(target.accessToken),
              fetcher: fetch,
              // What is sent again is decided here, with the commit's id at hand.
              maxRetries: 0
            }
          : codec
      ) as Promise<NativeKv>
    })
  )

const notBytes: unique symbol = Symbol("effect-seams/layers/denokv/notBytes")

const reasonOf = (target: Target, error: unknown): DenoKvErrorReason => {
  const { address, kind } = target
  const message = messageOf(error)
  if ((error as { readonly name?: string }).name === "NotCapable" || /run again with the --allow/.test(message)) {
    const detail = message.replace(/^Requires/, "it requires").replace(/, run again with.*$/, "")
    return new PermissionMissing({
      detail,
      flags:
        kind === "remote"
          ? `--allow-net=${new URL(target.path).host} --allow-env=${tokenVariable}`
          : `--allow-read=${target.path} --allow-write=${target.path}`
    })
  }
  if (/No default napi interface/.test(message))
    return new PlatformUnsupported({ detail: describedWithCause(error).replace(/^.*?: /, "") })
  if (kind !== "remote") return new OpenFailed({ path: address, detail: fileDetail(message) })
  const status = statusOf(error)
  if (status === 401 || status === 403) return new AuthRefused({ address })
  if (isTls(error)) return new TlsRefused({ address, detail: "the TLS handshake failed" })
  if (isUnsent(error)) return new Unreachable({ address, detail: unsentDetail(error) })
  if (status !== undefined && status >= 500)
    return new Unreachable({ address, detail: `it answers with status ${status}` })
  if (status !== undefined) return new WrongServer({ address, detail: `it answers with status ${status}` })
  // What the server sent may hold a token, so that it is not shown.
  if (/Bad DatabaseMetadata|content-type|metadata|Unsupported version|http2 error|JSON/i.test(message))
    return new WrongServer({ address, detail: "it does not answer the metadata exchange of KV Connect" })
  return new Unreachable({ address, detail: "the connection broke" })
}

const unsentDetail = (error: unknown): string =>
  /ENOTFOUND|dns error|lookup/.test(describedWithCause(error)) ? "its name is not known" : "nothing listens there"

const fileDetail = (message: string): string => {
  if (/unable to open database file/.test(message))
    return "the file cannot be opened; its folder must exist, and the process must be allowed to read and write both"
  if (/file is not a database/.test(message)) return "it holds something else; give another path"
  if (/readonly|read-only/.test(message)) return "the process may not write it"
  if (/malformed/.test(message)) return "it is damaged; restore a backup"
  return message
}
