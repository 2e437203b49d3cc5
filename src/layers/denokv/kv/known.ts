/** What was last seen of keys, so that a commit which follows a read does not have to read again. Old knowledge costs a conflict at most. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Versionstamp } from "../../../kv/model.ts"
import type { Found } from "./envelope.ts"
import { payloadOf, stampOfFound, valueOf } from "./envelope.ts"
import { readStamp } from "./stamps.ts"

export interface Seen {
  readonly versionstamp: Versionstamp
  /** Deno KV's versionstamp of the entry. */
  readonly native: string
  readonly deadline: number | undefined
  /** Of a counter. */
  readonly counter: bigint | undefined
}

const most = 4_096

export class Known {
  readonly #seen = new Map<Packed, Seen>()

  get(key: Packed): Seen | undefined {
    return this.#seen.get(key)
  }

  set(key: Packed, seen: Seen): void {
    this.#seen.delete(key)
    this.#seen.set(key, seen)
    if (this.#seen.size <= most) return
    const oldest = this.#seen.keys().next()
    if (oldest.done !== true) this.#seen.delete(oldest.value)
  }

  found(found: Found): void {
    const value = found.kind === 2 ? valueOf(2, found.payload) : undefined
    this.set(found.key, {
      versionstamp: stampOfFound(found),
      native: found.native,
      deadline: found.written.deadline,
      counter: value?._tag === "Counter" ? value.value : undefined
    })
  }

  /** A counter as it would be found if it is still what it was: the check of its entry says so. */
  counter(key: Packed): Found | undefined {
    const seen = this.#seen.get(key)
    const stamp = seen?.counter === undefined ? undefined : readStamp(seen.versionstamp)
    if (seen?.counter === undefined || stamp === undefined) return undefined
    const { commitId, generation, position } = stamp
    return {
      _tag: "Found",
      key,
      native: seen.native,
      written: {
        generation,
        commitId,
        deadline: seen.deadline,
        position: position === seen.native ? undefined : position
      },
      kind: 2,
      payload: payloadOf({ _tag: "Counter", value: seen.counter }),
      tail: undefined
    }
  }

  forget(key: Packed): void {
    this.#seen.delete(key)
  }
}
