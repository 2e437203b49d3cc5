/**
 * Waiting for something to claim: for a change of the queue, here or in another process, or for the moment at which time alone
 * brings something about. No timer but that one; a queue with nothing scheduled and nothing claimed has none.
 */
import * as Effect from "effect/Effect"
import type { ConnectionService } from "../connection.ts"
import type { StoreFault } from "../faults.ts"

/** Timers of the platform overflow beyond 2^31 ms; a longer wait is taken in parts. */
const longestSleep = 86_400_000

interface LookRow {
  readonly paused: number
  readonly ready: number
  readonly due: number | null
  readonly lease: number | null
  readonly expires: number | null
  readonly lines: number
}

export interface Waiting {
  /** Would a claim find something now? */
  readonly claimable: (q: number) => boolean
  /** Completes when a claim may find something. */
  readonly ready: (q: number) => Effect.Effect<void, StoreFault>
  /** Completes when the counts changed since a version. `tended` brings the queue up to now, which is such a change too. */
  readonly activity: (
    q: number,
    version: number,
    tended: Effect.Effect<void, StoreFault>
  ) => Effect.Effect<void, StoreFault>
}

export const makeWaiting = (connection: ConnectionService): Waiting => {
  const { now, prepare, read, wake } = connection
  const look = prepare(
    `SELECT paused,
      EXISTS (SELECT 1 FROM seams_message WHERE q = ? AND state = 0) AS ready,
      (SELECT min(due) FROM seams_message WHERE q = ? AND state = 1) AS due,
      (SELECT min(lease) FROM seams_message WHERE q = ? AND state = 2) AS lease,
      (SELECT expires FROM seams_message WHERE q = ? AND expires IS NOT NULL AND state <> 2 ORDER BY expires LIMIT 1) AS expires,
      EXISTS (SELECT 1 FROM seams_line WHERE q = ?) AS lines
      FROM seams_queue WHERE q = ?`
  )
  const peek = (q: number) => look.get(q, q, q, q, q, q) as LookRow

  const until = (q: number, version: number, at: number): Effect.Effect<void> => {
    const changed = wake.wait(q, version)
    return at === Number.POSITIVE_INFINITY
      ? changed
      : Effect.raceFirst(changed, connection.sleep(Math.min(Math.max(0, at - now()), longestSleep)))
  }

  const ready = (q: number): Effect.Effect<void, StoreFault> =>
    Effect.suspend(() => {
      const version = wake.version(q)
      return Effect.flatMap(
        read(() => nextClaimable(peek(q))),
        (at) => (at <= now() ? Effect.void : Effect.andThen(until(q, version, at), ready(q)))
      )
    })

  const activity = (
    q: number,
    version: number,
    tended: Effect.Effect<void, StoreFault>
  ): Effect.Effect<void, StoreFault> =>
    Effect.flatMap(tended, () =>
      wake.version(q) !== version
        ? Effect.void
        : Effect.flatMap(
            read(() => nextChange(peek(q))),
            (at) => Effect.andThen(until(q, version, at), activity(q, version, tended))
          )
    )

  return { claimable: (q) => nextClaimable(peek(q)) <= now(), ready, activity }
}

/** When time makes something claimable: a due time, the end of a lease, the end of a head that blocks its line. */
const nextClaimable = (row: LookRow): number =>
  row.paused !== 0
    ? Number.POSITIVE_INFINITY
    : Math.min(
        row.ready !== 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY,
        row.due ?? Number.POSITIVE_INFINITY,
        row.lease ?? Number.POSITIVE_INFINITY,
        row.lines !== 0 && row.expires !== null ? row.expires : Number.POSITIVE_INFINITY
      )

/** When time changes a count. */
const nextChange = (row: LookRow): number =>
  Math.min(
    row.due ?? Number.POSITIVE_INFINITY,
    row.lease ?? Number.POSITIVE_INFINITY,
    row.expires ?? Number.POSITIVE_INFINITY
  )
