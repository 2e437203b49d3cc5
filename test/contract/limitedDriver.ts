import { Effect, type Scope } from "effect"
import { makeQueueDriver } from "../../src/layers/memory/index.ts"
import type * as Queue from "../../src/Queue.ts"
import type { QueueProcess } from "../../src/testing/queueSuite.ts"

/** Everything that a backend may lack, but delays and times to live. */
export const lacks = {
  atomicBatches: false,
  priority: false,
  dedupe: false,
  groups: false,
  idempotentIds: false,
  pause: false,
  purge: false,
  leases: false,
  startMarks: false,
  releaseInPlace: false,
  counts: false
} as const

/** What a broker's message carries from one delivery to the next. */
interface Carried {
  readonly message: Queue.Envelope
  readonly deliveries: number
  readonly retries: number
  readonly lost: number
  readonly error: string | undefined
}

interface Held extends Carried {
  readonly inner: { readonly id: string; readonly token: string }
}

interface Letter extends Queue.DeadMessage {
  readonly place: number
}

const attemptOf = ({ lost, retries }: Carried) => 1 + retries + lost

/** What the policy must have refused, or must not ask. */
const notAsked = (what: string) => Effect.die(new Error(`the limited driver was asked for ${what}`))

const optionOf = ({ message }: Queue.Publication): string | undefined => {
  if (message.priority !== 0) return "a priority"
  if (message.group !== undefined) return "a group"
  return message.dedupe === undefined ? undefined : "a dedupe key"
}

/**
 * What all connections of a test share: a broker that appends, hands out in order of arrival, and knows nothing of a message but
 * what it carries. The memory driver below keeps the messages, each life of one under an id of its own.
 */
