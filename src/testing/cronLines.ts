/**
 * Lines between those who work and their Kv that tests can cut or stop.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Kv from "../Kv.ts"
import { KvError, Unavailable } from "../kv/KvError.ts"

type Around = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | KvError, R>

const around = (kv: Kv.Service, guarded: Around): Kv.Service => ({
  ...kv,
  now: guarded(kv.now),
  get: (key) => guarded(kv.get(key)),
  getMany: (keys) => guarded(kv.getMany(keys)),
  has: (key) => guarded(kv.has(key)),
  page: (selector, options) => guarded(kv.page(selector, options)),
  set: (key, value, options) => guarded(kv.set(key, value, options)),
  delete: (key) => guarded(kv.delete(key)),
  commit: (steps) => guarded(kv.commit(steps))
})

/** A Kv that can be cut off: reads and commits then fail at once, as those of a client that cannot reach its server. */
export const cuttable = (
  kv: Kv.Service
): { readonly kv: Kv.Service; readonly cut: Effect.Effect<void>; readonly heal: Effect.Effect<void> } => {
  let isCut = false
  const { backend } = kv.capabilities
  const outage = new KvError({ reason: new Unavailable({ backend, operation: "any", detail: "cut off by the test" }) })
  return {
    kv: around(kv, <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.suspend((): Effect.Effect<A, E | KvError, R> => (isCut ? Effect.fail(outage) : effect))
    ),
    cut: Effect.sync(() => {
      isCut = true
    }),
    heal: Effect.sync(() => {
      isCut = false
    })
  }
}

/** The same store as one without a clock of its own: whoever asks for the time is told their own. */
export const withoutClock = (kv: Kv.Service): Kv.Service => ({
  ...kv,
  capabilities: { ...kv.capabilities, clock: "process", shared: true },
  now: Clock.currentTimeMillis
})

/** A Kv whose calls wait at a gate, as those of a process that stands still. */
export const throughGate = (kv: Kv.Service, gate: Effect.Effect<void>): Kv.Service =>
  around(kv, (effect) => Effect.andThen(gate, effect))
