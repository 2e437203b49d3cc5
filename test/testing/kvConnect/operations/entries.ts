import assert from "node:assert/strict"
import type { KvKey } from "@deno/kv"
import { type Operation, type Subject, count, each, listed, stampOf } from "./subject.ts"

const values: ReadonlyArray<readonly [string, (KvU64: Subject["KvU64"]) => unknown]> = [
  ["text", () => "grüße 🎉 \u0000"],
  ["a number", () => 1.5],
  ["not a number", () => Number.NaN],
  ["a huge integer", () => Number.MAX_SAFE_INTEGER],
  ["a boolean", () => false],
  ["null", () => null],
  ["undefined", () => undefined],
  ["a bigint", () => -(2n ** 200n)],
  ["a date", () => new Date(1_700_000_000_123)],
  ["a regular expression", () => /a+b/gi],
  [
    "a map",
    () =>
      new Map<unknown, unknown>([
        ["a", 1],
        [2, new Set([3])]
      ])
  ],
  ["a set", () => new Set(["x", 1n])],
  ["nested objects", () => ({ a: [1, { b: null }], c: { d: "e" } })],
  ["no bytes", () => new Uint8Array()],
  ["bytes", () => Uint8Array.from({ length: 300 }, (_, i) => i % 256)],
  ["bytes that look like what this server keeps", () => new Uint8Array([0xf5, 0x4b, 0x56, 2, 1, 0, 0, 0, 0, 0, 0, 0])],
  ["an unsigned integer", (KvU64) => new KvU64(42n)],
  ["the largest unsigned integer", (KvU64) => new KvU64(2n ** 64n - 1n)],
  ["2^63", (KvU64) => new KvU64(2n ** 63n)]
]

const parts: ReadonlyArray<KvKey[number]> = [
  new Uint8Array(),
  new Uint8Array([0, 255, 0]),
  new Uint8Array([1]),
  "",
  "a",
  "a\u0000",
  "a\u0000b",
  "ab",
  "ä",
  "🎉",
  -(2n ** 100n),
  -(2n ** 64n),
  -1n,
  0n,
  1n,
  255n,
  256n,
  2n ** 64n,
  Number.NEGATIVE_INFINITY,
  -1.5,
  0,
  Number.MIN_VALUE,
  1,
  2 ** 53,
  Number.POSITIVE_INFINITY,
  false,
  true
]

