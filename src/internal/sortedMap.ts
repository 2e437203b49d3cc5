/**
 * A mutable map that keeps its keys in order.
 *
 * Two levels: chunks of at most {@link maxChunk} entries in parallel arrays, and above them the array of chunks with the
 * first key of each. A look-up is two binary searches; a change moves entries inside one chunk, and only a split or a
 * merge touches the upper level. At 1,000,000 entries that level has about 8,000 slots, so it stays one memmove.
 *
 * Why our own: `sorted-btree` is CommonJS only, its default-export interop differs between Node, Deno, Bun and bundlers,
 * and it would be the library's only dependency at run time.
 *
 * @since 0.1.0
 */

/**
 * Orders two keys: negative, zero or positive. Must be a total order, and the order of keys in a map must never change.
 *
 * @since 0.1.0
 * @category models
 */
export type Compare<in K> = (a: K, b: K) => number

/**
 * Orders strings by UTF-16 units, so binary strings by their bytes.
 *
 * @since 0.1.0
 * @category ordering
 */
export const compareStrings: Compare<string> = (a, b) => (a < b ? -1 : a === b ? 0 : 1)

/**
 * Orders numbers; NaN must not occur.
 *
 * @since 0.1.0
 * @category ordering
 */
export const compareNumbers: Compare<number> = (a, b) => a - b

/**
 * Where {@link SortedMap.entriesFrom} begins and in which direction it goes.
 *
 * @since 0.1.0
 * @category models
 */
export interface EntriesOptions {
  /** Whether the entry of the start key itself is given. Default `true`. */
  readonly inclusive?: boolean | undefined
  /** Whether to go downwards. Default `false`. */
  readonly reverse?: boolean | undefined
}

/**
 * How much of a {@link SortedMap.range} is given, and from which end.
 *
 * @since 0.1.0
 * @category models
 */
export interface RangeOptions {
  /** The most entries to give. Default: no limit. */
  readonly limit?: number | undefined
  /** Whether to start at the upper end. Default `false`. */
  readonly reverse?: boolean | undefined
}

const maxChunk = 256
// A chunk below this merges with a neighbour, if the two then leave room to grow.
const minChunk = 64
const mergedChunk = 192

class Chunk<K, V> {
  readonly keys: Array<K>
  readonly values: Array<V>
  constructor(keys: Array<K>, values: Array<V>) {
    this.keys = keys
    this.values = values
  }
}

/**
 * A mutable ordered map. `get`, `set`, `delete` and the neighbour look-ups take O(log n) comparisons.
 *
 * **Gotchas**
 *
 * Entries are given as fresh `[key, value]` pairs; changing a pair does not change the map.
 *
 * @since 0.1.0
 * @category models
 */
export class SortedMap<K, V> implements Iterable<[K, V]> {
  readonly #compare: Compare<K>
  // Parallel arrays: the search on the upper level reads first keys without touching the chunks.
  #chunks: Array<Chunk<K, V>> = []
  #firsts: Array<K> = []
  #size = 0
  // Counts changes of structure, so that a cursor knows when its position is stale.
  #changes = 0

  constructor(compare: Compare<K>) {
    this.#compare = compare
  }

  /** The number of entries. */
  get size(): number {
    return this.#size
  }

