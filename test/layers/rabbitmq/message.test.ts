import { assert, describe, it } from "@effect/vitest"
import type { MessageProperties } from "amqplib"
import { acceptedAt, noPast, propertiesOf, readMessage } from "../../../src/layers/rabbitmq/message.ts"
import type { Envelope } from "../../../src/queue/driver.ts"

const made = 1_700_000_000_123
const id = `${made.toString(16).padStart(12, "0").slice(0, 8)}-${made.toString(16).padStart(12, "0").slice(8)}-7abc-8000-000000000000`
const day = 86_400_000

const envelope = (fields: Partial<Envelope>): Envelope => ({
  v: 1,
  id,
  queue: "q",
  name: "",
  payload: "1",
  encoding: "json",
  enqueuedAt: made,
  priority: 0,
  headers: {},
  meta: {},
  ...fields
})
const published = (fields: Partial<Envelope>) => propertiesOf(envelope(fields), noPast)
const readBack = (properties: object, now = made + day) =>
  readMessage("q", properties as MessageProperties, Buffer.from("1"), () => "fallback", now).message

describe("the instant of acceptance comes back to the millisecond", () => {
  it("from the id that was made then, without a header", () => {
    const properties = published({ enqueuedAt: acceptedAt(id, made + 7) })
    assert.deepStrictEqual(properties.headers, {})
    assert.strictEqual(readBack(properties).enqueuedAt, made)
  })

  it("from a header, for an id that was made a second earlier, later, or tells no time", () => {
    for (const [one, now] of [
      [id, made + 1_000],
      [id, made - 1],
      ["order-17", made + 7]
    ] as const) {
      const enqueuedAt = acceptedAt(one, now)
      assert.strictEqual(enqueuedAt, now)
      assert.strictEqual(readBack(published({ id: one, enqueuedAt })).enqueuedAt, now)
    }
  })

  it("of a foreign producer: from its timestamp, to the second, whatever day its id is of", () => {
    const timestamp = Math.floor((made + day) / 1_000)
    assert.strictEqual(readBack({ messageId: id, timestamp }).enqueuedAt, timestamp * 1_000)
    assert.strictEqual(readBack({ messageId: id }, made + day + 5).enqueuedAt, made + day + 5)
  })
})

describe("headers of a message", () => {
  it("come back, also those whose names the broker gives a meaning", () => {
    const headers = { traceparent: "00-1", CC: "x", "seams-v": "mine", ü: "ö" }
    assert.deepStrictEqual(readBack(published({ headers, meta: { a: "b" } })).headers, headers)
  })
})
