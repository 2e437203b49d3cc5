/**
 * Which slots of a job are due, and how many have passed. Pure.
 */
import type { Definition } from "./definition.ts"
import type { Instants } from "./engine.ts"

/** @internal */
export interface Slots {
  /** The first slot after an instant. */
  readonly after: (instant: number) => number | undefined
  /** When a slot is to be started: the slot, and jitter. */
  readonly due: (slot: number) => number
  /** The slots after `cursor` that are due by `now`: the first and the last. */
  readonly passed: (cursor: number, now: number) => { readonly first: number; readonly last: number } | undefined
  /** The last slots up to and including `last`, not before `from`, at most `limit` of them, in order. */
  readonly latest: (from: number, last: number, limit: number) => ReadonlyArray<number>
  /** How many slots there are from `first` to `last`, both counted; at most `limit`. */
  readonly count: (first: number, last: number, limit: number) => number
  readonly before: (instant: number) => number | undefined
}

/** @internal */
export const makeSlots = (definition: Definition, source: Instants): Slots => {
  const instants = { ...source, after: remembering(source.after) }
  const due = (slot: number): number => {
    if (definition.jitter === 0) return slot
    const next = instants.after(slot)
    // Never past the next slot, so that slots stay in order.
    const room = next === undefined ? definition.jitter : Math.min(definition.jitter, next - slot)
    return slot + Math.floor(fraction(`${definition.id}@${slot}`) * room)
  }
  return {
    after: instants.after,
    before: instants.before,
    due,
    passed: (cursor, now) => {
      const first = instants.after(cursor)
      if (first === undefined || due(first) > now) return undefined
      const second = instants.after(first)
      if (second === undefined || due(second) > now) return { first, last: first }
      const last = instants.before(now + 1) ?? first
      return { first, last: due(last) <= now ? last : (instants.before(last) ?? first) }
    },
    latest: (from, last, limit) => {
      const found: Array<number> = []
      for (let slot: number | undefined = last; slot !== undefined && slot >= from && found.length < limit;) {
        found.push(slot)
        slot = instants.before(slot)
      }
      return found.toReversed()
    },
    count: (first, last, limit) => {
      let count = 1
      for (let slot = instants.after(first); slot !== undefined && slot <= last && count < limit;) {
        count++
        slot = instants.after(slot)
      }
      return count
    }
  }
}

/** Remembers the last two answers: one look at a job asks for the slot after its cursor, and the one after that, often. */
const remembering = (after: Instants["after"]): Instants["after"] => {
  let newer: { readonly asked: number; readonly answer: number | undefined } | undefined
  let older: typeof newer
  return (instant) => {
    if (newer?.asked === instant) return newer.answer
    if (older?.asked === instant) return older.answer
    older = newer
    newer = { asked: instant, answer: after(instant) }
    return newer.answer
  }
}

/** A number from 0 (included) to 1 (not included) that a text always gives: FNV-1a, mixed once more. @internal */
export const fraction = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i)
    hash = Math.imul(hash, 0x01000193)
  }
  hash ^= hash >>> 16
  hash = Math.imul(hash, 0x85ebca6b)
  hash ^= hash >>> 13
  hash = Math.imul(hash, 0xc2b2ae35)
  hash ^= hash >>> 16
  return (hash >>> 0) / 2 ** 32
}