  /** The value of a key. A stored `undefined` looks like absence here; {@link has} tells them apart. */
  get(key: K): V | undefined {
    const c = this.#chunkOf(key)
    if (c < 0) return undefined
    const chunk = this.#chunks[c]!
    const i = lowerBound(chunk.keys, key, this.#compare)
    return i < chunk.keys.length && this.#compare(chunk.keys[i]!, key) === 0 ? chunk.values[i] : undefined
  }

  has(key: K): boolean {
    const c = this.#chunkOf(key)
    if (c < 0) return false
    const keys = this.#chunks[c]!.keys
    const i = lowerBound(keys, key, this.#compare)
    return i < keys.length && this.#compare(keys[i]!, key) === 0
  }

  /** Sets the value of a key. An existing key keeps its own object, only the value changes. */
  set(key: K, value: V): this {
    // Queues and logs put at the upper end: one comparison finds the place.
    const last = this.lastKey()
    if (last === undefined || this.#compare(last, key) < 0) return this.#append(key, value)
    const c = Math.max(0, this.#chunkOf(key))
    const { keys, values } = this.#chunks[c]!
    const i = lowerBound(keys, key, this.#compare)
    if (i < keys.length && this.#compare(keys[i]!, key) === 0) {
      values[i] = value
      return this
    }
    this.#size++
    this.#changes++
    if (i === keys.length) {
      keys.push(key)
      values.push(value)
    } else {
      keys.splice(i, 0, key)
      values.splice(i, 0, value)
      if (i === 0) this.#firsts[c] = key
    }
    if (keys.length > maxChunk) {
      const half = keys.length >>> 1
      const upper = new Chunk(keys.splice(half), values.splice(half))
      this.#chunks.splice(c + 1, 0, upper)
      this.#firsts.splice(c + 1, 0, upper.keys[0]!)
    }
    return this
  }

  /** Above all others. Keys that arrive in order fill their chunks: halving would leave every chunk but the last half empty. */
  #append(key: K, value: V): this {
    this.#size++
    this.#changes++
    const chunk = this.#chunks[this.#chunks.length - 1]
    if (chunk === undefined || chunk.keys.length >= maxChunk) {
      this.#chunks.push(new Chunk([key], [value]))
      this.#firsts.push(key)
    } else {
      chunk.keys.push(key)
      chunk.values.push(value)
    }
    return this
  }

  /** Removes a key; tells whether it was there. */
  delete(key: K): boolean {
    // And they take from the lower end.
    if (this.#size > 0 && this.#compare(this.#firsts[0]!, key) === 0) {
      this.#removeAt(0, 0)
      return true
    }
    const c = this.#chunkOf(key)
    if (c < 0) return false
    const keys = this.#chunks[c]!.keys
    const i = lowerBound(keys, key, this.#compare)
    if (i === keys.length || this.#compare(keys[i]!, key) !== 0) return false
    this.#removeAt(c, i)
    return true
  }

  clear(): void {
    this.#chunks = []
    this.#firsts = []
    this.#size = 0
    this.#changes++
  }

  first(): [K, V] | undefined {
    return this.#entryAt(0, 0)
  }

  last(): [K, V] | undefined {
    const c = this.#chunks.length - 1
    return c < 0 ? undefined : this.#entryAt(c, this.#chunks[c]!.keys.length - 1)
  }

  firstKey(): K | undefined {
    return this.#firsts[0]
  }

  lastKey(): K | undefined {
    const chunk = this.#chunks[this.#chunks.length - 1]
    return chunk === undefined ? undefined : chunk.keys[chunk.keys.length - 1]
  }

  /** Removes the first entry and gives it. */
  popFirst(): [K, V] | undefined {
    const entry = this.#entryAt(0, 0)
    if (entry !== undefined) this.#removeAt(0, 0)
    return entry
  }

  /** The first entry with a key equal to or above the given one. */
  ceiling(key: K): [K, V] | undefined {
    return this.#after(key, true)
  }

  /** The first entry with a key above the given one. */
  higher(key: K): [K, V] | undefined {
    return this.#after(key, false)
  }

  /** The last entry with a key equal to or below the given one. */
  floor(key: K): [K, V] | undefined {
    return this.#before(key, true)
  }

  /** The last entry with a key below the given one. */
  lower(key: K): [K, V] | undefined {
    return this.#before(key, false)
  }

  /**
   * A cursor over the entries from a key on, or from the end of the map when the key is `undefined`. The cursor costs
   * nothing until it is advanced. Changing the map while it runs is allowed: it goes on after the last key it gave.
   */
  entriesFrom(key: K | undefined, options?: EntriesOptions): IterableIterator<[K, V]> {
    const reverse = options?.reverse === true
    const inclusive = options?.inclusive !== false
    let changes = -1
    let started = key !== undefined
    let from = key
    let including = inclusive
    let done = false
    let c = 0
    let i = 0
    const cursor: IterableIterator<[K, V]> = {
      [Symbol.iterator]: () => cursor,
      next: () => {
        if (done) return { done: true, value: undefined }
        if (changes !== this.#changes) {
          changes = this.#changes
          if (started) {
            c = this.#chunkOf(from as K)
            // Before the first chunk: the next entry up is the first one, and there is none further down.
            if (c < 0 && !reverse) c = 0
            const keys = this.#chunks[c]?.keys
            if (keys !== undefined) {
              i =
                reverse === including
                  ? upperBound(keys, from as K, this.#compare)
                  : lowerBound(keys, from as K, this.#compare)
              if (reverse) i--
            }
          } else {
            c = reverse ? this.#chunks.length - 1 : 0
            i = reverse ? (this.#chunks[c]?.keys.length ?? 0) - 1 : 0
          }
        } else {
          i += reverse ? -1 : 1
        }
        let chunk = this.#chunks[c]
        if (chunk !== undefined && (i < 0 || i >= chunk.keys.length)) {
          c += reverse ? -1 : 1
          chunk = this.#chunks[c]
          i = reverse && chunk !== undefined ? chunk.keys.length - 1 : 0
        }
        if (chunk === undefined) {
          done = true
          return { done: true, value: undefined }
        }
        from = chunk.keys[i]!
        started = true
        including = false
        return { done: false, value: [from, chunk.values[i]!] }
      }
    }
    return cursor
  }

  /** All entries in key order. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entriesFrom(undefined)
  }

  /**
   * The entries from `start` (inclusive, `undefined`: from the beginning) up to `end` (exclusive, `undefined`: to the
   * end), as an array. With `reverse` it begins at the upper end, so that `limit` keeps the highest ones.
   */
  range(start: K | undefined, end: K | undefined, options?: RangeOptions): Array<[K, V]> {
    const out: Array<[K, V]> = []
    const limit = options?.limit ?? Number.POSITIVE_INFINITY
    if (!(limit > 0)) return out
    if (options?.reverse === true) {
      for (const entry of this.entriesFrom(end, { inclusive: false, reverse: true })) {
        if (start !== undefined && this.#compare(entry[0], start) < 0) break
        if (out.push(entry) >= limit) break
      }
    } else {
      for (const entry of this.entriesFrom(start)) {
        if (end !== undefined && this.#compare(entry[0], end) >= 0) break
        if (out.push(entry) >= limit) break
      }
    }
    return out
  }

  /** The chunk that holds the key if the map does: the last one that begins at or below it, -1 if all begin above it. */
  #chunkOf(key: K): number {
    return upperBound(this.#firsts, key, this.#compare) - 1
  }

  #entryAt(c: number, i: number): [K, V] | undefined {
    const chunk = this.#chunks[c]
    return chunk === undefined || i < 0 || i >= chunk.keys.length ? undefined : [chunk.keys[i]!, chunk.values[i]!]
  }

  #after(key: K, inclusive: boolean): [K, V] | undefined {
    const c = this.#chunkOf(key)
    if (c < 0) return this.first()
    const keys = this.#chunks[c]!.keys
    const i = inclusive ? lowerBound(keys, key, this.#compare) : upperBound(keys, key, this.#compare)
    return i < keys.length ? this.#entryAt(c, i) : this.#entryAt(c + 1, 0)
  }

  #before(key: K, inclusive: boolean): [K, V] | undefined {
    const c = this.#chunkOf(key)
    if (c < 0) return undefined
    const keys = this.#chunks[c]!.keys
    const i = (inclusive ? upperBound(keys, key, this.#compare) : lowerBound(keys, key, this.#compare)) - 1
    if (i >= 0) return this.#entryAt(c, i)
    return c === 0 ? undefined : this.#entryAt(c - 1, this.#chunks[c - 1]!.keys.length - 1)
  }

  #removeAt(c: number, i: number): void {
    const { keys, values } = this.#chunks[c]!
    this.#size--
    this.#changes++
    if (i === 0) {
      keys.shift()
      values.shift()
    } else if (i === keys.length - 1) {
      keys.pop()
      values.pop()
    } else {
      keys.splice(i, 1)
      values.splice(i, 1)
    }
    if (keys.length === 0) {
      this.#dropChunk(c)
      return
    }
    if (i === 0) this.#firsts[c] = keys[0]!
    if (keys.length < minChunk) {
      if (!this.#mergeWithNext(c)) this.#mergeWithNext(c - 1)
    }
  }

  #mergeWithNext(c: number): boolean {
    const chunk = this.#chunks[c]
    const next = this.#chunks[c + 1]
    if (chunk === undefined || next === undefined || chunk.keys.length + next.keys.length > mergedChunk) return false
    chunk.keys.push(...next.keys)
    chunk.values.push(...next.values)
    this.#dropChunk(c + 1)
    return true
  }

  #dropChunk(c: number): void {
    if (c === 0) {
      this.#chunks.shift()
      this.#firsts.shift()
    } else {
      this.#chunks.splice(c, 1)
      this.#firsts.splice(c, 1)
    }
  }
}

/** The first index whose key is at or above the given one. */
const lowerBound = <K>(keys: ReadonlyArray<K>, key: K, compare: Compare<K>): number => {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compare(keys[middle]!, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** The first index whose key is above the given one. */
const upperBound = <K>(keys: ReadonlyArray<K>, key: K, compare: Compare<K>): number => {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compare(keys[middle]!, key) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
