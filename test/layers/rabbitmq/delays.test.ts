import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  bucketCount,
  type DelayOptions,
  type DelayPlan,
  layers,
  longest,
  planOf,
  topologyOf
} from "../../../src/layers/rabbitmq/delays.ts"

const destination = "emails"

/** Short times in the same shape, and digits of another base. */
const short: ReadonlyArray<ReadonlyArray<number>> = [
  [5, 10, 15, 20],
  [20, 40, 60],
  [80, 160, 240],
  [320, 640]
]

/**
 * What the broker does with a message, from the declared topology and the plan's own buckets and binding: the queues it waits
 * in, in order, and where it ends. `undefined` is a message that no queue takes.
 */
const travel = (plan: DelayPlan, options: DelayOptions = {}) => {
  const { exchanges, links, lost } = topologyOf(options)
  const bindings = [
    ...plan.buckets.map(({ exchange, key, queue }) => ({ exchange, key, to: { queue } })),
    ...links.map(({ destination: exchange, key, source }) => ({ exchange: source, key, to: { exchange } })),
    { exchange: lost.exchange, key: lost.key, to: { queue: lost.queue } },
    ...(plan.due === undefined ? [] : [{ ...plan.due, to: { queue: plan.due.queue } }])
  ]
  const keys = new Set([plan.routingKey, ...plan.cc])
  const route = (name: string): ReadonlyArray<string> => {
    if (name === "") return keys.has(destination) ? [destination] : []
    const exchange = exchanges.find((candidate) => candidate.name === name)
    assert.isDefined(exchange)
    const found = bindings
      .filter((binding) => binding.exchange === name && (exchange?.type === "fanout" || keys.has(binding.key)))
      .flatMap(({ to }) => ("queue" in to ? [to.queue] : route(to.exchange)))
    return found.length === 0 && exchange?.alternate !== undefined ? route(exchange.alternate) : found
  }
  const waited: Array<string> = []
  let at = route(plan.exchange)
  for (;;) {
    assert.isAtMost(at.length, 1)
    assert.isAtMost(waited.length, plan.buckets.length)
    const bucket = plan.buckets.find(({ queue }) => queue === at[0])
    if (bucket === undefined) return { waited, end: at[0] }
    waited.push(bucket.queue)
    at = route(String(bucket.arguments["x-dead-letter-exchange"]))
  }
}

const sum = (plan: DelayPlan) => plan.buckets.reduce((total, { ttl }) => total + ttl, 0)

/** The most by which a delay is late. */
const lateness = (millis: number) => Math.max(25, Math.min(millis / 16, 400))

const delay = fc.oneof(
  fc.integer({ min: 1, max: 1_000 }),
  fc.integer({ min: 1, max: 60_000 }),
  fc.integer({ min: 1, max: longest }),
  fc.integer({ min: 1, max: 2 * longest }),
  fc.double({ min: 0.001, max: longest, noNaN: true }),
  // Beside the edges of digits, where a sum is most easily wrong.
  fc
    .tuple(fc.constantFrom(...layers.flat()), fc.constantFrom(...layers.flat()), fc.integer({ min: -1, max: 1 }))
    .map(([a, b, c]) => Math.max(1, a + b + c))
)

