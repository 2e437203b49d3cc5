/** Milliseconds that the work below takes on the machine for which times are written. */
const usual = 11

/**
 * How many times slower this machine is: tests of a live clock wait longer by that, and fewer run at once. In halves, from 1 to 4.
 *
 * The work is done by what is compiled already: a loop of our own is ten times as fast in one run as in the next, as the compiler has it.
 * Others that use the machine meanwhile count, so it is the middle of the times, not the best.
 */
export const measuredPace = (): number => {
  const records = Array.from({ length: 20_000 }, (_, i) => ({
    id: `job-${i}`,
    n: i,
    text: "some text, as a message has it",
    flags: [true, false, null]
  }))
  const times = Array.from({ length: 21 }, () => {
    const begun = performance.now()
    JSON.parse(JSON.stringify(records))
    return performance.now() - begun
  })
  const middle = times.toSorted((a, b) => a - b)[10]!
  return Math.min(4, Math.max(1, Math.round((2 * middle) / usual) / 2))
}
