/** Publications on their way into the store: what each comes to in keys, checks, mutations and bytes. */
import * as Effect from "effect/Effect"
import type { Publication } from "../../internal/envelope.ts"
import type { Limits } from "../../kv/driver.ts"
import type { Key } from "../../kv/model.ts"
import { Budget } from "./changes.ts"
import { keyText } from "./keys.ts"
import type { QueuePlace } from "./place.ts"
import { encodeBody } from "./records.ts"

/** A publication with what it comes to in keys. */
export interface Draft {
  readonly publication: Publication
  readonly place: QueuePlace
  readonly idKey: Key | undefined
  readonly dedupeKey: Key | undefined
  readonly group: string | undefined
  readonly body: Uint8Array
}

export const draftOf = (place: QueuePlace, publication: Publication): Effect.Effect<Draft> =>
  Effect.gen(function* () {
    const { message, requeued } = publication
    const { dedupe, group, id } = message
    return {
      publication,
      place,
      idKey: requeued === true ? undefined : place.keys.id(yield* keyText(id)),
      dedupeKey: requeued === true || dedupe === undefined ? undefined : place.keys.dedupe(yield* keyText(dedupe.key)),
      group: group === undefined ? undefined : yield* keyText(group),
      body: encodeBody(message)
    }
  })

export const nameOf = (key: Key): string => JSON.stringify(key)

export const checksOf = (draft: Draft): number =>
  (draft.idKey === undefined ? 0 : 1) + (draft.dedupeKey === undefined ? 0 : 1)

/** At most that many mutations and bytes come of a draft, also when it replaces a message. */
const bound = ({ body, dedupeKey, group, idKey, publication }: Draft) => {
  const { message, ttl } = publication
  const replaces = message.dedupe?.onDuplicate === "replace"
  const mutations =
    3 +
    (idKey === undefined ? 0 : 1) +
    (dedupeKey === undefined ? 0 : 1) +
    (group === undefined ? 0 : 1) +
    (ttl === undefined && message.expiresAt === undefined ? 0 : 1) +
    (replaces ? 4 : 0)
  const key = (idKey ?? []).reduce<number>((sum, part) => sum + String(part).length * 3, 64)
  const dedupe = dedupeKey === undefined ? 0 : 2 * (message.dedupe?.key.length ?? 0) * 3
  const old = replaces ? body.length : 0
  return { mutations, bytes: body.length + old + 512 + (mutations + 2) * key + dedupe + (group?.length ?? 0) * 9 }
}

export const idsOf = (drafts: ReadonlyArray<Draft>): ReadonlyArray<string> =>
  drafts.map(({ publication }) => publication.message.id)

/** What a commit has room for, but for checks. */
export class Room {
  readonly #budget: Budget
  readonly #queues = new Set<QueuePlace>()
  constructor(limits: Limits) {
    this.#budget = new Budget(limits)
  }
  /** Takes a draft if it fits. */
  take(draft: Draft): boolean {
    const { bytes, mutations } = bound(draft)
    // Each queue has a wake key and a version of its own.
    const known = this.#queues.has(draft.place)
    this.#queues.add(draft.place)
    return this.#budget.take(known ? 0 : 1, mutations + (known ? 0 : 2), bytes)
  }
}

/** Drafts in their order, in parts of which each fits a commit but for its checks. */
export const partsOf = (limits: Limits, drafts: ReadonlyArray<Draft>): ReadonlyArray<ReadonlyArray<Draft>> => {
  const parts: Array<Array<Draft>> = []
  let room = new Room(limits)
  for (const draft of drafts) {
    if (parts.length === 0 || !room.take(draft)) {
      parts.push([])
      room = new Room(limits)
      room.take(draft)
    }
    parts.at(-1)!.push(draft)
  }
  return parts
}