describe("delays of RabbitMQ", () => {
  describe("plans", () => {
    it.each([
      // millis, times to live from the highest layer down, routing key and further keys
      [1, [25], ["0>25"]],
      [25, [25], ["0>25"]],
      [25.1, [50], ["0>50"]],
      [400, [400], ["0>400"]],
      [801, [850], ["0>850"]],
      [12_401, [12_800], ["0>12800"]],
      [12_800, [12_800], ["0>12800"]],
      [12_801, [12_800, 25], ["1>12800", "0>25"]],
      [60_000, [51_200, 8_800], ["1>51200", "0>8800"]],
      // A layer that adds nothing has its zero key.
      [204_801, [204_800, 25], ["2>204800", "1>0", "0>25"]],
      [3_276_800, [3_072_000, 192_000, 12_800], ["2>3072000", "1>192000", "0>12800"]],
      [838_860_801, [838_860_800, 25], ["5>838860800", "4>0", "3>0", "2>0", "1>0", "0>25"]]
    ] as const)("%d ms", (millis, times, keys) => {
      const plan = planOf(millis, destination)
      assert.deepStrictEqual(
        plan.buckets.map(({ ttl }) => ttl),
        [...times]
      )
      assert.deepStrictEqual([plan.routingKey, ...plan.cc], [...keys, destination])
      assert.strictEqual(plan.exchange, `seams.delay.${keys[0][0]}`)
      assert.strictEqual(plan.rest, 0)
    })

    it.each([0, -1, Number.NEGATIVE_INFINITY])("%d ms goes straight to the queue", (millis) => {
      const plan = planOf(millis, destination)
      assert.deepStrictEqual(plan, {
        exchange: "",
        routingKey: destination,
        cc: [],
        buckets: [],
        due: undefined,
        covered: 0,
        rest: 0
      })
      assert.deepStrictEqual(travel(plan), { waited: [], end: destination })
    })

    it("a bucket passes on at least once to the exchange below it, and its arguments are the same everywhere", () => {
      assert.deepStrictEqual(planOf(13_000, destination).buckets, [
        {
          queue: "seams.delay.1.12800",
          exchange: "seams.delay.1",
          key: "1>12800",
          ttl: 12_800,
          arguments: {
            "x-queue-type": "quorum",
            "x-message-ttl": 12_800,
            "x-dead-letter-exchange": "seams.delay.0",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish"
          }
        },
        {
          queue: "seams.delay.0.200",
          exchange: "seams.delay.0",
          key: "0>200",
          ttl: 200,
          arguments: {
            "x-queue-type": "quorum",
            "x-message-ttl": 200,
            "x-dead-letter-exchange": "seams.delay.due",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish"
          }
        }
      ])
    })

    it("a plan waits at least as long as asked, and hardly longer", () => {
      fc.assert(
        fc.property(delay, (millis) => {
          const plan = planOf(millis, destination)
          assert.strictEqual(sum(plan), plan.covered)
          assert.isAtLeast(plan.covered + plan.rest, millis)
          // Up to one more for the fraction of a millisecond.
          assert.isAtMost(plan.covered + plan.rest - millis, lateness(millis) + 1)
        }),
        { numRuns: 5_000 }
      )
    })

    it("every short delay, one by one", () => {
      const wrong = Array.from({ length: 30_000 }, (_, i) => i + 1).filter((millis) => {
        const { covered, rest } = planOf(millis, destination)
        return rest !== 0 || covered < millis || covered - millis > lateness(millis)
      })
      assert.isEmpty(wrong)
    })

    it("what is longer than all layers is left over", () => {
      assert.strictEqual(longest, 5_033_164_800)
      assert.deepInclude(planOf(longest, destination), { covered: longest, rest: 0 })
      assert.deepInclude(planOf(longest + 1, destination), { covered: longest, rest: 1 })
      assert.deepInclude(planOf(Number.POSITIVE_INFINITY, destination), {
        covered: longest,
        rest: Number.POSITIVE_INFINITY
      })
    })
  })

  describe("the way through the broker", () => {
    it("a message waits once in each of its buckets, from the longest down, and ends at its destination", () => {
      fc.assert(
        fc.property(delay, fc.constantFrom<DelayOptions>({}, { lane: ".p9" }, { prefix: "x" }), (millis, options) => {
          const plan = planOf(millis, destination, options)
          assert.deepStrictEqual(travel(plan, options), {
            waited: plan.buckets.map(({ queue }) => queue),
            end: destination
          })
        })
      )
    })

    it("all digits, zero or not, in all places", () => {
      const covers = 20 + 60 + 240 + 640
      for (let millis = 1; millis <= covers + 1; millis++) {
        const plan = planOf(millis, destination, { layers: short })
        assert.strictEqual(plan.covered + plan.rest, millis > covers ? millis : Math.ceil(millis / 5) * 5)
        assert.deepStrictEqual(travel(plan, { layers: short }), {
          waited: plan.buckets.map(({ queue }) => queue),
          end: destination
        })
      }
    })

    it("a missing bucket keeps a message from going on, and never makes it early", () => {
      fc.assert(
        fc.property(delay, fc.nat(), (millis, which) => {
          const plan = planOf(millis, destination)
          const missing = which % plan.buckets.length
          const { end, waited } = travel({ ...plan, buckets: plan.buckets.toSpliced(missing, 1) })
          assert.isUndefined(end)
          assert.lengthOf(waited, missing)
        })
      )
    })

    it("a message for a queue that is not there ends in the queue of the lost", () => {
      assert.strictEqual(travel({ ...planOf(13_000, destination), due: undefined }).end, "seams.delay.lost")
    })
  })

  describe("queues", () => {
    const every = [...new Set(layers.flat())].toSorted((a, b) => a - b)

    it("there are 161 at most, whatever is asked for", () => {
      assert.strictEqual(bucketCount, 161)
      const found = new Map<string, string>()
      for (const a of every) {
        for (const b of every) {
          for (const bucket of planOf(a + b, destination).buckets) {
            const text = JSON.stringify(bucket)
            assert.strictEqual(found.get(bucket.queue) ?? text, text)
            found.set(bucket.queue, text)
          }
        }
      }
      assert.strictEqual(found.size, bucketCount)
    })

    it("no time to live is beyond 32 bits, and no two queues have the same key", () => {
      const buckets = new Map(
        every.flatMap((a) => every.flatMap((b) => planOf(a + b, destination).buckets.map((c) => [c.queue, c] as const)))
      )
      const keys = [...[...buckets.values()].map(({ key }) => key), ...topologyOf().links.map(({ key }) => key)]
      assert.strictEqual(new Set(keys).size, bucketCount + layers.length - 1)
      for (const { queue, ttl } of buckets.values()) {
        assert.isBelow(ttl, 2 ** 32 - 1)
        assert.notInclude(keys, queue)
      }
    })

    it("prefixes and lanes share no queue and no key", () => {
      const of = (options: DelayOptions) => planOf(1_000_000_000, destination, options).buckets
      const queues = [{}, { lane: ".p9" }, { prefix: "x" }, { prefix: "x", lane: ".p9" }].flatMap((options) =>
        of(options).map(({ queue }) => queue)
      )
      assert.strictEqual(new Set(queues).size, queues.length)
      const own = new Set(of({ lane: ".p9" }).map(({ key }) => key))
      assert.isEmpty(of({}).filter(({ key }) => own.has(key)))
    })

    it("a destination whose name is like a key is refused", () => {
      assert.throws(() => planOf(1, "1>12800"), RangeError)
      assert.strictEqual(planOf(1, "a>1").cc.at(-1), "a>1")
    })
  })
})
