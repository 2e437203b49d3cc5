/**
 * A worker on several channels: what closes one of them, as the broker does with one whose delivery was not acked within its consumer
 * timeout, loses the claims of that channel alone.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Claimed, ClaimRequest, Consumer, Settlement } from "../../queue/driver.ts"
import type { QueueError } from "../../queue/QueueError.ts"

/** `owns`: whether a token was given out by the consumer of that index. */
export const spread = (
  consumers: readonly [Consumer, ...Array<Consumer>],
  owns: (index: number, token: string) => boolean
): Consumer => {
  if (consumers.length === 1) return consumers[0]
  const ownerOf = (token: string): number => consumers.findIndex((_, i) => owns(i, token))
  let turn = 0
  /** Settled in a call that failed on another channel, and is made again. */
  const finished = new Set<string>()

  const claim = ({ max, start }: ClaimRequest): Effect.Effect<ReadonlyArray<Claimed>, QueueError> =>
    Effect.gen(function* () {
      const claimed: Array<Claimed> = []
      let trouble: QueueError | undefined
      // Each takes its share first, and what others leave behind.
      turn++
      for (let i = 0; i < consumers.length && claimed.length < max; i++) {
        const rest = { max: max - claimed.length, start: Math.max(0, start - claimed.length) }
        const found = yield* Effect.result(consumers[(turn + i) % consumers.length]!.claim(rest))
        if (Result.isSuccess(found)) claimed.push(...found.success)
        else trouble ??= found.failure
      }
      // What one has claimed would be held by nobody if another one's failure were told instead.
      return trouble === undefined || claimed.length > 0 ? claimed : yield* trouble
    })

  /** Asks each owner about its own tokens, and the others for nothing; the answers have the order of the tokens. */
  const each =
    <A>(
      ask: (consumer: Consumer, tokens: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<A>, QueueError>,
      lost: A
    ) =>
    (tokens: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<A>, QueueError> =>
      Effect.gen(function* () {
        const owners = tokens.map(ownerOf)
        const answers = tokens.map(() => lost)
        for (const [index, consumer] of consumers.entries()) {
          const places = owners.flatMap((owner, place) => (owner === index ? [place] : []))
          const found = yield* ask(
            consumer,
            places.map((place) => tokens[place]!)
          )
          for (const [n, place] of places.entries()) answers[place] = found[n] ?? lost
        }
        return answers
      })

  return {
    claim,
    ready: Effect.raceAllFirst(consumers.map((consumer) => consumer.ready)),
    settle: (batch, next) =>
      Effect.gen(function* () {
        const byToken = new Map(batch.map((one): [string, Settlement] => [one.token, one]))
        const open = batch.flatMap(({ token }) => (finished.has(token) ? [] : [token]))
        const found = yield* each<"settled" | "lost">(
          (consumer, tokens) =>
            tokens.length === 0
              ? Effect.succeed([])
              : Effect.map(
                  consumer.settle(
                    tokens.map((token) => byToken.get(token)!),
                    { max: 0, start: 0 }
                  ),
                  ({ results }) => {
                    for (const [i, token] of tokens.entries()) if (results[i] === "settled") finished.add(token)
                    return results
                  }
                ),
          "lost"
        )(open)
        const lost = new Set(open.filter((_, i) => found[i] === "lost"))
        finished.clear()
        return {
          results: batch.map(({ token }) => (lost.has(token) ? ("lost" as const) : ("settled" as const))),
          // All is settled: why nothing can be claimed is told by the next claim.
          claimed: next.max > 0 ? yield* Effect.orElseSucceed(claim(next), () => []) : []
        }
      }),
    start: each((consumer, tokens) => consumer.start(tokens), "lost" as const),
    // Also of one that holds nothing: it takes note that its losses are known, and its `lost` is quiet again.
    extend: each((consumer, tokens) => consumer.extend(tokens), "lost" as "held" | "lost" | "cancelRequested"),
    lost: Effect.raceAllFirst(consumers.map((consumer) => consumer.lost ?? Effect.never)),
    leave: Effect.forEach(consumers, (consumer) => consumer.leave ?? Effect.void, {
      discard: true,
      concurrency: "unbounded"
    })
  }
}
