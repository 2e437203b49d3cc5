/**
 * Health of a seam: the answer of its backend, and the state of every background loop that works for it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * `up`: all is well; `degraded`: the backend answers, but a loop that works for it fails; `down`: the backend does not answer.
 *
 * @since 0.1.0
 * @category models
 */
export type HealthStatus = "up" | "degraded" | "down"

/**
 * The backend, or one background loop.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthPart {
  readonly name: string
  readonly status: "up" | "down"
  /** Milliseconds since the epoch at which it became so. */
  readonly since: number
  /** The last failure, for a part that is down. */
  readonly detail?: string | undefined
}

/**
 * `down`: the backend does not answer. `degraded`: it answers, but a background loop (a worker, a watcher, the sweeper) is
 * failing and retrying. `since`: when the status became what it is, as far as it was looked at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health {
  readonly status: HealthStatus
  readonly since: number
  readonly parts: ReadonlyArray<HealthPart>
}

/** The handle by which a loop tells how it is. */
export interface PartHandle {
  readonly up: Effect.Effect<void>
  readonly down: (detail: string) => Effect.Effect<void>
}

export interface HealthRegistry {
  /** A part that is listed until the scope closes. */
  readonly part: (name: string) => Effect.Effect<PartHandle, never, Scope.Scope>
  /** Asks the backend and reads the parts. */
  readonly read: (ping: Effect.Effect<void, { readonly message: string }>) => Effect.Effect<Health>
}

export const makeHealth = (backend: string): Effect.Effect<HealthRegistry> =>
  Effect.sync(() => {
    const parts = new Set<{ name: string; status: "up" | "down"; since: number; detail?: string | undefined }>()
    let last: { status: HealthStatus; since: number } | undefined
    let server: { status: "up" | "down"; since: number } | undefined

    const part: HealthRegistry["part"] = (name) =>
      Effect.gen(function* () {
        const entry = {
          name,
          status: "up" as "up" | "down",
          since: yield* Clock.currentTimeMillis,
          detail: undefined as string | undefined
        }
        yield* Effect.acquireRelease(
          Effect.sync(() => parts.add(entry)),
          () => Effect.sync(() => parts.delete(entry))
        )
        const turn = (status: "up" | "down", detail: string | undefined) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            entry.detail = detail
            if (entry.status === status) return
            entry.status = status
            entry.since = now
          })
        const up = turn("up", undefined)
        return {
          up: Effect.suspend(() => (entry.status === "up" ? Effect.void : up)),
          down: (detail) => turn("down", detail)
        }
      })

    const read: HealthRegistry["read"] = (ping) =>
      Effect.gen(function* () {
        const failure = yield* Effect.match(ping, {
          onFailure: (error): string | undefined => error.message,
          onSuccess: () => undefined
        })
        const now = yield* Clock.currentTimeMillis
        const answer = failure === undefined ? "up" : "down"
        if (server === undefined || server.status !== answer) server = { status: answer, since: now }
        const all: Array<HealthPart> = [{ name: backend, ...server, detail: failure }]
        for (const entry of parts) all.push({ ...entry })
        const status: HealthStatus =
          failure !== undefined ? "down" : all.some((p) => p.status === "down") ? "degraded" : "up"
        if (last === undefined || last.status !== status) last = { status, since: now }
        return { status, since: last.since, parts: all }
      })

    return { part, read }
  })
