/** From the staged keys of a commit to the records it writes. */
import { toBytes, type Packed } from "../../../internal/keyCodec.ts"
import { kindOf, payloadOf } from "./envelope.ts"
import { expiryKey, namedExpiryKey, packedKey } from "./keys.ts"
import type { Known } from "./known.ts"
import { encodeLines, type LineOp } from "./lines.ts"
import type { Lookups, Staged } from "./plan.ts"
import type { RedoItem } from "./redo.ts"

const nothing: Uint8Array = new Uint8Array(0)

export const compose = (
  commitId: string,
  staged: ReadonlyMap<Packed, Staged>,
  lookups: Lookups,
  known: Known
): ReadonlyArray<RedoItem> => {
  const items: Array<RedoItem> = []
  const ops: Array<LineOp> = []
  let index = 0
  for (const [key, { deadline, op, value }] of staged) {
    if (op === undefined) continue
    ops.push({ op, key })
    const before = deadlineBefore(key, lookups, known)
    // Whatever the key holds by now is replaced, so that an entry of the index for another time has nothing to do any more.
    const stale = before === undefined || before === deadline ? undefined : namedExpiryKey(before, key)
    if (stale !== undefined) items.push({ _tag: "Remove", key: packedKey(stale) })
    if (value === undefined) {
      items.push({ _tag: "Remove", key })
      continue
    }
    items.push({ _tag: "Entry", key, kind: kindOf(value), payload: payloadOf(value), deadline, index })
    if (deadline !== undefined)
      items.push({
        _tag: "Record",
        key: packedKey(expiryKey(deadline, key, commitId, index)),
        value: namedExpiryKey(deadline, key) === undefined ? toBytes(key) : nothing
      })
    index++
  }
  for (const [part, body] of encodeLines(ops).entries()) items.push({ _tag: "Line", part, body })
  return items
}

const deadlineBefore = (key: Packed, lookups: Lookups, known: Known): number | undefined => {
  const found = lookups.get(key)
  return found?._tag === "Found" ? found.written.deadline : known.get(key)?.deadline
}
