import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { AckBook } from "../../../src/layers/rabbitmq/ackBook.ts"

const open = () => {
  const sent: Array<readonly [tag: number, multiple: boolean]> = []
  return { sent, book: new AckBook((tag, multiple) => sent.push([tag, multiple])) }
}

describe("acks of one channel", () => {
  it("that come in order are one frame", () => {
    const { book, sent } = open()
    for (const tag of [1, 2, 3, 4]) book.delivered(tag)
    book.ack([3, 1, 2])
    assert.deepStrictEqual(sent, [[3, true]])
    assert.strictEqual(book.size, 1)
  })

  it("are not held back by a slow neighbour, and are not sent again when it ends", () => {
    const { book, sent } = open()
    for (const tag of [1, 2, 3, 4]) book.delivered(tag)
    book.ack([2, 4])
    assert.deepStrictEqual(sent, [
      [2, false],
      [4, false]
    ])
    book.ack([1])
    book.ack([3])
    assert.deepStrictEqual(sent.slice(2), [
      [1, true],
      [3, true]
    ])
    assert.strictEqual(book.size, 0)
  })

  it("reach each delivery once, in any order, and never name one that is settled already", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.array(fc.nat(), { minLength: 1, maxLength: 20 }), (n, cuts) => {
        const { book, sent } = open()
        const tags = Array.from({ length: n }, (_, i) => i + 1)
        for (const tag of tags) book.delivered(tag)
        // What a broker does with the frames: an unknown tag closes the channel.
        const unacked = new Set(tags)
        let read = 0
        const broker = () => {
          for (; read < sent.length; read++) {
            const [tag, multiple] = sent[read]!
            assert.isTrue(unacked.has(tag), `tag ${tag} is unknown`)
            for (const one of multiple ? tags.filter((other) => other <= tag) : [tag]) unacked.delete(one)
          }
        }
        const left = [...tags]
        const acked = new Set<number>()
        for (const cut of cuts) {
          const some = Array.from(
            { length: Math.min(left.length, (cut % 5) + 1) },
            () => left.splice(cut % left.length, 1)[0]!
          )
          for (const tag of some) acked.add(tag)
          book.ack(some)
          broker()
          assert.deepStrictEqual(
            [...unacked],
            tags.filter((tag) => !acked.has(tag))
          )
        }
      })
    )
  })
})
