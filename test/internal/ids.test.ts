import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { commitIdsWith, makeCommitIds, makeMessageIds, messageIdsWith, messageIdTime } from "../../src/internal/ids.ts"

const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const timeOf = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

const ones = (words: Uint32Array<ArrayBuffer>): void => void words.fill(0xffffffff)

const assertAscending = (ids: ReadonlyArray<string>): void => {
  for (let i = 1; i < ids.length; i++) {
    if (!(ids[i - 1]! < ids[i]!)) throw new Error(`${ids[i - 1]} is not before ${ids[i]}`)
  }
}

describe("message ids are UUIDv7 of the caller's time", () => {
  it.effect("has the form and the time", () =>
    Effect.gen(function* () {
      const next = yield* makeMessageIds
      for (const now of [0, 1, 1_700_000_000_000, 2 ** 48 - 1]) {
        const id = next(now)
        assert.match(id, uuidV7)
        assert.strictEqual(timeOf(id), now)
      }
    })
  )

  it.effect("tells the time again, and none of a text of another form", () =>
    Effect.gen(function* () {
      const next = yield* makeMessageIds
      for (const now of [0, 1, 1_700_000_000_000, 2 ** 48 - 1]) assert.strictEqual(messageIdTime(next(now)), now)
      const id = "018bcfe5-6800-7abc-8000-000000000000"
      assert.strictEqual(messageIdTime(id), 1_700_000_000_000)
      for (const other of [
        "",
        "order-17",
        id.toUpperCase(),
        id.slice(1),
        `${id}0`,
        id.replace("-7", "-4"),
        id.replace("018b", "g18b"),
        id.replace("6800", "68 0"),
        id.replaceAll("-", "_")
      ])
        assert.isUndefined(messageIdTime(other), other)
    })
  )

  it.effect("drops fractions, and takes a time before 1970 or no time as 0", () =>
    Effect.gen(function* () {
      for (const [now, time] of [
        [12.9, 12],
        [-5, 0],
        [Number.NaN, 0],
        [-Infinity, 0],
        [0.5, 0]
      ] as const) {
        const next = yield* makeMessageIds
        const id = next(now)
        assert.match(id, uuidV7)
        assert.strictEqual(timeOf(id), time)
      }
    })
  )
})

describe("message ids of one instance sort in the order they were made", () => {
  it.effect("a million of them, 1,000 in each millisecond, are unique and ascending", () =>
    Effect.gen(function* () {
      const next = yield* makeMessageIds
      const ids = Array.from({ length: 1_000_000 }, (_, i) => next(1_700_000_000_000 + Math.floor(i / 1000)))
      assertAscending(ids)
      assert.strictEqual(new Set(ids).size, ids.length)
      assert.strictEqual(timeOf(ids.at(-1)!), 1_700_000_000_999)
    })
  )

  it.effect("200,000 in one millisecond keep that millisecond", () =>
    Effect.gen(function* () {
      const next = yield* makeMessageIds
      const ids = Array.from({ length: 200_000 }, () => next(5000))
      assertAscending(ids)
      assert.strictEqual(timeOf(ids.at(-1)!), 5000)
    })
  )

  it.effect("a clock that goes back does not take the ids with it", () =>
    Effect.gen(function* () {
      const next = yield* makeMessageIds
      const ids = [5000, 4999, 100, 0, 5000, 5001, 4000, 5002].map(next)
      assertAscending(ids)
      assert.deepStrictEqual(ids.map(timeOf), [5000, 5000, 5000, 5000, 5000, 5001, 5001, 5002])
    })
  )

  it("the counter carries from its low into its high bits", () => {
    // All random bits set: the low 30 bits start full and the next id must carry.
    const next = messageIdsWith(ones)
    const first = next(1)
    const second = next(1)
    assert.strictEqual(first, "00000000-0001-77ff-bfff-ffffffffffff")
    assert.strictEqual(second, "00000000-0001-7800-8000-0000ffffffff")
  })
})

describe("message ids of instances that know nothing of each other differ", () => {
  it.effect("2,000 instances at one frozen time make 200,000 different ids", () =>
    Effect.gen(function* () {
      const ids = new Set<string>()
      for (let i = 0; i < 2000; i++) {
        const next = yield* makeMessageIds
        for (let j = 0; j < 100; j++) ids.add(next(0))
      }
      assert.strictEqual(ids.size, 200_000)
    })
  )

  it("draws random bits in blocks, and uses no word twice", () => {
    let fills = 0
    let word = 0
    const next = messageIdsWith((words) => {
      fills++
      for (let i = 0; i < words.length; i++) words[i] = word++
    })
    const tails = Array.from({ length: 10_000 }, (_, i) => next(i).slice(-8))
    assert.strictEqual(new Set(tails).size, 10_000)
    assert.isBelow(fills, 300)
  })
})

describe("commit ids are a random prefix and a counter", () => {
  it.effect("a million of them are unique and ascend under one prefix", () =>
    Effect.gen(function* () {
      const next = yield* makeCommitIds
      const ids = Array.from({ length: 1_000_000 }, () => next())
      assertAscending(ids)
      assert.match(ids[0]!, /^[0-9a-f]{12}00000000$/)
      assert.match(ids.at(-1)!, /^[0-9a-f]{12}000f423f$/)
      assert.strictEqual(new Set(ids.map((id) => id.slice(0, 12))).size, 1)
    })
  )

  it.effect("instances have prefixes of their own", () =>
    Effect.gen(function* () {
      const prefixes = new Set<string>()
      for (let i = 0; i < 10_000; i++) prefixes.add((yield* makeCommitIds)().slice(0, 12))
      assert.strictEqual(prefixes.size, 10_000)
    })
  )

  it("the counter that is used up starts again under a fresh prefix", () => {
    let fill = 0
    const next = commitIdsWith(
      (words) => {
        fill++
        words.fill(fill === 1 ? 0xaaaaaaaa : 0xbbbbbbbb)
      },
      { firstCount: 0xfffffffe }
    )
    assert.deepStrictEqual(
      [next(), next(), next(), next()],
      ["aaaaaaaaaaaafffffffe", "aaaaaaaaaaaaffffffff", "bbbbbbbbbbbb00000000", "bbbbbbbbbbbb00000001"]
    )
  })
})
