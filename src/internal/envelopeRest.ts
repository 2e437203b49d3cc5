/** What of a message record has no field of its own in a store: rare, and never asked for by a query or a script. As one JSON text. */
import type { Envelope } from "./envelope.ts"

interface Rest {
  readonly v?: number
  readonly schemaVersion?: number | undefined
  readonly timeout?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly meta?: Readonly<Record<string, string>> | undefined
  readonly origin?: string | undefined
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

const isEmpty = (record: Readonly<Record<string, string>>): boolean => {
  for (const _ in record) return false
  return true
}

/**
 * `undefined` for a message without such fields, as most are. `more`: further fields, for a store that has no place for them.
 * `headers`: those that have no place elsewhere.
 */
export const encodeRest = (message: Envelope, more?: object, headers = message.headers): string | undefined => {
  const { extra, meta, origin, schemaVersion, timeout, v } = message
  const plain =
    more === undefined &&
    v === 1 &&
    schemaVersion === undefined &&
    timeout === undefined &&
    origin === undefined &&
    extra === undefined
  if (plain && isEmpty(headers) && isEmpty(meta)) return undefined
  const rest: Rest = {
    ...(v === 1 ? undefined : { v }),
    schemaVersion,
    timeout,
    headers: isEmpty(headers) ? undefined : headers,
    meta: isEmpty(meta) ? undefined : meta,
    origin,
    extra
  }
  return JSON.stringify(more === undefined ? rest : { ...rest, ...more })
}

/** The fields of the record that {@link encodeRest} took in. */
export const restFields = (
  rest: Rest
): Pick<Envelope, "v" | "schemaVersion" | "timeout" | "headers" | "meta" | "origin" | "extra"> => ({
  v: rest.v ?? 1,
  schemaVersion: rest.schemaVersion,
  timeout: rest.timeout,
  headers: rest.headers ?? {},
  meta: rest.meta ?? {},
  origin: rest.origin,
  extra: rest.extra
})

export type { Rest }
