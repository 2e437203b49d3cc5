/**
 * A failure as text, for dead letters, run records and logs. It must not fail itself, whatever a program fails with.
 */
import * as Cause from "effect/Cause"
import { format } from "effect/Formatter"

const longest = 2_000

export const describeFailure = (cause: Cause.Cause<unknown>): string => describeError(Cause.squash(cause))

export const describeError = (error: unknown): string => {
  try {
    const text = error instanceof Error ? describeException(error) : typeof error === "string" ? error : format(error)
    return text.slice(0, longest)
  } catch {
    return "a failure that cannot be shown as text (its message or toJSON throws)"
  }
}

/** Tagged errors often have fields and no message: then the fields say what happened. */
const describeException = (error: Error): string => {
  if (error.message !== "") return error.name === "Error" ? error.message : `${error.name}: ${error.message}`
  const fields = Object.entries(error).filter(([name]) => name !== "_tag" && name !== "name" && name !== "stack")
  return fields.length === 0 ? error.name : `${error.name}: ${format(Object.fromEntries(fields))}`
}
