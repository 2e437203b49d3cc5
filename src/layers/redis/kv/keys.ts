/** The names of the Kv's keys. All have the namespace's hash tag, so a Cluster keeps them in one slot. See `README.md`. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Arg } from "../wire.ts"

export interface KvKeys {
  /** The number of the last commit. */
  readonly counter: string
  /** One element for each commit, newest last. */
  readonly log: string
  /** All keys, in their order. */
  readonly index: string
  /** Keys that expire, by their deadline. */
  readonly expiries: string
  /** Changes whenever leftovers of expired keys are removed; what sweeps watch when there are no scripts. */
  readonly swept: string
  /** A place to compute in; empty between commands. */
  readonly scratch: string
  /** Where watchers hear that the log has grown. */
  readonly channel: string
  readonly value: (key: Packed) => Arg
  readonly stamp: (key: Packed) => Arg
  /** What became of a commit. */
  readonly outcome: (commitId: string) => string
  /** Bytes before the packed key in `value` and `stamp`. */
  readonly prefixLength: number
}

export const kvKeys = (namespace: string): KvKeys => {
  const tag = `{${namespace}}:`
  const value = `${tag}k:`
  const stamp = `${tag}s:`
  return {
    counter: `${tag}v`,
    log: `${tag}l`,
    index: `${tag}i`,
    expiries: `${tag}x`,
    swept: `${tag}w`,
    scratch: `${tag}t`,
    channel: `${tag}c`,
    value: (key) => argOf((value + key) as Packed),
    stamp: (key) => argOf((stamp + key) as Packed),
    outcome: (commitId) => `${tag}o:${commitId}`,
    prefixLength: value.length
  }
}

const ascii = /^[\0-\x7f]*$/

/** A packed key is a binary string, one char code per byte; as a text it goes out as it is only while it is ASCII. */
export const argOf = (key: Packed): Arg => (ascii.test(key) ? key : Buffer.from(key, "latin1"))
