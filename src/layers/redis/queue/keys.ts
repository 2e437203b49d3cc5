/** The names of a queue's keys. All have the queue's hash tag, so a Cluster keeps them together. */

/** In the order in which scripts expect them in KEYS. */
const suffixes = [
  "o",
  "r",
  "d",
  "c",
  "x",
  "m",
  "t",
  "l",
  "b",
  "h",
  "ia",
  "ib",
  "k",
  "kx",
  "e",
  "D",
  "db",
  "di",
  "w"
] as const

export const keysPerQueue: number = suffixes.length

/** Where a queue's slot comes from: its own name, or the namespace it shares with the Kv. */
export type Slots = "queue" | "namespace"

export const queueKeys = (namespace: string, queue: string, slots: Slots): ReadonlyArray<string> => {
  // Names of queues have no braces and no colons: nothing to escape.
  const prefix = slots === "queue" ? `{${namespace}:${queue}}` : `{${namespace}}:q:${queue}`
  return suffixes.map((suffix) => `${prefix}:${suffix}`)
}

/** The channel on which changes of the counts are announced while somebody asked for it. */
export const activityChannel = (keys: ReadonlyArray<string>): string => keys[0]!

/** Which of the two ways the namespace's queues are kept. */
export const modelKey = (namespace: string): string => `{${namespace}}:model`

/** The set of the namespace's queues, for those who keep house. */
export const registryKey = (namespace: string): string => `{${namespace}}:queues`
