import * as Effect from "effect/Effect"
import { messageExpired } from "../../../internal/queueMetrics.ts"

/** Meters what was dropped at its time to live; called after the transaction that dropped it. */
export const reportExpired = (expired: ReadonlyMap<string, number> | undefined): Effect.Effect<void> =>
  expired === undefined
    ? Effect.void
    : Effect.forEach(expired, ([queue, n]) => messageExpired(queue, n), { discard: true })
