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
import * as RcMap from "effect/RcMap"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Place } from "./choose.ts"
import type { DiscoveryError } from "./errors.ts"
import type { Options } from "./options.ts"
import { type Choice, Report } from "./report.ts"
import { type Blame, openRoom, type Room } from "./rooms.ts"

/** Equal when the same server would be reached in the same way. */
class RoomKey implements Equal.Equal {
  readonly open: Effect.Effect<Room, DiscoveryError, Scope.Scope>
  readonly #id: string
  constructor(id: string, open: Effect.Effect<Room, DiscoveryError, Scope.Scope>) {
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

/** What of the options has a part in a connection. */
const optionsOf = (place: Place, options: Options): unknown => {
  const own = place.backend === "memory" ? undefined : options[place.backend]
  const { limits, namespace, tracing } = options
  return [limits, namespace, tracing, own]
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
  readonly tell: (choice: Choice) => Effect.Effect<void>
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
      open: (place, options, blame, probeTimeout) =>
        RcMap.get(
          rooms,
          new RoomKey(
            JSON.stringify(canonical([place, optionsOf(place, options)])),
            openRoom(place, options, blame, probeTimeout)
          )
        ),
      tell: (choice) => Effect.sync(() => void choices.push(choice)),
      deny: (names) => Effect.sync(() => names.forEach((name) => denied.add(name)))
    }).pipe(
      Context.add(Report, {
        choices: Effect.sync(() => [...choices]),
        denied: Effect.sync(() => [...denied])
      })
    )
  })
)
