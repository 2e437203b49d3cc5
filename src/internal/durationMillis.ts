/**
 * Durations as options give them. Effect turns negative and NaN inputs into zero; an option that says "-1 second" is a mistake
 * and must not pass for one that says nothing.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** Milliseconds from zero to Infinity; `undefined` for what is no such duration. */
export const durationMillis = (input: Duration.Input): number | undefined => {
  if (isNegative(input)) return undefined
  const duration = Duration.fromInput(input)
  return Option.isNone(duration) ? undefined : Duration.toMillis(duration.value)
}

const isNegative = (input: unknown): boolean => {
  switch (typeof input) {
    case "number":
      return !(input >= 0)
    case "bigint":
      return input < 0n
    case "string":
      return input.trimStart().startsWith("-")
    case "object":
      // Of a Duration itself the fields are no numbers, and it cannot be negative.
      return (
        !Duration.isDuration(input) &&
        Object.values(input ?? {}).some((part) => typeof part === "number" && !(part >= 0))
      )
    default:
      return false
  }
}

/** An input as an error message shows it. */
export const describeInput = (input: unknown): string =>
  typeof input === "object"
    ? JSON.stringify(input, (_, v: unknown) => (typeof v === "bigint" ? `${v}n` : v))
    : String(input)
