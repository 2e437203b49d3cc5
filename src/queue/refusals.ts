/** What is refused before anything is sent: names that no backend carries, and what a backend cannot do. */
import type { Publication } from "../internal/envelope.ts"
import { utf8Length } from "../kv/value.ts"
import type { Capabilities } from "./driver.ts"
import { InvalidName, QueueError, TooLarge, Unsupported } from "./QueueError.ts"

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** Refuses names that some backend cannot carry. */
export const checkName = (name: string): QueueError | undefined =>
  typeof name === "string" && namePattern.test(name)
    ? undefined
    : new QueueError({
        reason: new InvalidName({
          name: String(name),
          detail: "use 1 to 128 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
        })
      })

const others = "use a backend for this queue that has it (memory and sqlite do)"

const unsupported = (capabilities: Capabilities, feature: string, detail: string = others) =>
  new QueueError({ reason: new Unsupported({ feature, backend: capabilities.backend, detail }) })

const verbs = {
  pause: { feature: "Pausing", detail: others },
  purge: { feature: "Purging", detail: others },
  counts: {
    feature: "awaitIdle",
    detail:
      "it does not count what is delayed or claimed; wait for what the handlers do, or use a backend that counts (memory and sqlite do)"
  },
  leases: {
    feature: "Extending a claim",
    detail:
      "a claim lasts as long as the connection of its worker and needs no extension; use a backend with leases if it must end sooner (memory and sqlite have them)"
  }
} as const

/** Why an operation that needs this capability is refused; `undefined` where the backend has it. */
export const refusedVerb = (capabilities: Capabilities, needs: keyof typeof verbs): QueueError | undefined =>
  capabilities[needs] ? undefined : unsupported(capabilities, verbs[needs].feature, verbs[needs].detail)

/** Why a message is refused: an option that the backend lacks, or its size. */
const refusedPublication = (capabilities: Capabilities, publication: Publication): QueueError | undefined => {
  const { message } = publication
  if (!capabilities.delay && (publication.delay !== undefined || message.notBefore !== undefined))
    return unsupported(capabilities, "A delay")
  if (!capabilities.priority && message.priority !== 0) return unsupported(capabilities, "A priority")
  if (!capabilities.dedupe && message.dedupe !== undefined) return unsupported(capabilities, "Deduplication by key")
  if (!capabilities.groups && message.group !== undefined) return unsupported(capabilities, "A group")
  if (!capabilities.ttl && (publication.ttl !== undefined || message.expiresAt !== undefined))
    return unsupported(capabilities, "A time to live")
  // A character takes three bytes at most: what is far below the limit needs no count.
  let size = message.payload.length * 3
  for (const key of Object.keys(message.headers)) size += (key.length + message.headers[key]!.length) * 3
  if (size <= capabilities.maxMessage) return undefined
  size = utf8Length(message.payload)
  for (const [key, value] of Object.entries(message.headers)) size += utf8Length(key) + utf8Length(value)
  return size > capabilities.maxMessage
    ? new QueueError({ reason: new TooLarge({ queue: message.queue, actual: size, limit: capabilities.maxMessage }) })
    : undefined
}

/** Why messages are refused, whether they are enqueued or part of a commit: the first that has a reason. */
export const refusedBatch = (capabilities: Capabilities, batch: ReadonlyArray<Publication>): QueueError | undefined => {
  for (const publication of batch) {
    const problem = checkName(publication.message.queue) ?? refusedPublication(capabilities, publication)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Is the message what the store does not take? Any other failure is the store's: rights, a lasting fault, an outage. */
export const refusesMessage = ({ reason: { _tag } }: QueueError): boolean =>
  _tag === "TooLarge" || _tag === "Unsupported" || _tag === "InvalidName" || _tag === "Unencodable"
