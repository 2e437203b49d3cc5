/** Rows of the Kv's functions, to and from what the policy speaks. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Stored, StoredValue } from "../../../kv/driver.ts"
import type { Versionstamp } from "../../../kv/model.ts"

/** Number, id, JSON, bytes, counter, deadline: what readers are given of an entry. */
export type EntryRow = readonly [
  n: bigint,
  cid: string,
  json: string | null,
  bytes: Uint8Array | null,
  counter: bigint | null,
  expires: number | null
]

export const storedOf = (key: Packed, [n, cid, json, bytes, counter, expires]: EntryRow): Stored => ({
  key,
  value: valueOf(json, bytes, counter),
  versionstamp: stampOf(n, cid),
  expiresAt: expires ?? undefined
})

const valueOf = (json: string | null, bytes: Uint8Array | null, counter: bigint | null): StoredValue => {
  if (json !== null) return { _tag: "Json", text: json }
  return bytes === null ? { _tag: "Counter", value: counter! } : { _tag: "Bytes", bytes }
}

export const stampOf = (n: bigint, cid: string): Versionstamp =>
  (n.toString(16).padStart(16, "0") + cid) as Versionstamp

export interface Stamp {
  readonly n: bigint
  readonly cid: string
}

/** What no row has: for a versionstamp that is none of ours. */
const never: Stamp = { n: -1n, cid: "" }

export const stampParts = (versionstamp: string): Stamp =>
  /^[0-7][0-9a-f]{15}[0-9a-f]{20}$/.test(versionstamp)
    ? { n: BigInt(`0x${versionstamp.slice(0, 16)}`), cid: versionstamp.slice(16) }
    : never
