/** What both sides of a test between processes know. */
import * as Kv from "../../../../src/Kv.ts"

/** More than one write of Deno KV can check. */
export const counterNames: ReadonlyArray<string> = Array.from({ length: 20 }, (_, i) => `counter ${i}`)

/** One step of a commit that is large in two ways: in what it must check, and in bytes. */
export const grow = (i: number) => [
  ...counterNames.map((name) => Kv.sum(["grown", name], 1n)),
  ...Array.from({ length: 12 }, (_, n) => Kv.set(["grown", "large", n], new Uint8Array(65_536).fill(i % 256)))
]

export const final = (state: ReadonlyMap<string, unknown>): string =>
  JSON.stringify(Array.from(state).toSorted(([a], [b]) => (a < b ? -1 : 1)))
