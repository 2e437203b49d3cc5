/** From drafts, and what stands in the store of them, to the steps of the commit that accepts them. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Envelope } from "../../internal/envelope.ts"
import type { KvError } from "../../kv/KvError.ts"
import type { Entry, Key, Versionstamp } from "../../kv/model.ts"
import type { Step } from "../../kv/op.ts"
import type { Published } from "../driver.ts"
import { type Draft, nameOf } from "./drafts.ts"
import { deleteStep, disturbsLine, enter, setStep, transition } from "./machine.ts"
import { foundOf, type QueuePlace } from "./place.ts"
import type { DedupeRecord, MessageRecord } from "./records.ts"
import { decodeBody, encodeBody, timesOf } from "./records.ts"

/** Milliseconds in which an accepted id adds nothing when it is enqueued again. */
const idWindow = 300_000

/** What stands in the store of the marks of some drafts, the messages their dedupe keys stand for, and the wake keys. */
export interface Known {
  readonly marks: Map<string, Entry>
  readonly replaced: Map<
    string,
    { readonly message: MessageRecord; readonly versionstamp: Versionstamp; readonly body: unknown }
  >
  readonly guards: Map<QueuePlace, Versionstamp | null>
}

export const nothing = (): Known => ({ marks: new Map(), replaced: new Map(), guards: new Map() })

export const readKnown = (drafts: ReadonlyArray<Draft>): Effect.Effect<Known, KvError> =>
  Effect.gen(function* () {
    const known = nothing()
    const { kv } = drafts[0]!.place
    const places = [...new Set(drafts.map(({ place }) => place))]
    const marks = new Map<string, Key>()
    for (const { dedupeKey, idKey } of drafts)
      for (const key of [idKey, dedupeKey]) if (key !== undefined) marks.set(nameOf(key), key)
    const keys = [...places.map(({ keys: own }) => own.wake), ...marks.values()]
    // One snapshot: the guards are as old as the marks.
    const entries = yield* kv.getMany(keys)
    for (const [i, place] of places.entries())
      known.guards.set(place, Option.getOrNull(Option.map(entries[i]!, ({ versionstamp }) => versionstamp)))
    for (const [i, name] of [...marks.keys()].entries()) {
      const entry = entries[places.length + i]
      if (entry !== undefined && Option.isSome(entry)) known.marks.set(name, entry.value)
    }
    yield* readReplaced(drafts, known)
    return known
  })

const readReplaced = (drafts: ReadonlyArray<Draft>, known: Known): Effect.Effect<void, KvError> =>
  Effect.gen(function* () {
    const targets = new Map<string, QueuePlace>()
    for (const { dedupeKey, place, publication } of drafts) {
      if (dedupeKey === undefined || publication.message.dedupe?.onDuplicate !== "replace") continue
      const mark = known.marks.get(nameOf(dedupeKey))
      if (mark !== undefined) targets.set((mark.value as DedupeRecord).seq, place)
    }
    if (targets.size === 0) return
    const { kv } = drafts[0]!.place
    const list = [...targets]
    const entries = yield* kv.getMany(list.flatMap(([seq, { keys }]) => [keys.message(seq), keys.body(seq)]))
    for (const [i, [seq, { keys }]] of list.entries()) {
      const { check, message } = foundOf(keys.message(seq), entries[i * 2])
      const body = entries[i * 2 + 1]
      // What is claimed, or has ended, is left alone.
      if (message === undefined || message.claim !== undefined || check.versionstamp === null) continue
      known.replaced.set(seq, {
        message,
        versionstamp: check.versionstamp,
        body: body === undefined || Option.isNone(body) ? undefined : body.value.value
      })
    }
  })

/** A message of the plan: as it stands in the store, and as the commit leaves it. */
interface Planned {
  readonly place: QueuePlace
  readonly before: MessageRecord | undefined
  after: MessageRecord | undefined
  envelope: Envelope
  body: Uint8Array
}

export interface Plan {
  readonly answers: ReadonlyArray<Published>
  readonly steps: ReadonlyArray<Step>
  readonly places: ReadonlySet<QueuePlace>
  readonly expired: ReadonlyMap<string, number>
}

