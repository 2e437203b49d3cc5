/**
 * Delayed messages inside the broker, without a plugin and without a client in between.
 *
 * A **bucket** is a quorum queue that nobody consumes, whose messages all have the same time to live and are then dead-lettered.
 * Buckets stand in **layers**, like the digits of a number. Layer 0 holds the fine steps and is always the last; layer 1 holds the
 * multiples 1 to 15 of 12.8 s, layer 2 those of 204.8 s, and so on. A delay is a sum of at most one bucket of each layer,
 * so a bounded set of queues serves every delay of every destination.
 *
 * Each layer has a direct exchange, and its buckets are bound to it by keys that are unique over all layers. A message is
 * published with **all** its keys at once: that of its highest layer as routing key, the others and at the end the destination
 * in the header `CC`. A dead-lettered message keeps its keys, and each exchange knows only those of its own layer, so it goes
 * down layer by layer. Where a layer adds nothing, its key is the **zero key**, by which the exchanges themselves are bound to
 * one another. Below layer 0 is the exchange `due`, to which each destination is bound by its own name.
 *
 * - **Nothing is early.** A layer passes a message on only by a key that names what comes next, so a missing bucket makes
 *   a publish unroutable (`mandatory` returns it), or leaves a message in the bucket above it, which tries again every three minutes. With
 *   an alternate exchange instead of zero keys it would fall through and come early.
 * - **Nobody stops the others.** A bucket has at most 32 dead letters under way, and one that finds no queue keeps its place for
 *   good: 32 messages for a queue that was deleted would stop a bucket for all destinations. So `due` has an alternate exchange, and these
 *   end in the queue `lost`. The default exchange cannot have one, which is why destinations are bound to `due`. A destination that
 *   rejects (`x-max-length` with `reject-publish`) still stops the buckets before it.
 *
 * What a publisher must know:
 *
 * - `CC`, never `BCC`: RabbitMQ 3.10 forgets BCC keys when it forwards a dead letter a second time.
 * - No `expiration`: the broker takes the lesser of it and the bucket's, and the message would be early.
 * - No `x-death` from an earlier life: 3.10 takes a bucket named there for a cycle, and the message stays stuck above it.
 * - From 4.0 on quorum queues heed `priority`, and a message that is not due hides one of lower priority that is. Give each
 *   class of priority its own `lane`, or leave the property out.
 */

/** A table of AMQP arguments, as amqplib takes it. */
export type Arguments = Readonly<Record<string, string | number>>

/** A delay queue. To be declared durable with exactly these arguments, and bound to `exchange` by `key`. */
export interface Bucket {
  readonly queue: string
  readonly exchange: string
  readonly key: string
  /** How long a message stays, in milliseconds. */
  readonly ttl: number
  readonly arguments: Arguments
}

export interface DelayPlan {
  /** Where to publish, with `routingKey`, `CC: cc`, `mandatory` and `persistent`. */
  readonly exchange: string
  readonly routingKey: string
  readonly cc: ReadonlyArray<string>
  /** What must have been declared before, besides the topology, from the highest layer down. Empty when there is nothing to wait for. */
  readonly buckets: ReadonlyArray<Bucket>
  /** The destination's own binding, which must have been made before too; `undefined` when there is nothing to wait for. */
  readonly due: { readonly queue: string; readonly exchange: string; readonly key: string } | undefined
  /** Milliseconds that the buckets hold the message: the delay, rounded up. */
  readonly covered: number
  /** Milliseconds of a delay beyond `longest` that are left: whoever receives the message publishes it again with them. */
  readonly rest: number
}

export interface DelayOptions {
  /** What the names of exchanges and queues begin with. Default `seams`. */
  readonly prefix?: string
  /** Buckets of their own for one class of priority, see above. Default: none. */
  readonly lane?: string
  /** Other times, for tests: layers from the finest up, times ascending, each layer's first not above the last time of the layer below it. */
  readonly layers?: ReadonlyArray<ReadonlyArray<number>>
}

/** The fine layer goes up in steps of this many milliseconds at first: the most by which a short delay is late. */
const fineStep = 25

/** Times of the fine layer in each octave: a delay is late by a sixteenth at most. Also the base of the layers above. */
const radix = 16

/** The longest of the fine layer, in milliseconds. Its last step is 400 ms, which is the most by which any delay is late. */
const fineLongest = 12_800

/** RabbitMQ up to 3.9 takes no longer time to live, and timers of 32 bits are a trap elsewhere too. */
const ttlLimit = 2 ** 32 - 1

const fine = (): ReadonlyArray<number> => {
  const times: Array<number> = []
  let step = fineStep
  for (let time = step; time <= fineLongest; time += step) {
    times.push(time)
    // At the end of an octave steps get twice as long.
    if (time === 2 * radix * step) step *= 2
  }
  return times
}

const multiples = (unit: number): ReadonlyArray<number> =>
  Array.from({ length: radix - 1 }, (_, i) => unit * (i + 1)).filter((time) => time < ttlLimit)

