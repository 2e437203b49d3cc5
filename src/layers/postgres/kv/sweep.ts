/** Removing what is expired, in batches, each a commit of its own, however many processes sweep; and dropping the oldest commits of the log. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Driver } from "../../../kv/driver.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { bigint, int, text } from "../params.ts"
import { kvError } from "./error.ts"

const batch = 256
const trimBatch = 2_048
/** A process trims the log once in so many commits of its own, or in a tenth of its length. */
const trimEvery = 256

export interface Tending {
  readonly sweep: Driver["sweep"]
  /** Follows each commit of this process. Waits only when the log is not trimmed as fast as it grows. */
  readonly written: Effect.Effect<void>
}

export const makeTending = (
  { apart, hints, joined, sql }: ConnectionService,
  nextId: () => string,
  logLength: number
): Effect.Effect<Tending, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const sweepSql = sql("SELECT removed, told, next FROM seams.kv_sweep($1, $2)")
    const trimSql = sql("SELECT seams.kv_trim($1, $2)")
    const every = Math.max(1, Math.min(trimEvery, Math.floor(logLength / 10)))
    let commits = 0

    const trim: Effect.Effect<void, PostgresFault> = Effect.suspend(() =>
      Effect.flatMap(apart(trimSql, [bigint(BigInt(logLength)), int(trimBatch)]), ([row]) =>
        row![0] === true ? trim : Effect.void
      )
    )

    const sweepBatch: Effect.Effect<number | undefined, PostgresFault> = Effect.suspend(() =>
      Effect.flatMap(apart(sweepSql, [text(nextId()), int(batch)]), ([row]) => {
        const [removed, told, next] = row as unknown as [number, boolean, number | null]
        if (told) hints.tell("kv")
        return removed === batch ? sweepBatch : Effect.succeed(next ?? undefined)
      })
    )

    let trimming: Fiber.Fiber<void> | undefined
    const trimNext = Effect.map(
      // What fails now is done after some more commits.
      Effect.forkIn(Effect.ignore(trim), scope),
      (fiber) => void (trimming = fiber)
    )
    const written = Effect.suspend(() => {
      if (++commits % every !== 0) return Effect.void
      const before = trimming
      return Effect.flatMap(joined, (inside) =>
        before === undefined || inside ? trimNext : Effect.andThen(Fiber.await(before), trimNext)
      )
    })

    return {
      sweep: Effect.mapError(
        Effect.flatMap(sweepBatch, (next) => Effect.as(trim, next)),
        kvError("sweep")
      ),
      written
    }
  })
