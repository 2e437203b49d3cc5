/** A worker on several channels, over consumers of the test's own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spread } from "../../../src/layers/rabbitmq/spread.ts"
import type { Claimed, Consumer } from "../../../src/queue/driver.ts"
import { QueueError, Unavailable } from "../../../src/queue/QueueError.ts"

const refused = new QueueError({
  reason: new Unavailable({ backend: "test", operation: "claim", detail: "no queue", lasting: false })
})

const claimedAs = (token: string): Claimed => ({ token }) as Claimed

/** Two consumers, `a` and `b`, of which the tests change what they need. */
const pair = (a: Partial<Consumer>, b: Partial<Consumer>): Consumer => {
  const other: Consumer = {
    claim: () => Effect.succeed([]),
    ready: Effect.never,
    settle: (batch) => Effect.succeed({ results: batch.map(() => "settled"), claimed: [] }),
    start: (tokens) => Effect.succeed(tokens.map(() => "held")),
    extend: (tokens) => Effect.succeed(tokens.map(() => "held"))
  }
  return spread(
    [
      { ...other, ...a },
      { ...other, ...b }
    ],
    (i, token) => token.startsWith("ab"[i]!)
  )
}

const three = { max: 3, start: 3 }

describe("a claim over two channels, one of which is refused", () => {
  it.effect("has what the other one gave, and fails when that is nothing", () =>
    Effect.gen(function* () {
      let waiting = ["a.1", "a.2"]
      const both = pair(
        { claim: () => Effect.sync(() => waiting.splice(0).map(claimedAs)) },
        { claim: () => Effect.fail(refused) }
      )
      for (let i = 0; i < 2; i++) {
        waiting = ["a.1", "a.2"]
        assert.lengthOf(yield* both.claim(three), 2, "whichever is asked first")
      }
      assert.strictEqual(yield* Effect.flip(both.claim(three)), refused)
    })
  )

  it.effect("behind a settle does not undo the settle", () =>
    Effect.gen(function* () {
      const fails = { claim: () => Effect.fail(refused) }
      const both = pair(fails, fails)
      const { claimed, results } = yield* both.settle([{ id: "1", token: "a.1", outcome: { _tag: "ack" } }], three)
      assert.deepStrictEqual(results, ["settled"])
      assert.deepStrictEqual(claimed, [])
    })
  )
})

describe("a heartbeat over two channels", () => {
  it.effect("reaches one without claims too: its losses are told once", () =>
    Effect.gen(function* () {
      const asked: Array<ReadonlyArray<string>> = []
      const note: Consumer["extend"] = (tokens) => {
        asked.push(tokens)
        return Effect.succeed(tokens.map(() => "held"))
      }
      const both = pair({ extend: note }, { extend: note })
      assert.deepStrictEqual(yield* both.extend(["b.1"]), ["held"])
      assert.deepStrictEqual(asked, [[], ["b.1"]])
    })
  )
})