const makeBroker = Effect.gen(function* () {
  const memory = yield* makeQueueDriver()
  const carried = new Map<string, Carried>()
  const letters = new Map<string, Array<Letter>>()
  let serial = 0

  const lettersOf = (queue: string) => {
    const known = letters.get(queue)
    if (known !== undefined) return known
    const made: Array<Letter> = []
    letters.set(queue, made)
    return made
  }
  const take = (queue: string, ids: ReadonlyArray<string> | "all"): ReadonlyArray<Letter> => {
    const all = lettersOf(queue)
    const taken = all.filter(({ message }) => ids === "all" || ids.includes(message.id))
    letters.set(
      queue,
      all.filter((letter) => !taken.includes(letter))
    )
    return taken
  }
  /** At the tail, when the delay is over. */
  const append = ({ delay, message, ttl }: Queue.Publication, life: Omit<Carried, "message">) =>
    Effect.suspend(() => {
      const id = `life-${serial++}`
      carried.set(id, { message, ...life })
      return memory.publish([{ message: { ...message, id }, delay, ttl, requeued: true }])
    })
  const fresh = { deliveries: 0, retries: 0, lost: 0, error: undefined }

  const publish: Queue.Driver["publish"] = (batch) =>
    Effect.forEach(batch, (publication) => {
      const option = optionOf(publication)
      if (option !== undefined) return notAsked(option)
      return Effect.as(append(publication, fresh), { id: publication.message.id, duplicate: false })
    })

  const deadLetters: Queue.DeadLetters = {
    list: (queue, { cursor, limit }) =>
      Effect.sync(() => {
        const rest = lettersOf(queue).filter(({ place }) => cursor === undefined || place > Number(cursor))
        const page = rest.slice(0, limit)
        return { letters: page, cursor: rest.length > limit ? String(page.at(-1)!.place) : undefined }
      }),
    get: (queue, id) =>
      Effect.sync(() => {
        const letter = lettersOf(queue).find(({ message }) => message.id === id)
        if (letter === undefined) return undefined
        const { place: _, ...dead } = letter
        return dead
      }),
    requeue: (queue, ids) =>
      Effect.suspend(() => {
        const taken = take(queue, ids)
        const back = Effect.forEach(taken, ({ deliveryCount, message }) =>
          append(
            { message: { ...message, notBefore: undefined, expiresAt: undefined } },
            { ...fresh, deliveries: deliveryCount }
          )
        )
        return Effect.as(back, taken.length)
      }),
    purge: (queue, ids) => Effect.sync(() => take(queue, ids).length),
    count: (queue) => Effect.sync(() => lettersOf(queue).length)
  }

  const connect = Effect.sync((): QueueProcess => {
    /** Of every consumer of this connection: what its claims come to when the connection is gone. */
    const lines = new Set<Effect.Effect<void, Queue.QueueError>>()

    const consumer: Queue.Driver["consumer"] = (queue, { lease }) =>
      Effect.gen(function* () {
        // The broker below has leases; nobody lives as long as these.
        const line = yield* memory.consumer(queue, { lease: 1e15, prefetch: 1 })
        const held = new Map<string, Held>()
        let open = true

        /** The message as it was, with other counts, instead of the claim. */
        const again = (claim: Held, delay: number, change: Partial<Carried>) => {
          const { inner, message, ...life } = claim
          // Its delay is over, whatever it was.
          return Effect.andThen(
            append({ message, delay }, { ...life, ...change }),
            line.settle([{ ...inner, outcome: { _tag: "ack" } }], { max: 0, start: 0 })
          )
        }
        const lose = (delay: number) =>
          Effect.suspend(() => {
            open = false
            const claims = Array.from(held.values())
            held.clear()
            return Effect.forEach(claims, (claim) => again(claim, delay, { lost: claim.lost + 1 }), { discard: true })
          })
        const crash = lose(0)
        lines.add(crash)
        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => {
            lines.delete(crash)
            return Effect.orDie(lose(lease))
          })
        )

        const end = (claim: Held, outcome: Queue.Outcome): Effect.Effect<unknown, Queue.QueueError> => {
          switch (outcome._tag) {
            case "ack":
            case "discard":
              return line.settle([{ ...claim.inner, outcome }], { max: 0, start: 0 })
            case "release":
              return again(claim, outcome.delay, {})
            case "retry":
              return again(claim, outcome.delay, { retries: claim.retries + 1, error: outcome.error ?? claim.error })
            case "deadLetter":
              return Effect.flatMap(memory.now, (diedAt) => {
                lettersOf(queue).push({
                  place: serial++,
                  message: claim.message,
                  attempt: attemptOf(claim),
                  deliveryCount: claim.deliveries,
                  reason: outcome.reason,
                  error: outcome.error ?? claim.error,
                  diedAt
                })
                return line.settle([{ ...claim.inner, outcome: { _tag: "ack" } }], { max: 0, start: 0 })
              })
          }
        }
        const claim: Queue.Consumer["claim"] = ({ max }) =>
          Effect.map(open ? line.claim({ max, start: max }) : Effect.succeed([]), (found) =>
            found.map(({ message: stored, token }) => {
              const known = carried.get(stored.id)!
              carried.delete(stored.id)
              const accepted = known.deliveries > 0 ? known.message : { ...stored, id: known.message.id }
              const claimed: Held = {
                ...known,
                message: accepted,
                deliveries: known.deliveries + 1,
                inner: { id: stored.id, token }
              }
              held.set(token, claimed)
              return {
                message: accepted,
                token,
                deliveryCount: claimed.deliveries,
                attempt: attemptOf(claimed),
                lostStarted: claimed.lost,
                lostUnstarted: 0
              }
            })
          )
        const states = (tokens: ReadonlyArray<string>) =>
          Effect.sync(() => tokens.map((token) => (held.has(token) ? "held" : "lost")))
        return {
          claim,
          ready: line.ready,
          settle: (batch, next) =>
            Effect.gen(function* () {
              const results = yield* Effect.forEach(batch, ({ id, outcome, token }) => {
                const settling = held.get(token)
                if (settling === undefined || settling.message.id !== id) return Effect.succeed("lost" as const)
                held.delete(token)
                return Effect.as(end(settling, outcome), "settled" as const)
              })
              return { results, claimed: next.max > 0 ? yield* claim(next) : [] }
            }),
          start: states,
          extend: states
        } satisfies Queue.Consumer
      })

    const driver: Queue.Driver = {
      capabilities: { ...memory.capabilities, backend: "limited", ...lacks },
      store: memory.store,
      now: memory.now,
      publish,
      consumer,
      pause: () => notAsked("a pause"),
      resume: () => notAsked("a resume"),
      purge: () => notAsked("a purge"),
      stats: (queue) =>
        Effect.map(memory.stats(queue), ({ ready }) => ({
          ready,
          delayed: undefined,
          claimed: undefined,
          dead: lettersOf(queue).length,
          oldestAge: undefined,
          paused: false
        })),
      version: () => notAsked("a version"),
      activity: () => notAsked("activity"),
      deadLetters,
      ping: memory.ping,
      timeout: undefined
    }
    const kill = Effect.suspend(() => Effect.orDie(Effect.all(Array.from(lines), { discard: true })))
    return { driver, kill }
  })
  return { connect }
})

const brokers = new WeakMap<Scope.Scope, Effect.Success<typeof makeBroker>>()

/** A connection of its own to the one broker of the test. */
export const connectLimited: Effect.Effect<QueueProcess, never, Scope.Scope> = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const broker = brokers.get(scope) ?? (yield* makeBroker)
  brokers.set(scope, broker)
  return yield* broker.connect
})
