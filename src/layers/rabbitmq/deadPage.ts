/** Pages of dead letters. A queue has no places one could come back to, so a cursor names the last letter that was listed. */
import type { DeadMessage } from "../../queue/driver.ts"
import { QueueError, Undecodable } from "../../queue/QueueError.ts"

export interface Cursor {
  readonly id: string
  readonly diedAt: number
  /** How many letters of the same millisecond were listed up to it. */
  readonly peers: number
}

const form = /^(\d{1,15})\.(\d{1,15})\.(.+)$/s

export const readCursor = (queue: string, text: string): Cursor | QueueError => {
  const parts = form.exec(text)
  return parts === null
    ? new QueueError({
        reason: new Undecodable({ queue, id: text, what: "cursor", detail: "it names no time and letter" })
      })
    : { diedAt: Number(parts[1]), peers: Number(parts[2]), id: parts[3]! }
}

/** Takes letters in their order, and keeps those of the page behind a cursor, and one more to know whether there are more. */
export class Page {
  readonly #from: Cursor | undefined
  readonly #most: number
  /** The letter of the cursor was seen, or there is none: what comes is behind it. */
  #isBehind: boolean
  #peers = 0
  #last: Cursor | undefined
  #letters: Array<DeadMessage> = []
  cursor: string | undefined

  constructor(from: Cursor | undefined, most: number) {
    this.#from = from
    this.#most = most
    this.#isBehind = from === undefined
  }

  get letters(): ReadonlyArray<DeadMessage> {
    return this.#letters
  }

  /** Whether the page is complete, and no later letter can change it. */
  isFull(letter: DeadMessage): boolean {
    const from = this.#from
    this.#peers = this.#last?.diedAt === letter.diedAt ? this.#last.peers + 1 : 1
    this.#last = { id: letter.message.id, diedAt: letter.diedAt, peers: this.#peers }
    if (!this.#isBehind && from !== undefined) {
      if (letter.message.id === from.id) {
        this.#isBehind = true
        this.#letters = []
        this.cursor = undefined
        return false
      }
      // It may have been removed meanwhile: then what is younger is behind it, and of its own millisecond all but those listed.
      if (letter.diedAt < from.diedAt || (letter.diedAt === from.diedAt && this.#peers < from.peers)) return false
    }
    if (this.#letters.length < this.#most) {
      this.#letters.push(letter)
      this.#end = this.#last
    } else if (this.#end !== undefined) this.cursor = `${this.#end.diedAt}.${this.#end.peers}.${this.#end.id}`
    return this.#isBehind && this.cursor !== undefined
  }

  #end: Cursor | undefined
}
