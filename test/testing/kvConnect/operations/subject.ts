/**
 * What the official clients are asked to do, written once for Node's and Deno's: the modules of this folder are loaded by both runtimes, and
 * use nothing but the client and `node:assert`.
 */
import assert from "node:assert/strict"
import type { Kv, KvEntryMaybe, KvKey } from "@deno/kv"

export interface Subject {
  readonly runtime: "node" | "deno"
  readonly kv: Kv
  /** A client of its own, with a connection of its own. */
  readonly other: Kv
  readonly KvU64: new (value: bigint) => { readonly value: bigint }
  /** The first part of all keys of one operation. */
  readonly root: string
}

export interface Operation {
  readonly name: string
  readonly run: (subject: Subject) => Promise<void>
}

/** One after the other. */
export const each = <A>(items: Iterable<A>, run: (item: A) => Promise<unknown>): Promise<unknown> =>
  Array.from(items).reduce((before: Promise<unknown>, item) => before.then(() => run(item)), Promise.resolve())

export const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Asks until the answer is good, for at most 20 seconds. */
export const until = async <A>(
  ask: () => Promise<A>,
  good: (answer: A) => boolean,
  end: number = Date.now() + 20_000
): Promise<A> => {
  const answer = await ask()
  if (good(answer)) return answer
  assert.ok(Date.now() < end, `still ${JSON.stringify(answer)} after 20 seconds`)
  await pause(10)
  return until(ask, good, end)
}

/** The numbers from 0. */
export const count = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

/** All entries of a list, as pairs of what follows the root and the value. */
export const listed = async (
  { kv, root }: Pick<Subject, "kv" | "root">,
  ...args: Parameters<Kv["list"]>
): Promise<ReadonlyArray<readonly [KvKey, unknown]>> => {
  const entries: Array<readonly [KvKey, unknown]> = []
  for await (const { key, value } of kv.list(...args)) {
    assert.equal(key[0], root)
    entries.push([key.slice(1), value])
  }
  return entries
}

/** An error of the client whose text says this. */
export const refused = async (promise: Promise<unknown>, text: RegExp): Promise<void> => {
  await assert.rejects(promise, (error: unknown) => {
    assert.match(String(error), text)
    return true
  })
}

export const stampOf = (entry: KvEntryMaybe<unknown>): string => {
  assert.ok(entry.versionstamp !== null)
  return entry.versionstamp
}
