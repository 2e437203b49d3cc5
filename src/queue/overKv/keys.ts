/**
 * Where a queue keeps what in the Kv: one prefix per queue, one letter per kind of entry.
 *
 * | key | value |
 * | --- | --- |
 * | `m seq` | the state of a message; its versionstamp guards every change |
 * | `b seq` | the body: header and payload, written once |
 * | `r -priority due seq` | claimable now, in claim order |
 * | `t at kind seq` | what time brings: `d` due, `l` end of a lease, `x` end of a time to live |
 * | `t -1 g group` | a line whose head is to be looked at |
 * | `t -2 p` | the queue is paused |
 * | `w group due seq` | due, and blocked behind the head of its line |
 * | `h group` | the seq of a line's head |
 * | `i id`, `k key` | an accepted id, a dedupe key, until their windows end |
 * | `o diedAt seq`, `n id diedAt seq` | dead letters in order of death, and by id |
 * | `wake`, `v` | changed when a claim may find more; counts every change of the counts |
 */
import * as Effect from "effect/Effect"
import type { Key, KeyPart } from "../../kv/model.ts"

export type TimerKind = "d" | "l" | "x"

/** Entries of the timer index that are due at once, whatever the time is: they sort before all times. */
const dirtyAt = -1
const pausedAt = -2

export interface QueueKeys {
  readonly message: (seq: string) => Key
  readonly body: (seq: string) => Key
  readonly ready: (priority: number, due: number, seq: string) => Key
  readonly readyPrefix: ReadonlyArray<KeyPart>
  readonly timer: (at: number, kind: TimerKind, seq: string) => Key
  readonly timerPrefix: ReadonlyArray<KeyPart>
  readonly dirty: (group: string) => Key
  readonly paused: Key
  readonly waiting: (group: string, due: number, seq: string) => Key
  readonly waitingPrefix: (group: string) => ReadonlyArray<KeyPart>
  readonly head: (group: string) => Key
  readonly id: (id: string) => Key
  readonly dedupe: (key: string) => Key
  readonly dead: (diedAt: number, seq: string) => Key
  readonly deadPrefix: ReadonlyArray<KeyPart>
  readonly deadId: (id: string, diedAt: number, seq: string) => Key
  readonly deadIdPrefix: (id: string) => ReadonlyArray<KeyPart>
  readonly deadIds: ReadonlyArray<KeyPart>
  readonly messagePrefix: ReadonlyArray<KeyPart>
  readonly wake: Key
  readonly version: Key
}

export const queueKeys = (namespace: string, queue: string): QueueKeys => {
  const root = [`~effect-seams/${namespace}`, queue] as const
  const at = (...parts: ReadonlyArray<KeyPart>): Key => [...root, ...parts]
  return {
    message: (seq) => at("m", seq),
    messagePrefix: at("m"),
    body: (seq) => at("b", seq),
    // Higher priorities first; `0 -` so that no -0 arises.
    ready: (priority, due, seq) => at("r", 0 - priority, due, seq),
    readyPrefix: at("r"),
    timer: (time, kind, seq) => at("t", time, kind, seq),
    timerPrefix: at("t"),
    dirty: (group) => at("t", dirtyAt, "g", group),
    paused: at("t", pausedAt, "p", ""),
    waiting: (group, due, seq) => at("w", group, due, seq),
    waitingPrefix: (group) => at("w", group),
    head: (group) => at("h", group),
    id: (id) => at("i", id),
    dedupe: (key) => at("k", key),
    dead: (diedAt, seq) => at("o", diedAt, seq),
    deadPrefix: at("o"),
    deadId: (id, diedAt, seq) => at("n", id, diedAt, seq),
    deadIdPrefix: (id) => at("n", id),
    deadIds: at("n"),
    wake: at("wake"),
    version: at("v")
  }
}

/** An entry of the timer index, from its key. */
export type TimerEntry =
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Dirty"; readonly group: string }
  | { readonly _tag: "Timer"; readonly at: number; readonly kind: TimerKind; readonly seq: string }

export const timerEntryOf = (key: Key): TimerEntry => {
  const [at, kind, name] = key.slice(-3) as [number, TimerKind | "g" | "p", string]
  if (kind === "p") return { _tag: "Paused" }
  if (kind === "g") return { _tag: "Dirty", group: name }
  return { _tag: "Timer", at, kind, seq: name }
}

export const lastPart = (key: Key): string => key.at(-1) as string

const longestText = 255
const hashMark = "~"

/**
 * A text of a user as part of a key. What would make the key too long, or is no well-formed text, is replaced by its SHA-256; the
 * true text stands in the message.
 */
export const keyText = (text: string): Effect.Effect<string> =>
  text.length <= longestText && !text.startsWith(hashMark) && !/\p{Surrogate}/u.test(text)
    ? Effect.succeed(text)
    : Effect.map(
        // As JSON, which tells lone surrogates apart.
        Effect.promise(() =>
          globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(text)))
        ),
        (digest) => {
          let hex = hashMark
          for (const byte of new Uint8Array(digest)) hex += byte.toString(16).padStart(2, "0")
          return hex
        }
      )
