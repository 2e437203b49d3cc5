/**
 * Versionstamps as the protocol has them: ten bytes that grow along a key.
 *
 * Ours are a position in 16 hex digits and the id of the commit in 20. The position alone would do while a store lives, as every driver
 * gives each commit one of its own. It repeats when a store goes back in time: a failover to a Redis replica that lagged behind, a restored
 * backup, unlogged tables after a crash. So the ten bytes hold both: the position in six bytes, which is enough for 89 years of a hundred thousand
 * commits a second, and the id folded into four. Ids are random digits of the process and a count; folded by XOR they differ for certain within one
 * process, and but for one chance in four thousand million between two.
 *
 * A check is exact all the same: what the ten bytes match is compared as a whole by the commit.
 */
import { createHash } from "node:crypto"
import type { Versionstamp } from "../../kv/model.ts"

export const stampSize = 10

const ours = /^[0-9a-f]{36}$/

export const shortStamp = (versionstamp: Versionstamp): Uint8Array => {
  // A driver of somebody else with stamps of another form: no order, still no collisions.
  if (!ours.test(versionstamp)) return createHash("sha256").update(versionstamp).digest().subarray(0, stampSize)
  const bytes = new Uint8Array(stampSize)
  for (let i = 0; i < 6; i++) bytes[i] = byteAt(versionstamp, 4 + 2 * i)
  for (let i = 0; i < 4; i++) bytes[6 + i] = byteAt(versionstamp, 16 + 2 * i) ^ byteAt(versionstamp, 28 + 2 * i)
  return bytes
}

const byteAt = (hex: string, at: number): number => Number.parseInt(hex.slice(at, at + 2), 16)

export const isShortOf = (stamp: Uint8Array, versionstamp: Versionstamp): boolean => {
  const short = shortStamp(versionstamp)
  return stamp.length === stampSize && short.every((byte, i) => byte === stamp[i])
}
