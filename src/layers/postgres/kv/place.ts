/**
 * Places in the change log. A place is a snapshot of the server: what its transactions had done is read, what others do is not. It also names
 * the last commit it knows, by number and id, so that a store which was set back and grew again is found out, and so that a number of a
 * transaction which a crash gave out twice hides nothing: whatever has a higher number is behind the place.
 *
 * Within a page-wise read of many commits a place also holds the snapshot up to which this read goes, and how far it came.
 */
import type { Cursor } from "../../../kv/model.ts"

export interface Snapshot {
  /** All transactions below have ended. */
  readonly xmin: bigint
  /** None from here on had ended. */
  readonly xmax: bigint
  /** Those between that were under way. */
  readonly running: ReadonlyArray<bigint>
}

export interface Shown {
  readonly snapshot: Snapshot
  /** The highest number it shows; 0 for none. */
  readonly n: bigint
  readonly cid: string
}

export interface Place extends Shown {
  readonly identity: string
  readonly upto: (Shown & { readonly after: bigint }) | undefined
}

/** As `pg_snapshot` writes itself; numbers that fit into the server's. */
const snapshotPattern = /^(\d{1,18}):(\d{1,18}):((?:\d{1,18},)*(?:\d{1,18})?)$/

export const readSnapshot = (text: string): Snapshot | undefined => {
  const parts = snapshotPattern.exec(text)
  if (parts === null) return undefined
  const running = parts[3]!
  return {
    xmin: BigInt(parts[1]!),
    xmax: BigInt(parts[2]!),
    running: running === "" ? [] : running.split(",").map(BigInt)
  }
}

export const isSeen = ({ running, xmax, xmin }: Snapshot, xid: bigint): boolean =>
  xid < xmin || (xid < xmax && !running.includes(xid))

const writeSnapshot = ({ running, xmax, xmin }: Snapshot): string => `${xmin}:${xmax}:${running.join(",")}`

const writeShown = ({ cid, n, snapshot }: Shown): string => `${writeSnapshot(snapshot)}.${n}.${cid}`

export const writePlace = (place: Place): Cursor => {
  const { identity, upto } = place
  const begin = `${identity}.${writeShown(place)}`
  return (upto === undefined ? begin : `${begin}.${writeShown(upto)}.${upto.after}`) as Cursor
}

const readShown = ([snapshot, n, cid]: ReadonlyArray<string>): Shown | undefined => {
  const parsed = readSnapshot(snapshot ?? "")
  return parsed === undefined || !/^\d{1,18}$/.test(n ?? "") || !/^[0-9a-f]{0,20}$/.test(cid ?? "")
    ? undefined
    : { snapshot: parsed, n: BigInt(n!), cid: cid! }
}

/** `undefined`: not one of ours. */
export const readPlace = (cursor: string): Place | undefined => {
  const parts = cursor.split(".")
  const identity = parts[0]!
  if (!/^[0-9a-f]{16}$/.test(identity)) return undefined
  const from = readShown(parts.slice(1, 4))
  if (from === undefined) return undefined
  if (parts.length === 4) return { identity, ...from, upto: undefined }
  const upto = readShown(parts.slice(4, 7))
  return upto === undefined || parts.length !== 8 || !/^\d{1,18}$/.test(parts[7]!)
    ? undefined
    : { identity, ...from, upto: { ...upto, after: BigInt(parts[7]!) } }
}

/** What a list showed: it needs no identity, since it is compared within this process and at once. */
export const writeShowing = (snapshot: string, n: bigint): Cursor => `${snapshot}.${n}.` as Cursor

export const readShowing = (cursor: string): Shown | undefined => readShown(cursor.split("."))
