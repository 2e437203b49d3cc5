/** Milliseconds that the loop below takes on the machine for which times are written. */
const usual = 50

/** How many times slower this machine is: tests of a live clock wait longer by that, and fewer run at once. In halves, from 1 to 4. */
export const measuredPace = (): number => {
  let fastest = Number.POSITIVE_INFINITY
  let sum = 0
  for (let round = 0; round < 3; round++) {
    const begun = performance.now()
    for (let i = 0; i < 2e7; i++) sum = (sum + i * 7) | 0
    fastest = Math.min(fastest, performance.now() - begun)
  }
  // The sum is used, or there would be no loop.
  return Math.min(4, Math.max(1, Math.round((2 * fastest) / usual) / 2), Number.isInteger(sum) ? 4 : 1)
}
