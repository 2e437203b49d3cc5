/**
 * Snapshot reads. Single keys, as `get` and `getMany` ask for them, are read together: one snapshot. A range is one consistent read of up to
 * its limit; several ranges in one request are read one after the other.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Key } from "../../internal/keyCodec.ts"
import type { KvError } from "../../kv/KvError.ts"
import type { Entry, Value } from "../../kv/model.ts"
import type { Service as Kv } from "../../kv/service.ts"
import { selectorOf } from "./bounds.ts"
import type { KvEntry, ReadRange, SnapshotRead, SnapshotReadOutput } from "./datapath_pb.ts"
import { KvEntrySchema, ReadRangeOutputSchema, SnapshotReadOutputSchema, SnapshotReadStatus } from "./datapath_pb.ts"
import type { Keyspace, Range } from "./keyspace.ts"
import { maxEntries, maxKey, maxRanges } from "./limits.ts"
import { type Refusal, badRequest } from "./refusal.ts"
import { wireOf } from "./values.ts"
import { shortStamp } from "./versionstamp.ts"

export interface Reading {
  readonly kv: Kv
  readonly keyspace: Keyspace
}

export const wireEntry = (keyspace: Keyspace, entry: Entry): KvEntry => {
  const { data, encoding } = wireOf(entry.value as Value)
  return create(KvEntrySchema, {
    key: keyspace.bytesOf(entry.key),
    value: data,
    encoding,
    versionstamp: shortStamp(entry.versionstamp)
  })
}

/** A range that asks for one key; `further`: and for the next one where that does not exist. */
interface Point {
  readonly key: Key
  readonly further: boolean
}

const pointOf = (keyspace: Keyspace, { end, limit, reverse, start }: ReadRange): Point | undefined => {
  if (limit !== 1 || reverse) return undefined
  const successor = end.length === start.length + 1 && end.at(-1) === 0 && start.every((byte, i) => byte === end[i])
  // @deno/kv reads a key as the first one from it on.
  const further = end.length === 1 && end[0] === 0xff
  if (!successor && !further) return undefined
  const key = keyspace.readable(start)
  return key === undefined ? undefined : { key, further }
}

const invalid = ({ ranges }: SnapshotRead): Refusal | undefined => {
  if (ranges.length > maxRanges)
    return badRequest(`The read asks for ${ranges.length} ranges; at most ${maxRanges} are allowed in one request.`)
  let entries = 0
  for (const { end, limit, start } of ranges) {
    if (limit < 1) return badRequest(`The limit of a range is ${limit}: give a whole number above 0.`)
    const longest = Math.max(start.length, end.length)
    if (longest > maxKey + 1) return badRequest(`A bound of a range has ${longest} bytes; keys have at most ${maxKey}.`)
    entries += limit
  }
  return entries > maxEntries
    ? badRequest(`The read asks for up to ${entries} entries; at most ${maxEntries} are allowed in one request.`)
    : undefined
}

export const snapshotRead = Effect.fnUntraced(function* (
  { keyspace, kv }: Reading,
  request: SnapshotRead
): Effect.fn.Return<SnapshotReadOutput, KvError | Refusal> {
  const refused = invalid(request)
  if (refused !== undefined) return yield* Effect.fail(refused)

  const points = request.ranges.map((range) => pointOf(keyspace, range))
  const keys = points.flatMap((point) => (point === undefined ? [] : [point.key]))
  const found = yield* kv.getMany(keys)
  const asked = new Set<string>(keys.map(keyspace.packedOf))

  let next = 0
  const ranges = yield* Effect.forEach(request.ranges, (range, i) => {
    const point = points[i]
    if (point === undefined) return readRange({ keyspace, kv }, range)
    const entry = found[next++]!
    if (Option.isSome(entry)) return Effect.succeed([entry.value])
    if (!point.further) return Effect.succeed([])
    // This is later than the snapshot, in which the keys that were asked for did not exist: it must not show them.
    return Effect.map(readRange({ keyspace, kv }, range), (entries) =>
      entries.filter(({ key }) => !asked.has(keyspace.packedOf(key)))
    )
  })
  return create(SnapshotReadOutputSchema, {
    ranges: ranges.map((entries) =>
      create(ReadRangeOutputSchema, { values: entries.map((entry) => wireEntry(keyspace, entry)) })
    ),
    readIsStronglyConsistent: true,
    status: SnapshotReadStatus.SR_SUCCESS
  })
})

const readRange = (
  reading: Reading,
  { end, limit, reverse, start }: ReadRange
): Effect.Effect<ReadonlyArray<Entry>, KvError> =>
  Effect.gen(function* () {
    const ranges = reading.keyspace.rangesOf(start, end)
    const entries: Array<Entry> = []
    for (const range of reverse ? ranges.toReversed() : ranges)
      if (entries.length < limit)
        for (const entry of yield* readPart(reading, range, limit - entries.length, reverse)) entries.push(entry)
    return entries
  })

/** One page, as a rule. The keys that selected too much at an edge are made up for by the next. */
const readPart = (
  { keyspace, kv }: Reading,
  range: Range,
  limit: number,
  reverse: boolean
): Effect.Effect<ReadonlyArray<Entry>, KvError> =>
  Effect.gen(function* () {
    const selector = selectorOf(range.start, range.end)
    const entries: Array<Entry> = []
    if (selector === undefined) return entries
    let page = yield* kv.page(selector, { limit, reverse })
    while (true) {
      for (const entry of page.entries) {
        const packed = keyspace.packedOf(entry.key)
        if (packed >= range.start && packed < range.end && entries.length < limit) entries.push(entry)
        // Nothing that follows lies in the range.
        else if (reverse ? packed < range.start : packed >= range.end) return entries
      }
      if (entries.length >= limit || Option.isNone(page.cursor)) return entries
      page = yield* kv.page(selector, { limit, reverse, cursor: page.cursor.value })
    }
  })
