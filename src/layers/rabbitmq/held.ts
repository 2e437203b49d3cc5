/** A message that the broker has handed to a worker, and what is known of it. */
import type { Claimed } from "../../queue/driver.ts"
import type { Past, Read } from "./message.ts"

export interface Held {
  readonly token: string
  readonly tag: number
  readonly read: Read
  readonly content: Buffer
  /** Claims on it that were lost, this copy's included. */
  readonly lost: number
  /** A copy of it is where it shall go: only the ack is missing. */
  forwarded: boolean
}

/** A message that was lost so often is published anew, since a broker from 4.0 on drops one at 20 by default. */
const renewAfter = 8

/** What is known of a message before this handing. */
export const pastOf = ({ lost, read: { past } }: Held): Past => ({
  ...past,
  deliveries: past.deliveries + lost - past.lost,
  lost
})

export const claimedOf = ({ lost, read, token }: Held): Claimed => ({
  message: read.message,
  token,
  deliveryCount: read.past.deliveries + lost - read.past.lost + 1,
  attempt: 1 + read.past.retries + lost,
  lostStarted: lost,
  lostUnstarted: 0
})

/** Whether it must be published anew: its count is full, or its broker counts no further than one. */
export const isStale = ({ lost, read: { brokerCount, past } }: Held): boolean =>
  brokerCount === undefined ? lost > past.lost : brokerCount >= renewAfter
