/** What the publisher makes of a broker's words, told by a channel of the test's own. */
import { EventEmitter } from "node:events"
import * as v8 from "node:v8"
import * as vm from "node:vm"
import type { ConfirmChannel } from "amqplib"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Signal } from "../../../src/internal/signal.ts"
import type { Link, Session } from "../../../src/layers/rabbitmq/link.ts"
import { makePublisher, type Nacked, type Outgoing } from "../../../src/layers/rabbitmq/publisher.ts"
import type { Target } from "../../../src/layers/rabbitmq/target.ts"
import { until } from "../../support/faults.ts"

v8.setFlagsFromString("--expose-gc")
const collect = vm.runInNewContext("gc") as () => void

const target = { commandTimeout: 2_000, blockedTimeout: 20 } as Target

type Confirm = (error: unknown) => void

class FakeChannel extends EventEmitter {
  published: Array<string> = []
  /** What the broker answers. */
  answer: (confirm: Confirm) => void = (confirm) => confirm(null)
  publish(_exchange: string, _key: string, content: Buffer, _properties: unknown, confirm: Confirm): void {
    this.published.push(content.toString())
    this.answer(confirm)
  }
}

const setup = Effect.fnUntraced(function* (nacked: Nacked) {
  const channel = new FakeChannel()
  const session = { ended: undefined, blocked: undefined, gather: () => undefined } as unknown as Session
  const changed = new Signal()
  const opening = Effect.succeed(channel as unknown as ConfirmChannel)
  const link: Link = {
    session: Effect.succeed(session),
    current: () => session,
    changed,
    channel: opening,
    confirmChannel: opening
  }
  return { channel, session, changed, publisher: yield* makePublisher(link, target, 10, nacked) }
})

const outgoing = (text: string): Outgoing => ({
  exchange: "",
  routingKey: "jobs",
  content: Buffer.from(text),
  properties: {}
})

describe("a broker that blocks publishers", () => {
  it.live("keeps nothing in memory that was withdrawn meanwhile, and gets the rest", () =>
    Effect.gen(function* () {
      const { changed, channel, publisher, session } = yield* setup("refused")
      session.blocked = "low on memory"
      const withdrawn: Array<WeakRef<Buffer>> = []
      const withdraw = (text: string) => {
        const one = outgoing(text)
        withdrawn.push(new WeakRef(one.content))
        return Effect.flip(publisher.send([one]))
      }
      yield* Effect.forEach(["a", "b", "c"], withdraw, { discard: true })
      yield* until(
        "they are gone",
        Effect.sync(() => {
          collect()
          return withdrawn.every((one) => one.deref() === undefined)
        }),
        "3 seconds"
      )
      session.blocked = undefined
      changed.raise()
      assert.deepStrictEqual((yield* publisher.send([outgoing("later")])).fates, ["accepted"])
      assert.deepStrictEqual(channel.published, ["later"])
    })
  )
})

describe("a message that the broker nacks", () => {
  const nacked = Effect.fnUntraced(function* (kind: Nacked) {
    const { channel, publisher } = yield* setup(kind)
    channel.answer = (confirm) => queueMicrotask(() => confirm(new Error("message nacked")))
    return yield* publisher.send([outgoing("a")])
  })

  it.live("is not there when it was for a quorum queue", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* nacked("refused")).fates, ["refused"])
    })
  )

  it.live("may be there when it was for a classic queue, whose node may have gone with it on its disk", () =>
    Effect.gen(function* () {
      const { detail, fates } = yield* nacked("unknown")
      assert.deepStrictEqual(fates, ["unknown"])
      assert.include(detail, "ended before it answered")
    })
  )
})
