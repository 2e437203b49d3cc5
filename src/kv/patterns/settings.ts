/** Options of the patterns, checked: an unusable one is an error that names itself. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { KvError, Unsupported } from "../KvError.ts"
import { packKey } from "../list.ts"
import type { Key } from "../model.ts"

export const refuse = (of: string, option: string, detail: string): KvError =>
  new KvError({ reason: new Unsupported({ feature: `The option ${option} of ${of}`, detail }) })

/** Milliseconds of a duration option, whole and within bounds; `most` may be Infinity. */
export const millisOf = (
  of: string,
  option: string,
  given: Duration.Input | undefined,
  rule: { readonly fallback: Duration.Input; readonly least: number; readonly most: number }
): Effect.Effect<number, KvError> =>
  Effect.suspend(() => {
    const millis = durationMillis(given ?? rule.fallback)
    if (millis !== undefined && millis >= rule.least && millis <= rule.most) return Effect.succeed(Math.ceil(millis))
    const most = Number.isFinite(rule.most) ? ` and at most ${rule.most} ms` : ""
    return Effect.fail(
      refuse(of, option, `${describeInput(given)} is no duration of at least ${rule.least} ms${most}; give one`)
    )
  })

/** A key that is none must not become one by what a pattern puts before it. */
export const checkKey = (key: Key): Effect.Effect<void, KvError> =>
  Effect.suspend(() => {
    const packed = packKey(key)
    return packed instanceof KvError ? Effect.fail(packed) : Effect.void
  })

const longestLease = 86_400_000

/** How long a claim lasts without a heartbeat. */
export const leaseOf = (of: string, given: Duration.Input | undefined): Effect.Effect<number, KvError> =>
  millisOf(of, "lease", given, { fallback: "15 seconds", least: 100, most: longestLease })

/** Milliseconds of a clock that never goes back, for what this process observes. */
export const monotonicMillis: Effect.Effect<number> = Effect.map(
  Clock.monotonicTimeNanos,
  (nanos) => Number(nanos) / 1e6
)
