import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { compareNumbers, compareStrings, SortedMap } from "../../src/internal/sortedMap.ts"

/** What the map must do, in the plainest way: a sorted array, searched from end to end. */
class Model {
  entries: Array<[number, string]> = []
  get(key: number) {
    return this.entries.find(([k]) => k === key)?.[1]
  }
  set(key: number, value: string) {
    const found = this.entries.find(([k]) => k === key)
    if (found !== undefined) found[1] = value
    else this.entries = [...this.entries, [key, value] as [number, string]].toSorted((a, b) => a[0] - b[0])
  }
  delete(key: number) {
    const before = this.entries.length
    this.entries = this.entries.filter(([k]) => k !== key)
    return this.entries.length < before
  }
  range(start: number | undefined, end: number | undefined, limit: number, reverse: boolean) {
    const inside = this.entries.filter(([k]) => (start === undefined || k >= start) && (end === undefined || k < end))
    return (reverse ? inside.toReversed() : inside).slice(0, Math.max(0, limit))
  }
}

const shuffled = (count: number, seed: number): Array<number> => {
  const keys = Array.from({ length: count }, (_, i) => i)
  let state = seed
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    const j = state % (i + 1)
    const swap = keys[i]!
    keys[i] = keys[j]!
    keys[j] = swap
  }
  return keys
}

const same = (map: SortedMap<number, string>, model: Model, key: number) => {
  const { entries } = model
  assert.strictEqual(map.size, entries.length)
  assert.deepStrictEqual([...map], entries)
  assert.deepStrictEqual(map.first(), entries[0])
  assert.deepStrictEqual(map.last(), entries.at(-1))
  assert.strictEqual(map.firstKey(), entries[0]?.[0])
  assert.strictEqual(map.lastKey(), entries.at(-1)?.[0])
  assert.strictEqual(map.get(key), model.get(key))
  assert.strictEqual(map.has(key), model.get(key) !== undefined)
  assert.deepStrictEqual(
    map.ceiling(key),
    entries.find(([k]) => k >= key)
  )
  assert.deepStrictEqual(
    map.higher(key),
    entries.find(([k]) => k > key)
  )
  assert.deepStrictEqual(
    map.floor(key),
    entries.findLast(([k]) => k <= key)
  )
  assert.deepStrictEqual(
    map.lower(key),
    entries.findLast(([k]) => k < key)
  )
  for (const inclusive of [true, false]) {
    assert.deepStrictEqual(
      [...map.entriesFrom(key, { inclusive })],
      entries.filter(([k]) => (inclusive ? k >= key : k > key))
    )
    assert.deepStrictEqual(
      [...map.entriesFrom(key, { inclusive, reverse: true })],
      entries.filter(([k]) => (inclusive ? k <= key : k < key)).toReversed()
    )
  }
  assert.deepStrictEqual([...map.entriesFrom(undefined, { reverse: true })], entries.toReversed())
}

// Blocks of neighbouring keys, so that chunks of 256 fill, split, shrink and merge within one short sequence.
type Step =
  | { readonly op: "set" | "delete"; readonly from: number; readonly count: number; readonly stride: number }
  | { readonly op: "pop"; readonly count: number }
  | { readonly op: "clear" }

const someStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constantFrom("set" as const, "delete" as const),
      from: fc.integer({ min: 0, max: 1500 }),
      count: fc.integer({ min: 1, max: 500 }),
      stride: fc.constantFrom(1, -1, 7, -3)
    })
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("pop" as const), count: fc.integer({ min: 1, max: 400 }) }) },
  { weight: 1, arbitrary: fc.constant({ op: "clear" as const }) }
)

describe("a sorted map behaves like a sorted array", () => {
  it("holds for random sequences over many chunks, down to empty", () => {
    fc.assert(
      fc.property(
        fc.array(someStep, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: -5, max: 2000 }),
        (steps, probe) => {
          const map = new SortedMap<number, string>(compareNumbers)
          const model = new Model()
          for (const step of steps) {
            if (step.op === "clear") {
              map.clear()
              model.entries = []
            } else if (step.op === "pop") {
              for (let i = 0; i < step.count; i++) assert.deepStrictEqual(map.popFirst(), model.entries.shift())
            } else {
              for (let i = 0; i < step.count; i++) {
                const key = step.from + i * step.stride
                if (step.op === "set") {
                  map.set(key, `${step.from}/${i}`)
                  model.set(key, `${step.from}/${i}`)
                } else {
                  assert.strictEqual(map.delete(key), model.delete(key))
                }
              }
            }
            same(map, model, probe)
          }
          const rest = model.entries
          for (const [key] of rest) assert.strictEqual(map.delete(key), model.delete(key))
          same(map, model, probe)
        }
      ),
      { numRuns: 60 }
    )
  })

  it("holds for ranges with every combination of bounds, limit and direction", () => {
    const map = new SortedMap<number, string>(compareNumbers)
    const model = new Model()
    for (const key of shuffled(2000, 7)) {
      map.set(key * 2, String(key))
      model.entries.push([key * 2, String(key)])
    }
    model.entries.sort((a, b) => a[0] - b[0])
    const bound = fc.option(fc.integer({ min: -3, max: 4005 }), { nil: undefined })
    const anyLimit = fc.option(fc.integer({ min: -1, max: 600 }), { nil: undefined })
    fc.assert(
      fc.property(bound, bound, anyLimit, fc.boolean(), (start, end, limit, reverse) => {
        assert.deepStrictEqual(
          map.range(start, end, { limit, reverse }),
          model.range(start, end, limit ?? Number.POSITIVE_INFINITY, reverse)
        )
      }),
      { numRuns: 1000 }
    )
  })
})

