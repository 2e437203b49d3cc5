/**
 * Texts of `key=value` pairs as .NET writes them: with commas (StackExchange.Redis) and with semicolons (ADO.NET). A value may hold
 * every character: it goes on until the mark that ends it, and one in quotes until the quote (which stands doubled inside).
 */

export interface Pair {
  /** `undefined`: a piece without a key. */
  readonly key: string | undefined
  readonly value: string
  readonly quoted: boolean
}

export interface Grammar {
  readonly mark: "," | ";"
  readonly quotes: ReadonlyArray<string>
  /** Is this, lower-case, the key of a pair? What else follows a value that may hold anything belongs to that value. */
  readonly isKey: (key: string) => boolean
  /** May the value of this key hold the mark, unquoted? */
  readonly holdsMark: (key: string) => boolean
}

const keyPattern = /^\s*([A-Za-z][A-Za-z ]*?)\s*=/

/** Behind blanks. */
const skipBlanks = (text: string, from: number): number => {
  let at = from
  while (at < text.length && text[at]!.trim() === "") at++
  return at
}

/** The end of a quoted value that begins at `start`, behind its quote; -1 when no quote ends it just before a mark or the end. */
const endOfQuoted = (text: string, start: number, mark: string): number => {
  const quote = text[start]!
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] !== quote) continue
    if (text[at + 1] === quote) at++
    else {
      const next = skipBlanks(text, at + 1)
      return next === text.length || text[next] === mark ? at + 1 : -1
    }
  }
  return -1
}

export const readPairs = (text: string, { holdsMark, isKey, mark, quotes }: Grammar): ReadonlyArray<Pair> => {
  const pairs: Array<Pair> = []
  let at = 0
  const endOfPiece = (from: number): number => {
    const end = text.indexOf(mark, from)
    return end === -1 ? text.length : end
  }
  const beginsPair = (from: number): boolean => {
    const key = keyPattern.exec(text.slice(from))?.[1]
    return key !== undefined && isKey(key.toLowerCase())
  }
  while (at < text.length) {
    const found = keyPattern.exec(text.slice(at))
    if (found === null) {
      const end = endOfPiece(at)
      if (text.slice(at, end).trim() !== "")
        pairs.push({ key: undefined, value: text.slice(at, end).trim(), quoted: false })
      at = end + 1
      continue
    }
    const key = found[1]!.toLowerCase()
    const start = at + found[0].length
    const open = skipBlanks(text, start)
    if (quotes.includes(text[open] ?? "")) {
      const end = endOfQuoted(text, open, mark)
      if (end !== -1) {
        const quote = text[open]!
        pairs.push({ key, value: text.slice(open + 1, end - 1).replaceAll(quote + quote, quote), quoted: true })
        at = skipBlanks(text, end) + 1
        continue
      }
    }
    let end = endOfPiece(start)
    if (holdsMark(key)) while (end < text.length && !beginsPair(end + 1)) end = endOfPiece(end + 1)
    pairs.push({ key, value: text.slice(start, end), quoted: false })
    at = end + 1
  }
  return pairs
}

const yes = /^(?:true|yes|1)$/i
const no = /^(?:false|no|0)$/i

/** A yes or no as .NET writes it. */
export const readFlag = (text: string): boolean | undefined =>
  yes.test(text.trim()) ? true : no.test(text.trim()) ? false : undefined
