/**
 * Identifiers: of messages (time-ordered UUIDs) and of commits (a random prefix and a counter).
 *
 * Both are generators with state of their own, made once per service instance: nothing is shared between instances, and
 * random bits are drawn in blocks, since one call of the platform's generator costs more than an id.
 *
 * **Gotchas**
 *
 * Ids that follow each other show their order and can be guessed. Never use them as secrets.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"

/**
 * Fills words with random bits, as `crypto.getRandomValues` does.
 *
 * @since 0.1.0
 * @category models
 */
export type FillRandom = (words: Uint32Array<ArrayBuffer>) => void

/**
 * Gives the next message id for the current time, in milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export type NextMessageId = (now: number) => string

export const fillFromPlatform: FillRandom = (words) => {
  globalThis.crypto.getRandomValues(words)
}

const maxTime = 2 ** 48 - 1
const counterLowBits = 2 ** 30
const maxCounter = 2 ** 42 - 1

/**
 * Makes a generator of UUIDv7 texts (RFC 9562, method 1): every id sorts after the one before it, as text and as bytes.
 *
 * The time is the caller's, so a virtual clock rules it. Within one millisecond a 42-bit counter orders the ids; it
 * starts at 41 random bits, and 32 more random bits follow it, so that instances which never heard of each other do not
 * collide. A clock that goes back does not: the last time is kept. A time before 1970, or none, counts as 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMessageIds: Effect.Effect<NextMessageId> = Effect.sync(() => messageIdsWith(fillFromPlatform))

/**
 * {@link makeMessageIds} with a given source of random bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const messageIdsWith = (fill: FillRandom): NextMessageId => {
  const random = randomWords(fill)
  let time = -1
  let timeText = ""
  let high = 0
  let low = 0

  const startAt = (millis: number) => {
    time = millis
    const hex = millis.toString(16).padStart(12, "0")
    timeText = hex.slice(0, 8) + "-" + hex.slice(8) + "-7"
    // The counter's top bit stays clear: a millisecond has room for 2^41 ids at least.
    high = random() & 0x7ff
    low = random() & 0x3fffffff
  }

  return (now) => {
    const millis = now >= 1 ? Math.min(Math.floor(now), maxTime) : 0
    if (millis > time) {
      startAt(millis)
    } else if (low < counterLowBits - 1) {
      low++
    } else if (high * counterLowBits + low < maxCounter) {
      high++
      low = 0
    } else {
      // The millisecond is used up: borrow the next one.
      startAt(time + 1)
    }
    return (
      timeText +
      hex2[high >>> 8]!.slice(1) +
      hex2[high & 0xff]! +
      "-" +
      hex2[0x80 | (low >>> 24)]! +
      hex2[(low >>> 16) & 0xff]! +
      "-" +
      hex2[(low >>> 8) & 0xff]! +
      hex2[low & 0xff]! +
      hexWord(random())
    )
  }
}

/**
 * The time in an id of {@link NextMessageId}, in milliseconds; `undefined` for a text of another form. Only what stands before the
 * counter is looked at: other UUIDs of version 7 have it too.
 *
 * @since 0.1.0
 * @category getters
 */
export const messageIdTime = (id: string): number | undefined => {
  if (id.length !== 36 || id.charCodeAt(14) !== 0x37 || id.charCodeAt(8) !== 0x2d || id.charCodeAt(13) !== 0x2d)
    return undefined
  const high = hexOf(id, 0, 8)
  const low = hexOf(id, 9, 13)
  return high === undefined || low === undefined ? undefined : high * 0x10000 + low
}

/** Lower-case hex digits as a number of up to 53 bits. */
const hexOf = (text: string, from: number, to: number): number | undefined => {
  let value = 0
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i)
    if (code >= 0x30 && code <= 0x39) value = value * 16 + code - 0x30
    else if (code >= 0x61 && code <= 0x66) value = value * 16 + code - 0x57
    else return undefined
  }
  return value
}

/**
 * Makes a generator of commit ids: 20 hex characters, 12 random ones that name the instance and an 8-digit counter. When
 * the counter is used up, a fresh random prefix follows. Commit ids of one instance never repeat under one prefix; they
 * have no order across instances.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeCommitIds: Effect.Effect<() => string> = Effect.sync(() => commitIdsWith(fillFromPlatform))

/**
 * {@link makeCommitIds} with a given source of random bits and a first count (default 0).
 *
 * @since 0.1.0
 * @category constructors
 */
export const commitIdsWith = (
  fill: FillRandom,
  options?: { readonly firstCount?: number | undefined }
): (() => string) => {
  const words = new Uint32Array(2)
  const freshPrefix = () => {
    fill(words)
    return hexWord(words[0]!) + hexWord(words[1]!).slice(4)
  }
  let prefix = freshPrefix()
  let count = options?.firstCount ?? 0
  return () => {
    if (count > 0xffffffff) {
      prefix = freshPrefix()
      count = 0
    }
    return prefix + hexWord(count++)
  }
}

const hex2: ReadonlyArray<string> = /* @__PURE__ */ Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0")
)

const hexWord = (word: number): string =>
  hex2[word >>> 24]! + hex2[(word >>> 16) & 0xff]! + hex2[(word >>> 8) & 0xff]! + hex2[word & 0xff]!

const randomWords = (fill: FillRandom): (() => number) => {
  const pool = new Uint32Array(256)
  let used = pool.length
  return () => {
    if (used === pool.length) {
      fill(pool)
      used = 0
    }
    return pool[used++]!
  }
}