describe("a sorted map keeps its promises at the edges", () => {
  it("answers on an empty map", () => {
    const map = new SortedMap<string, number>(compareStrings)
    assert.deepStrictEqual([map.size, map.get("a"), map.has("a"), map.delete("a")], [0, undefined, false, false])
    for (const entry of [map.first(), map.last(), map.popFirst(), map.ceiling("a"), map.floor("a"), map.higher("a")]) {
      assert.isUndefined(entry)
    }
    assert.isUndefined(map.firstKey())
    assert.isUndefined(map.lastKey())
    assert.deepStrictEqual(map.range(undefined, undefined), [])
    assert.deepStrictEqual([...map.entriesFrom("a", { reverse: true })], [])
  })

  it("tells a stored undefined from absence, and takes an empty string as a key", () => {
    const map = new SortedMap<string, number | undefined>(compareStrings)
    map.set("", undefined)
    assert.isTrue(map.has(""))
    assert.deepStrictEqual(map.first(), ["", undefined])
    assert.isTrue(map.delete(""))
  })

  it("orders by the comparator given, also composite keys", () => {
    const map = new SortedMap<readonly [number, string], number>((a, b) => b[0] - a[0] || compareStrings(a[1], b[1]))
    map.set([1, "b"], 1).set([2, "z"], 2).set([1, "a"], 3).set([1, "b"], 4)
    assert.deepStrictEqual(
      [...map],
      [
        [[2, "z"], 2],
        [[1, "a"], 3],
        [[1, "b"], 4]
      ]
    )
  })

  it("does not let a caller change an entry through the pair it got", () => {
    const map = new SortedMap<string, number>(compareStrings).set("a", 1)
    map.first()![1] = 9
    map.range(undefined, undefined)[0]![1] = 9
    assert.strictEqual(map.get("a"), 1)
  })

  it("keeps 100,000 entries through random inserts, overwrites and deletes", () => {
    const count = 100_000
    const map = new SortedMap<string, number>(compareStrings)
    const name = (i: number) => `key-${String(i).padStart(6, "0")}`
    for (const i of shuffled(count, 1)) map.set(name(i), i)
    for (const i of shuffled(count, 2)) map.set(name(i), i * 2)
    assert.strictEqual(map.size, count)
    for (const i of shuffled(count, 3)) {
      if (i % 3 !== 0) assert.isTrue(map.delete(name(i)))
    }
    const rest = [...map]
    assert.deepStrictEqual(
      rest,
      Array.from({ length: Math.ceil(count / 3) }, (_, i) => [name(i * 3), i * 6])
    )
    while (map.size > 0) assert.deepStrictEqual(map.popFirst(), rest.shift())
  })
})

describe("a cursor survives changes of the map", () => {
  const filled = (count: number) => {
    const map = new SortedMap<number, number>(compareNumbers)
    for (let i = 0; i < count; i++) map.set(i, i)
    return map
  }

  it("goes on after the last key it gave, upwards", () => {
    const map = filled(1000)
    const seen: Array<number> = []
    for (const [key] of map) {
      seen.push(key)
      map.delete(key)
      if (key % 100 === 0) map.set(key + 0.5, 0)
    }
    const expected = Array.from({ length: 1000 }, (_, i) => (i % 100 === 0 ? [i, i + 0.5] : [i])).flat()
    assert.deepStrictEqual(seen, expected)
    assert.strictEqual(map.size, 0)
  })

  it("goes on after the last key it gave, downwards", () => {
    const map = filled(1000)
    const seen: Array<number> = []
    for (const [key] of map.entriesFrom(899, { reverse: true })) {
      seen.push(key)
      for (let i = 0; i < 3; i++) map.set(key + (i + 1) / 10, 0)
      map.delete(key - 1)
    }
    assert.deepStrictEqual(
      seen,
      Array.from({ length: 450 }, (_, i) => 899 - 2 * i)
    )
  })

  it("stays ended once it has ended", () => {
    const map = filled(1)
    const cursor = map.entriesFrom(undefined)
    assert.deepStrictEqual(cursor.next(), { done: false, value: [0, 0] })
    assert.isTrue(cursor.next().done)
    map.set(1, 1)
    assert.isTrue(cursor.next().done)
  })

  it("sees a value that was overwritten ahead of it", () => {
    const map = filled(3)
    const cursor = map.entriesFrom(undefined)
    cursor.next()
    map.set(1, 99)
    assert.deepStrictEqual(cursor.next(), { done: false, value: [1, 99] })
  })
})