/**
 * The times to live of all buckets in milliseconds: 96 fine ones, then four layers of 15 (12.8 s, 3.4 min, 54.6 min, 14.6 h) and
 * five of 9.7 days. These are {@link bucketCount} queues at the very most, and as few as delays need.
 */
export const layers: ReadonlyArray<ReadonlyArray<number>> = [
  fine(),
  ...[1, 2, 3, 4, 5].map((k) => multiples(fineLongest * radix ** (k - 1)))
]

/** How many buckets there can be under a prefix and lane. */
export const bucketCount = layers.reduce((sum, times) => sum + times.length, 0)

const sumOf = (all: ReadonlyArray<ReadonlyArray<number>>): number =>
  all.reduce((sum, times) => sum + (times.at(-1) ?? 0), 0)

/** The longest delay that needs no further hop, in milliseconds: 58 days. */
export const longest = sumOf(layers)

const exchangeOf = (prefix: string, layer: number): string => `${prefix}.delay.${layer < 0 ? "due" : layer}`
const keyOf = (layer: number, ttl: number, lane: string): string => `${layer}>${ttl}${ttl === 0 ? "" : lane}`

/** What could be taken for a key of a bucket. */
const likeKey = /^\d+>\d/

const bucketOf = (prefix: string, lane: string, layer: number, ttl: number): Bucket => ({
  queue: `${prefix}.delay.${layer}.${ttl}${lane}`,
  exchange: exchangeOf(prefix, layer),
  key: keyOf(layer, ttl, lane),
  ttl,
  // The same for every version of the server: a bucket outlives an upgrade, and to declare it with other arguments is an error.
  // No `x-delivery-limit`, which counts what consumers give back, and there are none. No `x-expires`, which drops what a queue holds.
  arguments: {
    "x-queue-type": "quorum",
    "x-message-ttl": ttl,
    "x-dead-letter-exchange": exchangeOf(prefix, layer - 1),
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish"
  }
})

/** How a message that is due in `millis` goes to the queue `destination`. Times are rounded up: never early, see {@link layers} for how late. */
export const planOf = (millis: number, destination: string, options: DelayOptions = {}): DelayPlan => {
  const { lane = "", layers: all = layers, prefix = "seams" } = options
  if (likeKey.test(destination))
    throw new RangeError(`A queue named "${destination}" cannot have delayed messages: name it otherwise`)
  if (!(millis > 0)) {
    return { exchange: "", routingKey: destination, cc: [], buckets: [], due: undefined, covered: 0, rest: 0 }
  }
  const wanted = Math.ceil(millis)
  const covers = all === layers ? longest : sumOf(all)
  const buckets: Array<Bucket> = []
  const keys: Array<string> = []
  let left = Math.min(wanted, covers)
  for (let layer = all.length - 1; layer >= 0; layer--) {
    const times = all[layer] ?? []
    // Something is left for layer 0 always, so that its way out is the only one.
    const ttl = (layer === 0 ? times.find((time) => time >= left) : times.findLast((time) => time < left)) ?? 0
    if (ttl > 0) buckets.push(bucketOf(prefix, lane, layer, ttl))
    if (buckets.length > 0) keys.push(keyOf(layer, ttl, lane))
    left -= ttl
  }
  const [routingKey = "", ...lower] = keys
  return {
    exchange: buckets[0]?.exchange ?? "",
    routingKey,
    cc: [...lower, destination],
    buckets,
    due: { queue: destination, exchange: exchangeOf(prefix, -1), key: destination },
    covered: buckets.reduce((sum, bucket) => sum + bucket.ttl, 0),
    rest: Math.max(0, wanted - covers)
  }
}

export interface DelayTopology {
  /** All durable. */
  readonly exchanges: ReadonlyArray<{
    readonly name: string
    readonly type: "direct" | "fanout"
    readonly alternate?: string
  }>
  /** Bindings of exchanges to exchanges: the zero keys. */
  readonly links: ReadonlyArray<{ readonly source: string; readonly destination: string; readonly key: string }>
  /** Where messages end whose destination is not there when they are due. Durable; nobody of ours consumes it. */
  readonly lost: {
    readonly queue: string
    readonly exchange: string
    readonly key: string
    readonly arguments: Arguments
  }
}

/** What all plans of a prefix need, to be declared once for each connection: exchanges, the queue `lost`, then bindings. */
export const topologyOf = (options: DelayOptions = {}): DelayTopology => {
  const { layers: all = layers, prefix = "seams" } = options
  const lost = `${prefix}.delay.lost`
  return {
    exchanges: [
      { name: lost, type: "fanout" },
      { name: exchangeOf(prefix, -1), type: "direct", alternate: lost },
      ...all.map((_, layer) => ({ name: exchangeOf(prefix, layer), type: "direct" as const }))
    ],
    links: all.slice(1).map((_, below) => ({
      source: exchangeOf(prefix, below + 1),
      destination: exchangeOf(prefix, below),
      key: keyOf(below + 1, 0, "")
    })),
    lost: { queue: lost, exchange: lost, key: "", arguments: { "x-queue-type": "quorum" } }
  }
}
