/**
 * Keys, selectors, pages and list streams.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Packed } from "../internal/keyCodec.ts"
import { isKeyProblem, maxPackedSize, pack, packPrefix, prefixRange } from "../internal/keyCodec.ts"
import type { Driver, Range } from "./driver.ts"
import { InvalidKey, KvError, TooLarge } from "./KvError.ts"
import type { Entry, Key, KeyPart, ListOptions, Page, PageCursor, Selector } from "./model.ts"
import { decodeEntry, formatKey, utf8Length } from "./value.ts"

const streamPageSize = 256
const defaultPageLimit = 100

export interface Reading {
  /** The driver's `list`, bounded in time and measured. */
  readonly list: Driver["list"]
}

const invalid = (key: ReadonlyArray<KeyPart>, detail: string): KvError =>
  new KvError({
    reason: new InvalidKey({
      key: Array.isArray(key) ? formatKey(key) : String(key),
      detail: detail.replace(/\.$/, "")
    })
  })
const invalidOption = (what: "cursor" | "limit", given: unknown, detail: string): KvError =>
  new KvError({ reason: new InvalidKey({ what, key: JSON.stringify(given) ?? String(given), detail }) })

const notAnArray = 'a key is an array of parts, as in ["users", "alice"]'

export const packKey = (key: Key): Packed | KvError => {
  if (!Array.isArray(key)) return invalid(key, notAnArray)
  const packed = pack(key)
  if (!isKeyProblem(packed)) return packed
  return packed.tooLong
    ? new KvError({
        reason: new TooLarge({ what: "key", key: formatKey(key), actual: sizeAtLeast(key), limit: maxPackedSize })
      })
    : invalid(key, packed.detail)
}

/** Without the escapes of NUL bytes. */
const sizeAtLeast = (key: Key): number =>
  key.reduce<number>(
    (sum, part) =>
      sum + (typeof part === "string" ? utf8Length(part) + 2 : part instanceof Uint8Array ? part.length + 2 : 9),
    0
  )

/** The range of packed keys a selector means. */
export const rangeOf = (selector: Selector): Range | KvError => {
  if (selector.prefix === undefined) {
    const start = packKey(selector.start)
    if (typeof start !== "string") return start
    const end = packKey(selector.end)
    if (typeof end !== "string") return end
    return { start, end }
  }
  if (!Array.isArray(selector.prefix)) return invalid(selector.prefix, notAnArray)
  const prefix = packPrefix(selector.prefix)
  if (isKeyProblem(prefix)) return invalid(selector.prefix, prefix.detail)
  const whole = prefixRange(prefix)
  let { start, end } = whole
  if (selector.start !== undefined) {
    const bound = packKey(selector.start)
    if (typeof bound !== "string") return bound
    if (bound < whole.start || bound >= whole.end) return outside("start", selector.start, selector.prefix)
    start = bound
  }
  if (selector.end !== undefined) {
    const bound = packKey(selector.end)
    if (typeof bound !== "string") return bound
    if (bound < whole.start || bound >= whole.end) return outside("end", selector.end, selector.prefix)
    end = bound
  }
  return { start, end }
}

const outside = (name: string, bound: Key, prefix: ReadonlyArray<KeyPart>): KvError =>
  invalid(
    bound,
    `as "${name}" it lies outside the prefix ${formatKey(prefix)}; bounds beside a prefix are whole keys that begin with it`
  )

/** The smallest packed key behind this one. */
export const successor = (key: Packed): Packed => `${key}\u0000` as Packed

const encodeCursor = (key: Packed, reverse: boolean): PageCursor => {
  let hex = reverse ? "r" : "f"
  for (let i = 0; i < key.length; i++) hex += key.charCodeAt(i).toString(16).padStart(2, "0")
  return hex as PageCursor
}

const decodeCursor = (cursor: PageCursor, reverse: boolean): Packed | KvError => {
  if (typeof cursor !== "string" || !/^[rf]([0-9a-f]{2})+$/.test(cursor))
    return invalidOption("cursor", cursor, "it was not made by page")
  if ((cursor[0] === "r") !== reverse)
    return invalidOption("cursor", cursor, `it belongs to a list with reverse: ${cursor[0] === "r"}`)
  let key = ""
  for (let i = 1; i < cursor.length; i += 2) key += String.fromCharCode(Number.parseInt(cursor.slice(i, i + 2), 16))
  return key as Packed
}

interface Rest {
  readonly range: Range
  readonly left: number
}

const begin = (selector: Selector, options: ListOptions | undefined, limit: number): Rest | KvError => {
  const range = rangeOf(selector)
  if (range instanceof KvError) return range
  if (!(limit >= 0) || (Number.isFinite(limit) && !Number.isInteger(limit)))
    return invalidOption("limit", limit, "give a whole number from 0")
  if (options?.cursor === undefined) return { range, left: limit }
  const reverse = options.reverse === true
  const after = decodeCursor(options.cursor, reverse)
  if (typeof after !== "string") return after
  return {
    left: limit,
    range: reverse
      ? { start: range.start, end: after < range.end ? after : range.end }
      : { start: after >= range.start ? successor(after) : range.start, end: range.end }
  }
}

const readPage = (reading: Reading, rest: Rest, size: number, reverse: boolean) =>
  Effect.gen(function* () {
    const limit = Math.min(size, rest.left)
    if (limit <= 0 || rest.range.start >= rest.range.end)
      return { entries: [], next: Option.none<Rest>(), last: undefined }
    // One entry more than asked for tells whether anything is left.
    const { entries: found } = yield* reading.list(rest.range, { limit: limit + 1, reverse })
    const stored = found.slice(0, limit)
    const entries: Array<Entry> = []
    for (const one of stored) {
      const entry = decodeEntry(one)
      if (entry instanceof KvError) return yield* entry
      entries.push(entry)
    }
    const last = stored.at(-1)?.key
    if (last === undefined || found.length <= limit) return { entries, next: Option.none<Rest>(), last }
    const range = reverse ? { start: rest.range.start, end: last } : { start: successor(last), end: rest.range.end }
    return { entries, next: Option.some({ range, left: rest.left - stored.length }), last }
  })

export const listPage = (
  reading: Reading,
  selector: Selector,
  options: ListOptions | undefined
): Effect.Effect<Page, KvError> =>
  Effect.gen(function* () {
    const limit = options?.limit ?? defaultPageLimit
    const reverse = options?.reverse === true
    const rest = begin(selector, options, limit)
    if (rest instanceof KvError) return yield* rest
    const page = yield* readPage(reading, rest, limit, reverse)
    const cursor =
      Option.isSome(page.next) && page.last !== undefined
        ? Option.some(encodeCursor(page.last, reverse))
        : Option.none<PageCursor>()
    return { entries: page.entries, cursor }
  })

export const listStream = (
  reading: Reading,
  selector: Selector,
  options: ListOptions | undefined
): Stream.Stream<Entry, KvError> => {
  const rest = begin(selector, options, options?.limit ?? Number.POSITIVE_INFINITY)
  if (rest instanceof KvError) return Stream.fail(rest)
  return Stream.paginate(rest, (state) =>
    Effect.map(
      readPage(reading, state, streamPageSize, options?.reverse === true),
      (page) => [page.entries, page.next] as const
    )
  )
}
