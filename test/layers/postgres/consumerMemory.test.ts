import { assert, describe, it } from "@effect/vitest"
import { Held } from "../../../src/layers/postgres/queue/held.ts"
import { Marks } from "../../../src/layers/postgres/queue/marks.ts"

describe("a look at all of a queue", () => {
  it("comes once a second, while it takes a moment", () => {
    let now = 0
    const marks = new Marks(() => now)
    const seen: Array<number> = []
    for (; now <= 3_000; now += 100) {
      const look = marks.look(1)
      if (look.all) seen.push(now)
      marks.looked(1, look)
    }
    assert.deepStrictEqual(seen, [0, 1_000, 2_000, 3_000])
  })

  it("is a twentieth of the time at most when it takes long, also when it fails", () => {
    let now = 0
    const marks = new Marks(() => now)
    const slow = marks.look(1)
    assert.isTrue(slow.all)
    now = 4_000
    marks.looked(1, slow)
    now = 83_999
    assert.isFalse(marks.look(1).all)
    now = 84_000
    assert.isTrue(marks.look(1).all)
  })

  it("is each queue's own, and the mark stands in between", () => {
    const marks = new Marks(() => 0)
    marks.found(1, marks.look(1), 20_000)
    assert.deepStrictEqual([marks.look(1).above, marks.look(1).all], [12_000, false])
    assert.isTrue(marks.look(2).all)
    marks.lower(1, 9)
    assert.strictEqual(marks.look(1).above, 8)
  })
})

describe("what a worker remembers of its claims", () => {
  const token = (seq: number, claim = 1) => ({ seq, claim })

  it("names a lease with the last message under it", () => {
    const held = new Held()
    for (const seq of [1, 2, 3]) held.add(1, seq)
    assert.deepStrictEqual(held.over([token(1)]), [])
    held.settled([token(1)])
    assert.deepStrictEqual(held.over([token(2), token(3)]), [1n])
  })

  it("is nothing of one that was acked in a commit, whose lease goes with the next call", () => {
    const held = new Held()
    held.add(1, 1)
    held.add(1, 2)
    held.forget(token(1), "acked")
    assert.deepStrictEqual(held.over([]), [])
    held.forget(token(2), "acked")
    assert.deepStrictEqual(held.over([]), [1n])
    assert.deepStrictEqual(held.over([]), [])
    assert.deepStrictEqual(held.apart([token(2)]), [])
  })

  it("is nothing of one that was lost, whose lease stays: something may be left under it", () => {
    const held = new Held()
    held.add(1, 1)
    held.forget(token(1), "lost")
    assert.deepStrictEqual(held.over([token(1)]), [])
  })
})
