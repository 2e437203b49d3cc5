/**
 * From the bytes of a file to its statistics, in one pass and in constant memory. Text or not, a file is bytes here.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import type { Statistics } from "./model.ts"
import { reasonOf } from "./walk.ts"

const largestBuffer = 256 * 1024

export class Unreadable extends Schema.TaggedError<Unreadable>()("Unreadable", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

/** Reads a file. Fails with `Unreadable`, whatever the cause. */
export const statisticsOf = (path: string): Effect.Effect<Statistics, Unreadable, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    // Before it is opened: opening a pipe that nobody writes to would wait for ever.
    const { size, type } = yield* fs.stat(path)
    if (type === "Directory") return yield* new Unreadable({ reason: "it is a folder now" })
    if (type !== "File") return yield* new Unreadable({ reason: `it is not a file but a ${type} now` })
    const file = yield* fs.open(path)
    // One byte more than the file has, so that a small file is known to be over after one read.
    const buffer = Buffer.allocUnsafe(Math.min(Number(size) + 1, largestBuffer))
    const tally = new Tally()
    while (true) {
      const read = yield* file.read(buffer)
      tally.add(buffer.subarray(0, read))
      if (read < buffer.length) return tally.end()
    }
  }).pipe(
    Effect.scoped,
    Effect.catchTag("PlatformError", (error) => Effect.fail(new Unreadable({ reason: reasonOf(error) })))
  )

const [tab, carriageReturn, newline, space] = [9, 13, 10, 32]
const [h, t, p, s, colon, slash] = [104, 116, 112, 115, 58, 47]

/** Counts bytes as they come; words and links may reach over the end of a buffer. */
export class Tally {
  readonly #hash = createHash("sha256")
  #bytes = 0
  #lines = 0
  #words = 0
  #links = 0
  #inWord = false
  /** How much of `http://` or `https://` the last bytes were: 4 is `http`, 5 `https`, 8 all of it. */
  #matched = 0

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.#bytes += bytes.length
    // Locals: this loop sees every byte of every file.
    let [lines, words, links, inWord, matched] = [0, 0, 0, this.#inWord, this.#matched]
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!
      if (byte === space || (byte >= tab && byte <= carriageReturn)) {
        if (byte === newline) lines++
        inWord = false
        matched = 0
        continue
      }
      if (!inWord) {
        inWord = true
        words++
      }
      if (byte === h) {
        if (matched === 8) links++
        matched = 1
      } else if (matched > 0) {
        if (matched === 8) {
          if (isNameStart(byte)) links++
          matched = 0
        } else matched = extend(matched, byte)
      }
    }
    this.#lines += lines
    this.#words += words
    this.#links += links
    this.#inWord = inWord
    this.#matched = matched
  }

  end(): Statistics {
    return {
      bytes: this.#bytes,
      lines: this.#lines,
      words: this.#words,
      links: this.#links,
      sha256: this.#hash.digest("hex")
    }
  }
}

const extend = (matched: number, byte: number): number => {
  switch (matched) {
    case 1:
    case 2:
      return byte === t ? matched + 1 : 0
    case 3:
      return byte === p ? 4 : 0
    case 4:
      return byte === s ? 5 : byte === colon ? 6 : 0
    case 5:
      return byte === colon ? 6 : 0
    default:
      return byte === slash ? matched + 1 : 0
  }
}

/** A letter, a digit, a byte of a letter outside ASCII, or the bracket of an IPv6 address. */
const isNameStart = (byte: number): boolean =>
  (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || (byte >= 48 && byte <= 57) || byte >= 128 || byte === 91
