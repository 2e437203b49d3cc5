/**
 * The connections of one program: one per distinct address and options, shared by the seams that use it. A constant layer, so that every
 * layer of discovery in one program means the same.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as Layer from "effect/Layer"
import * as Exit from "effect/Exit"
import * as RcMap from "effect/RcMap"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { Place } from "./choose.ts"
import type { DiscoveryError } from "./errors.ts"
import type { Options } from "./options.ts"
import { type Choice, Report } from "./report.ts"
import { type Blame, blamed, type Fault, openRoom, type Room } from "./rooms.ts"

/** Equal when the same server would be reached in the same way. */
class RoomKey implements Equal.Equal {
  readonly open: Effect.Effect<Room, Fault, Scope.Scope>
  readonly #id: string
  constructor(id: string, open: Effect.Effect<Room, Fault, Scope.Scope>) {
    this.#id = id
    this.open = open
  }
  [Equal.symbol](that: Equal.Equal): boolean {
    return that instanceof RoomKey && that.#id === this.#id
  }
  [Hash.symbol](): number {
    return Hash.string(this.#id)
  }
}

/** What of the options has a part in a connection. The rest is for the seams over it, of which each sharer makes its own. */
const optionsOf = ({ backend }: Place, options: Options): unknown => {
  switch (backend) {
    case "memory":
      return options.limits
    case "sqlite":
      return [options.limits, options.sqlite]
    case "redis":
    case "rabbitmq":
      return [options.namespace, options[backend]]
    case "postgres":
    case "denokv":
      return options[backend]
  }
}

/** What tells two sets of options apart, secrets and durations too, which JSON does not show. */
const canonical = (value: unknown): unknown => {
  if (Redacted.isRedacted(value)) return ["secret", canonical(Redacted.value(value))]
  if (Duration.isDuration(value)) return ["duration", String(Duration.toMillis(value))]
  if (typeof value === "bigint") return ["bigint", String(value)]
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value === "object" && value !== null)
    return Object.entries(value)
      .filter(([, one]) => one !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, one]) => [name, canonical(one)])
  return value
}

export interface ConnectionsService {
  /** Opened by the first who asks, closed with the last. */
  readonly open: (
    place: Place,
    options: Options,
    blame: Blame,
    probeTimeout: number
  ) => Effect.Effect<Room, DiscoveryError, Scope.Scope>
  /** It is in the report as long as what was chosen is there. */
  readonly tell: (choice: Choice) => Effect.Effect<void, never, Scope.Scope>
  readonly deny: (names: ReadonlyArray<string>) => Effect.Effect<void>
}

export class Connections extends Context.Service<Connections, ConnectionsService>()(
  "effect-seams/Discovery/Connections"
) {}

export const layerConnections: Layer.Layer<Connections | Report> = Layer.effectContext(
  Effect.gen(function* () {
    const rooms = yield* RcMap.make({ lookup: (key: RoomKey) => key.open })
    const choices: Array<Choice> = []
    const denied = new Set<string>()
    return Context.make(Connections, {
      open: Effect.fnUntraced(function* (place, options, blame, probeTimeout) {
        const id = JSON.stringify(canonical([place, optionsOf(place, options)]))
        // A scope of its own: whoever fails lets go at once, so that the next attempt, in the same scope too, is a new one.
        const scope = yield* Scope.fork(yield* Scope.Scope)
        return yield* RcMap.get(rooms, new RoomKey(id, openRoom(place, options, probeTimeout))).pipe(
          Scope.provide(scope),
          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
          Effect.mapError(blamed(blame))
        )
      }),
      tell: (choice) =>
        Effect.acquireRelease(
          Effect.sync(() => void choices.push(choice)),
          () => Effect.sync(() => void choices.splice(choices.indexOf(choice), 1))
        ),
      deny: (names) => Effect.sync(() => names.forEach((name) => denied.add(name)))
    }).pipe(
      Context.add(Report, {
        choices: Effect.sync(() => [...choices]),
        denied: Effect.sync(() => [...denied])
      })
    )
  })
)
