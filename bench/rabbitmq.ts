/**
 * The queue of the RabbitMQ room against amqplib used directly, on one broker, with the same queue type, side by side in one process and in
 * turn: what is printed is the median of the rounds' ratios. amqplib publishes with at most 500 messages unconfirmed and consumes with a
 * prefetch of 200, acking each message; ours runs through the whole service (`Queue.define`, a worker) with as many in flight and a
 * concurrency of 200, with `tracing: false` and once as it comes, with a span for each publish, process and settle. Ours publishes one message
 * per call, and 500 per call (`enqueueAll`) with two calls under way; in both at most 500 messages are unconfirmed.
 *
 *   cd bench && npm install && AMQP_URL=amqp://guest:guest@localhost node rabbitmq.ts      SEAMS_BENCH=short for a quick run
 *
 * Exits with 1 when a goal is missed.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { connect, type ConfirmChannel } from "amqplib"
import { Deferred, Effect, Schema } from "effect"
import * as RabbitMq from "../src/layers/rabbitmq/index.ts"
import * as Queue from "../src/Queue.ts"

const url = process.env["AMQP_URL"]
if (url === undefined) {
  console.error("Set AMQP_URL to the address of a RabbitMQ broker, such as amqp://guest:guest@localhost:5672")
  process.exit(2)
}
const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const n = short ? 5_000 : 20_000
const goals = { publish: 0.8, publishAll: 0.8, consume: 0.8 } as const
const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"

const raw = await connect(url)
const timed = async (f: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await f()
  return performance.now() - start
}

/** Publishes with that many unconfirmed messages at most. */
const publishTheirs = (channel: ConfirmChannel, queue: string, count: number): Promise<void> =>
  new Promise((resolve, reject) => {
    let sent = 0
    let confirmed = 0
    const more = () => {
      while (sent < count && sent - confirmed < 500)
        channel.sendToQueue(
          queue,
          Buffer.from(JSON.stringify({ n: sent, text })),
          { persistent: true, mandatory: true, messageId: String(sent++), contentType: "application/json" },
          (error: unknown) => {
            if (error !== null) return reject(new Error("not confirmed", { cause: error }))
            if (++confirmed === count) resolve()
            else more()
          }
        )
    }
    more()
  })

const consumeTheirs = async (queue: string, count: number): Promise<void> => {
  const channel = await raw.createChannel()
  await channel.prefetch(200)
  await new Promise<void>((resolve) => {
    let handled = 0
    void channel.consume(queue, (message) => {
      if (message === null) return
      JSON.parse(message.content.toString())
      channel.ack(message)
      if (++handled === count) resolve()
    })
  })
  await channel.close()
}

const definition = (queue: string) =>
  Queue.define(queue, { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })
type Jobs = ReturnType<typeof definition>

const publishOurs = (jobs: Jobs, count: number) =>
  Effect.gen(function* () {
    const start = performance.now()
    yield* Effect.forEach(
      Array.from({ length: count }, (_, i) => i),
      (i) => jobs.enqueue({ n: i, text }),
      { concurrency: 500, discard: true }
    )
    return performance.now() - start
  })

const publishAllOurs = (jobs: Jobs, count: number) =>
  Effect.gen(function* () {
    const start = performance.now()
    yield* Effect.forEach(
      Array.from({ length: count / 500 }, (_, b) => b),
      (b) => jobs.enqueueAll(Array.from({ length: 500 }, (_, i) => ({ n: b * 500 + i, text }))),
      { concurrency: 2, discard: true }
    )
    return performance.now() - start
  })

const consumeOurs = (jobs: Jobs, count: number) =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<void>()
    let handled = 0
    const worker = jobs.worker(() => (++handled === count ? Deferred.succeed(done, undefined) : Effect.void), {
      concurrency: 200
    })
    const start = performance.now()
    yield* Effect.provide(Deferred.await(done), worker)
    return performance.now() - start
  })

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
let missed = 0

for (const queueType of ["quorum", "classic"] as const) {
  const measured = {
    publish: { plain: [] as Array<number>, spans: [] as Array<number>, theirs: [] as Array<number> },
    publishAll: { plain: [] as Array<number>, spans: [] as Array<number>, theirs: [] as Array<number> },
    consume: { plain: [] as Array<number>, spans: [] as Array<number>, theirs: [] as Array<number> }
  }
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["theirs", "plain", "spans"] as const) {
      const name = `bench-${queueType}-${process.pid}-${round}-${kind}`
      if (kind === "theirs") {
        const channel = await raw.createConfirmChannel()
        await channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": queueType } })
        const took = await timed(() => publishTheirs(channel, name, n))
        measured.publish.theirs.push(took)
        measured.publishAll.theirs.push(took)
        measured.consume.theirs.push(await timed(() => consumeTheirs(name, n)))
        await channel.deleteQueue(name)
        await channel.close()
      } else {
        const jobs = definition(name)
        const layer = RabbitMq.layerQueue({
          url,
          queueType,
          namespace: "bench",
          window: 500,
          tracing: kind === "spans"
        })
        const [publish, consume, publishAll] = await Effect.runPromise(
          Effect.gen(function* () {
            yield* jobs.enqueue({ n: -1, text })
            const first = yield* publishOurs(jobs, n)
            const consumed = yield* consumeOurs(jobs, n + 1)
            return [first, consumed, yield* publishAllOurs(jobs, n)] as const
          }).pipe(Effect.provide(layer))
        )
        measured.publish[kind].push(publish)
        measured.publishAll[kind].push(publishAll)
        measured.consume[kind].push(consume)
        const channel = await raw.createChannel()
        await channel.deleteQueue(`bench:${name}`)
        await channel.deleteQueue(`bench:${name}:dead`)
        await channel.close()
      }
    }
  }
  for (const way of ["publish", "publishAll", "consume"] as const) {
    const { plain, spans, theirs } = measured[way]
    const ratio = (ours: ReadonlyArray<number>) => median(theirs.map((one, i) => one / ours[i]!))
    const rate = (times: ReadonlyArray<number>) => `${Math.round((n / median(times)) * 1_000).toLocaleString("en")}/s`
    if (ratio(plain) < goals[way]) missed++
    console.log(
      `${queueType.padEnd(8)} ${way.padEnd(10)} ${ratio(plain).toFixed(2)}x without spans, ${ratio(spans).toFixed(2)}x with (goal ${goals[way]}x): ours ${rate(plain)} and ${rate(spans)}, amqplib ${rate(theirs)}`
    )
  }
}
await raw.close()
process.exit(missed === 0 ? 0 : 1)
