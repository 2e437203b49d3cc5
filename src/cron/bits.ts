/**
 * Sets of the numbers 0 to 59 as two words of 30 bits, and the searches in them that a walk over times needs.
 */

/** @internal */
export interface Bits {
  /** Bit `i` is the number `i`, 0 to 29. */
  readonly low: number
  /** Bit `i` is the number `30 + i`. */
  readonly high: number
}

export const bitsOf = (values: Iterable<number>): Bits => {
  let low = 0
  let high = 0
  for (const value of values) {
    if (value < 30) low |= 1 << value
    else high |= 1 << (value - 30)
  }
  return { low, high }
}

/** The least number of the set from `from` on; -1 when there is none. */
export const nextBit = (bits: Bits, from: number): number => {
  if (from < 30) {
    const rest = bits.low & (-1 << from)
    if (rest !== 0) return lowestBit(rest)
    from = 30
  }
  if (from > 59) return -1
  const rest = bits.high & (-1 << (from - 30))
  return rest === 0 ? -1 : lowestBit(rest) + 30
}

/** The greatest number of the set up to `from`; -1 when there is none. */
export const previousBit = (bits: Bits, from: number): number => {
  if (from >= 30) {
    const rest = bits.high & ((2 << (from - 30)) - 1)
    if (rest !== 0) return highestBit(rest) + 30
    from = 29
  }
  if (from < 0) return -1
  const rest = bits.low & ((2 << from) - 1)
  return rest === 0 ? -1 : highestBit(rest)
}

/** The index of the lowest bit of a word that is not zero. */
export const lowestBit = (word: number): number => 31 - Math.clz32(word & -word)

/** The index of the highest bit of a word that is not zero. */
export const highestBit = (word: number): number => 31 - Math.clz32(word)
