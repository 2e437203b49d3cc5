/** An answer of another status than 200: what the client shows its program is the text. */
export class Refusal {
  readonly _tag = "Refusal"
  /** Clients give up on 4xx and send the request again on 5xx. */
  readonly status: number
  readonly detail: string
  constructor(status: number, detail: string) {
    this.status = status
    this.detail = detail
  }
}

export const isRefusal = (u: unknown): u is Refusal => u instanceof Refusal

/** The request can never be carried out as it is. */
export const badRequest = (detail: string): Refusal => new Refusal(400, detail)