export const entryOperations: ReadonlyArray<Operation> = [
  {
    name: "set, get and delete",
    run: async ({ kv, root }) => {
      const key = [root, "k"]
      assert.deepEqual(await kv.get(key), { key, value: null, versionstamp: null })
      const first = await kv.set(key, "one")
      assert.match(first.versionstamp, /^[0-9a-f]{20}$/)
      assert.deepEqual(await kv.get(key), { key, value: "one", versionstamp: first.versionstamp })
      const second = await kv.set(key, "two")
      assert.ok(second.versionstamp > first.versionstamp)
      assert.equal((await kv.get(key)).value, "two")
      await kv.delete(key)
      assert.equal((await kv.get(key)).versionstamp, null)
      await kv.delete(key)
    }
  },
  {
    name: "values of all kinds",
    run: async ({ KvU64, kv, other, root }) => {
      await each(values, async ([name, make]) => {
        await kv.set([root, name], make(KvU64))
        const { value } = await other.get([root, name])
        assert.deepEqual(value, make(KvU64), name)
        assert.equal(value instanceof KvU64, make(KvU64) instanceof KvU64, name)
      })
    }
  },
  {
    name: "keys of all kinds, in their order",
    run: async ({ kv, root }) => {
      await each([...parts.entries()].toReversed(), ([i, part]) => kv.set([root, part, "end"], i))
      await each(parts.entries(), async ([i, part]) => {
        const { key, value } = await kv.get([root, part, "end"])
        assert.equal(value, i)
        assert.deepEqual(key, [root, part, "end"])
      })
      const all = await listed({ kv, root }, { prefix: [root] })
      assert.deepEqual(
        all,
        parts.map((part, i) => [[part, "end"], i])
      )
    }
  },
  {
    name: "getMany, in the order asked for",
    run: async ({ kv, root }) => {
      await each(count(5), (i) => kv.set([root, i], i))
      const keys = [3, 9, 0, 7, 4, 1, 8, 2, 5, 6].map((i) => [root, i])
      const entries = await kv.getMany(keys)
      assert.deepEqual(
        entries.map(({ key, value }) => [key, value]),
        keys.map((key) => [key, (key[1] as number) < 5 ? key[1] : null])
      )
      assert.deepEqual(
        (
          await kv.getMany([
            [root, 1],
            [root, 1]
          ])
        ).map(({ value }) => value),
        [1, 1]
      )
    }
  },
  {
    name: "lists below a prefix, without the prefix itself",
    run: async ({ kv, root }) => {
      await kv.set([root], "the prefix")
      await each([["a"], ["a", "x"], ["a", "y"], ["b"]], (key) => kv.set([root, ...key], key.join()))
      assert.deepEqual(await listed({ kv, root }, { prefix: [root] }), [
        [["a"], "a"],
        [["a", "x"], "a,x"],
        [["a", "y"], "a,y"],
        [["b"], "b"]
      ])
      assert.deepEqual(await listed({ kv, root }, { prefix: [root, "a"] }), [
        [["a", "x"], "a,x"],
        [["a", "y"], "a,y"]
      ])
      assert.deepEqual(await listed({ kv, root }, { prefix: [root, "c"] }), [])
    }
  },
  {
    name: "lists below numbers, bigints, booleans and bytes",
    run: async ({ kv, root }) => {
      const prefixes = [1, 2, 1n, 255n, -1n, true, false, new Uint8Array([255]), "a", "a\u0000"] as const
      await each(prefixes, (part) => each([0, 1], (i) => kv.set([root, part, i], `${String(part)}${i}`)))
      await each(prefixes, async (part) =>
        assert.deepEqual(await listed({ kv, root }, { prefix: [root, part] }), [
          [[part, 0], `${String(part)}0`],
          [[part, 1], `${String(part)}1`]
        ])
      )
    }
  },
  {
    name: "lists between start and end",
    run: async ({ kv, root }) => {
      await each(count(10), (i) => kv.set([root, "n", i], i))
      const numbers = async (...args: Parameters<typeof kv.list>) =>
        (await listed({ kv, root }, ...args)).map(([, value]) => value)
      const at = (i: number) => [root, "n", i]
      assert.deepEqual(await numbers({ prefix: [root, "n"], start: at(7) }), [7, 8, 9])
      assert.deepEqual(await numbers({ prefix: [root, "n"], end: at(3) }), [0, 1, 2])
      assert.deepEqual(await numbers({ start: at(3), end: at(6) }), [3, 4, 5])
      assert.deepEqual(await numbers({ start: at(3), end: at(3) }), [])
      assert.deepEqual(await numbers({ start: at(3), end: at(6) }, { reverse: true }), [5, 4, 3])
      assert.deepEqual(await numbers({ prefix: [root, "n"] }, { limit: 2 }), [0, 1])
      assert.deepEqual(await numbers({ prefix: [root, "n"] }, { limit: 1 }), [0])
      assert.deepEqual(await numbers({ prefix: [root, "n"] }, { reverse: true, limit: 2 }), [9, 8])
      assert.deepEqual(await numbers({ prefix: [root, "n"], start: at(5) }, { reverse: true, limit: 1 }), [9])
    }
  },
  {
    name: "long lists, in batches",
    run: async ({ kv, root }) => {
      await each([0, 600], async (from) => {
        const write = kv.atomic()
        for (let i = from; i < from + 600; i++) write.set([root, i], i)
        assert.equal((await write.commit()).ok, true)
      })
      const expected = count(1_200)
      const numbers = async (...args: Parameters<typeof kv.list>) =>
        (await listed({ kv, root }, ...args)).map(([, value]) => value)
      assert.deepEqual(await numbers({ prefix: [root] }), expected)
      assert.deepEqual(await numbers({ prefix: [root] }, { batchSize: 17 }), expected)
      assert.deepEqual(await numbers({ prefix: [root] }, { batchSize: 500, reverse: true }), expected.toReversed())
      assert.deepEqual(await numbers({ prefix: [root] }, { limit: 111, batchSize: 10 }), expected.slice(0, 111))
    }
  },
  {
    name: "lists that go on from a cursor",
    run: async ({ kv, root }) => {
      const expected = count(7)
      await each(expected, (i) => kv.set([root, `k${i}`], i))
      await each([false, true], async (reverse) => {
        const seen: Array<unknown> = []
        const more = async (cursor?: string): Promise<void> => {
          const iterator = kv.list(
            { prefix: [root] },
            { limit: 3, reverse, ...(cursor === undefined ? {} : { cursor }) }
          )
          const before = seen.length
          for await (const { value } of iterator) seen.push(value)
          if (seen.length === before + 3) await more(iterator.cursor)
        }
        await more()
        assert.deepEqual(seen, reverse ? expected.toReversed() : expected)
      })
    }
  },
  {
    name: "a versionstamp for all that a commit writes",
    run: async ({ kv, root }) => {
      await kv.set([root, "gone"], 1)
      const result = await kv
        .atomic()
        .set([root, "a"], 1)
        .delete([root, "gone"])
        .set([root, "b"], 2)
        .sum([root, "c"], 3n)
        .commit()
      assert.equal(result.ok, true)
      const entries = await kv.getMany([
        [root, "a"],
        [root, "b"],
        [root, "c"],
        [root, "gone"]
      ])
      const stamps = entries.slice(0, 3).map(stampOf)
      assert.equal(new Set(stamps).size, 1)
      // Deno and Node tell the versionstamp of a commit.
      assert.equal(stamps[0], (result as { versionstamp: string }).versionstamp)
      assert.equal(entries[3]!.versionstamp, null)
    }
  }
]