/** What a commit must hold to accept some drafts, in their order, given what is known. */
export const planOf = (drafts: ReadonlyArray<Draft>, known: Known, now: number, guarded: boolean): Plan => {
  const answers: Array<Published> = []
  const marks: Array<Step> = []
  const checks: Array<Step> = []
  const accepted = new Set<string>()
  const claimed = new Map<string, DedupeRecord>()
  const planned = new Map<string, Planned>()
  const places = new Set<QueuePlace>()
  const check = (key: Key, versionstamp: Versionstamp | null) => checks.push({ _tag: "Check", key, versionstamp })

  const replace = (draft: Draft, seq: string) => {
    const { publication } = draft
    let target = planned.get(seq)
    if (target === undefined) {
      const found = known.replaced.get(seq)
      const old = found === undefined ? undefined : decodeBody(found.body)
      if (found === undefined || old === undefined) return
      check(draft.place.keys.message(seq), found.versionstamp)
      const { dedupe, group } = old.header
      const envelope = { ...publication.message, dedupe, group }
      target = { place: draft.place, before: found.message, after: found.message, envelope, body: draft.body }
      planned.set(seq, target)
    }
    const { after, envelope } = target
    if (after === undefined) return
    target.envelope = { ...publication.message, dedupe: envelope.dedupe, group: envelope.group }
    target.body = encodeBody(target.envelope)
    const { due, expiresAt, notBefore } = timesOf(publication, now)
    target.after = enter({ ...after, due, expiresAt, notBefore, priority: publication.message.priority }, now)
    places.add(draft.place)
  }

  for (const draft of drafts) {
    const { body, dedupeKey, group, idKey, place, publication } = draft
    const { message } = publication
    const { id } = message
    if (idKey !== undefined) {
      const name = nameOf(idKey)
      if (accepted.has(name) || known.marks.has(name)) {
        answers.push({ id, duplicate: true })
        continue
      }
    }
    const seq = place.nextSeq(now)
    if (dedupeKey !== undefined) {
      const name = nameOf(dedupeKey)
      const first = claimed.get(name) ?? (known.marks.get(name)?.value as DedupeRecord | undefined)
      if (first !== undefined) {
        if (message.dedupe?.onDuplicate === "replace") replace(draft, first.seq)
        answers.push({ id: first.id, duplicate: true })
        continue
      }
      const window = message.dedupe?.window ?? 0
      if (window > 0) {
        if (!guarded) check(dedupeKey, null)
        marks.push(setStep(dedupeKey, { id, seq }, window))
        claimed.set(name, { id, seq })
      }
    }
    if (idKey !== undefined) {
      if (!guarded) check(idKey, null)
      marks.push(setStep(idKey, 1, idWindow))
      accepted.add(nameOf(idKey))
    }
    const { due, expiresAt, notBefore } = timesOf(publication, now)
    const fresh: MessageRecord = {
      seq,
      id,
      body: seq,
      due,
      priority: message.priority,
      enqueuedAt: now,
      notBefore,
      expiresAt,
      group,
      place: "ready",
      held: false,
      deliveries: 0,
      retries: 0,
      lostStarted: 0,
      lostUnstarted: 0
    }
    planned.set(seq, { place, before: undefined, after: enter(fresh, now), envelope: message, body })
    places.add(place)
    answers.push({ id, duplicate: false })
  }

  const steps: Array<Step> = []
  const expired = new Map<string, number>()
  for (const { after, before, body, place } of planned.values()) {
    const { keys, queue } = place
    steps.push(...transition(keys, before, after))
    if (after !== undefined)
      steps.push({
        _tag: "Set",
        key: keys.body(after.body),
        value: { _tag: "Bytes", bytes: body },
        expireIn: undefined
      })
    else {
      if (before !== undefined) steps.push(deleteStep(keys.body(before.body)))
      expired.set(queue, (expired.get(queue) ?? 0) + 1)
    }
    const group = (after ?? before)?.group
    if (group !== undefined && disturbsLine(before, after)) steps.push(setStep(keys.dirty(group), 1))
  }
  if (guarded) for (const place of places) check(place.keys.wake, known.guards.get(place) ?? null)
  return { answers, steps: [...checks, ...marks, ...steps], places, expired }
}
