import assert from "node:assert/strict"
import { type Operation, count, each, refused, stampOf, until } from "./subject.ts"

const key2049 = (root: string) => [root, "x".repeat(2_049 - root.length - 4)]

export const commitOperations: ReadonlyArray<Operation> = [
  {
    name: "checks of what exists and of what does not",
    run: async ({ kv, other, root }) => {
      const key = [root, "k"]
      const absent = await kv.get(key)
      assert.equal((await kv.atomic().check(absent).set(key, 1).commit()).ok, true)
      assert.equal((await kv.atomic().check(absent).set(key, 2).commit()).ok, false)
      const first = await kv.get(key)
      assert.equal(first.value, 1)
      await other.set(key, 3)
      assert.equal((await kv.atomic().check(first).set([root, "never"], 1).commit()).ok, false)
      assert.equal((await kv.get([root, "never"])).versionstamp, null)
      const now = await kv.get(key)
      assert.equal((await kv.atomic().check(now).delete(key).commit()).ok, true)
      assert.equal((await kv.atomic().check({ key, versionstamp: null }).set(key, 4).commit()).ok, true)
    }
  },
  {
    name: "checks alone, and commits of nothing",
    run: async ({ kv, root }) => {
      await kv.set([root, "k"], 1)
      const entry = await kv.get([root, "k"])
      assert.equal((await kv.atomic().check(entry).commit()).ok, true)
      assert.equal(
        (
          await kv
            .atomic()
            .check({ key: [root, "k"], versionstamp: null })
            .commit()
        ).ok,
        false
      )
      assert.equal((await kv.atomic().commit()).ok, true)
      assert.equal(stampOf(await kv.get([root, "k"])), entry.versionstamp)
    }
  },
  {
    name: "several checks, of which one fails",
    run: async ({ kv, root }) => {
      const keys = Array.from({ length: 8 }, (_, i) => [root, i])
      await each(keys, (key) => kv.set(key, 0))
      const entries = await kv.getMany(keys)
      assert.equal(
        (
          await kv
            .atomic()
            .check(...entries)
            .set([root, "a"], 1)
            .commit()
        ).ok,
        true
      )
      await kv.set(keys[5]!, 1)
      assert.equal(
        (
          await kv
            .atomic()
            .check(...entries)
            .set([root, "b"], 1)
            .commit()
        ).ok,
        false
      )
      assert.equal((await kv.get([root, "b"])).versionstamp, null)
    }
  },
  {
    name: "mutations of one key, in order",
    run: async ({ KvU64, kv, root }) => {
      await kv.atomic().set([root, "a"], 1).delete([root, "a"]).set([root, "b"], 1).set([root, "b"], 2).commit()
      assert.deepEqual(
        (
          await kv.getMany([
            [root, "a"],
            [root, "b"]
          ])
        ).map(({ value }) => value),
        [null, 2]
      )
      await kv
        .atomic()
        .set([root, "c"], new KvU64(5n))
        .sum([root, "c"], 2n)
        .max([root, "c"], 20n)
        .min([root, "c"], 9n)
        .commit()
      assert.deepEqual((await kv.get([root, "c"])).value, new KvU64(9n))
      await kv.atomic().sum([root, "c"], 1n).delete([root, "c"]).sum([root, "c"], 4n).commit()
      assert.deepEqual((await kv.get([root, "c"])).value, new KvU64(4n))
    }
  },
  {
    name: "sum, min and max of unsigned integers",
    run: async ({ KvU64, kv, root }) => {
      const read = async (name: string) => (await kv.get<{ value: bigint }>([root, name])).value?.value
      await kv.atomic().sum([root, "sum"], 3n).min([root, "min"], 3n).max([root, "max"], 3n).commit()
      assert.deepEqual([await read("sum"), await read("min"), await read("max")], [3n, 3n, 3n])
      await kv.atomic().sum([root, "sum"], 4n).min([root, "min"], 4n).max([root, "max"], 4n).commit()
      assert.deepEqual([await read("sum"), await read("min"), await read("max")], [7n, 3n, 4n])
      await kv.atomic().min([root, "min"], 2n).max([root, "max"], 2n).commit()
      assert.deepEqual([await read("min"), await read("max")], [2n, 4n])
      // It wraps around: this takes one away.
      await kv
        .atomic()
        .sum([root, "sum"], 2n ** 64n - 1n)
        .commit()
      assert.equal(await read("sum"), 6n)
      await kv
        .atomic()
        .sum([root, "sum"], 2n ** 64n - 7n)
        .commit()
      assert.equal(await read("sum"), 2n ** 64n - 1n)
      await kv.atomic().sum([root, "sum"], 1n).commit()
      assert.equal(await read("sum"), 0n)
      await kv.set([root, "large"], new KvU64(2n ** 63n))
      await kv
        .atomic()
        .max([root, "large"], 2n ** 64n - 2n)
        .sum([root, "large"], 1n)
        .commit()
      assert.equal(await read("large"), 2n ** 64n - 1n)
      await kv
        .atomic()
        .min([root, "large"], 2n ** 63n + 1n)
        .commit()
      assert.equal(await read("large"), 2n ** 63n + 1n)
    }
  },
  {
    name: "counters that are none refuse the whole commit",
    run: async ({ kv, root }) => {
      await kv.set([root, "text"], "seven")
      await kv.set([root, "bytes"], new Uint8Array(8))
      await each(["text", "bytes"], (name) =>
        each(["sum", "min", "max"] as const, (op) =>
          refused(kv.atomic().set([root, "a"], 1)[op]([root, name], 1n).set([root, "b"], 1).commit(), /no Deno\.KvU64/)
        )
      )
      await refused(kv.atomic().set([root, "c"], "x").sum([root, "c"], 1n).commit(), /no Deno\.KvU64/)
      const left = await kv.getMany([
        [root, "a"],
        [root, "b"],
        [root, "c"],
        [root, "text"]
      ])
      assert.deepEqual(
        left.map(({ value }) => value),
        [null, null, null, "seven"]
      )
    }
  },
  {
    name: "twenty at a time add to one counter",
    run: async ({ KvU64, kv, other, root }) => {
      const adders = count(20).map((i) =>
        each(count(5), async () => {
          const result = await (i % 2 === 0 ? kv : other).atomic().sum([root, "n"], 1n).commit()
          assert.equal(result.ok, true)
        })
      )
      await Promise.all(adders)
      assert.deepEqual((await kv.get([root, "n"])).value, new KvU64(100n))
    }
  },
  {
    name: "ten at a time compare and set one entry",
    run: async ({ kv, other, root }) => {
      await kv.set([root, "n"], 0)
      let conflicts = 0
      const add = async (client: typeof kv): Promise<void> => {
        const entry = await client.get<number>([root, "n"])
        const result = await client
          .atomic()
          .check(entry)
          .set([root, "n"], entry.value! + 1)
          .commit()
        if (result.ok) return
        conflicts++
        await add(client)
      }
      await Promise.all(count(10).map((i) => each(count(3), () => add(i % 2 === 0 ? kv : other))))
      assert.equal((await kv.get([root, "n"])).value, 30)
      assert.ok(conflicts > 0)
    }
  },
  {
    name: "an expiry, to the moment",
    run: async ({ kv, root }) => {
      await kv.set([root, "short"], 1, { expireIn: 600 })
      await kv.set([root, "stays"], 1)
      const start = Date.now()
      assert.equal((await kv.get([root, "short"])).value, 1)
      await until(
        () => kv.get([root, "short"]),
        ({ versionstamp }) => versionstamp === null
      )
      const took = Date.now() - start
      assert.ok(took > 400 && took < 5_000, `gone after ${took} ms`)
      assert.equal((await kv.get([root, "stays"])).value, 1)
      const left: Array<unknown> = []
      for await (const { key } of kv.list({ prefix: [root] })) left.push(key[1])
      assert.deepEqual(left, ["stays"])
      assert.equal(
        (
          await kv
            .atomic()
            .check({ key: [root, "short"], versionstamp: null })
            .set([root, "short"], 2)
            .commit()
        ).ok,
        true
      )
    }
  },
  {
    name: "an expiry that a later write removes",
    run: async ({ KvU64, kv, root }) => {
      await kv.set([root, "set"], 1, { expireIn: 700 })
      await kv.set([root, "sum"], new KvU64(1n), { expireIn: 700 })
      await kv.set([root, "probe"], 1, { expireIn: 900 })
      await kv.set([root, "set"], 2)
      await kv.atomic().sum([root, "sum"], 1n).commit()
      await until(
        () => kv.get([root, "probe"]),
        ({ versionstamp }) => versionstamp === null
      )
      assert.deepEqual(
        (
          await kv.getMany([
            [root, "set"],
            [root, "sum"]
          ])
        ).map(({ value }) => value),
        [2, new KvU64(2n)]
      )
    }
  },
  {
    name: "the largest writes, and no larger ones",
    run: async ({ kv, root }) => {
      const thousand = kv.atomic()
      for (let i = 0; i < 1_000; i++) thousand.set([root, i], i)
      assert.equal((await thousand.commit()).ok, true)
      await refused(thousand.set([root, 1_000], 1).commit(), /1000|mutations/i)
      await kv.set([root, "bytes"], new Uint8Array(65_536))
      assert.equal((await kv.get<Uint8Array>([root, "bytes"])).value?.length, 65_536)
      await refused(kv.set([root, "bytes"], new Uint8Array(65_537)), /65536|65,536/)
      const long = [root, "x".repeat(2_048 - root.length - 4)]
      await kv.set(long, 1)
      assert.deepEqual(await kv.get(long).then(({ key, value }) => [key, value]), [long, 1])
      await refused(kv.set(key2049(root), 1), /2048/)
      // Behind the longest key the list goes on.
      await kv.set([root, "y"], 2)
      const seen: Array<unknown> = []
      for await (const { value } of kv.list({ start: long, end: [root, 0] }, { batchSize: 1 })) seen.push(value)
      assert.deepEqual(seen, [1, 2])
      const many = kv.atomic()
      for (let i = 0; i < 13; i++) many.set([root, "big", i], new Uint8Array(65_000))
      await refused(many.commit(), /819200|819,200/)
      assert.equal((await kv.get([root, "big", 0])).versionstamp, null)
    }
  },
  {
    name: "eleven checks are refused",
    run: async ({ kv, root }) => {
      const write = kv.atomic()
      for (let i = 0; i < 11; i++) write.check({ key: [root, i], versionstamp: null })
      await refused(write.set([root, "k"], 1).commit(), /11 checks; at most 10/)
      assert.equal((await kv.get([root, "k"])).versionstamp, null)
    }
  },
  {
    name: "messages of a queue are refused",
    run: async ({ kv, root }) => {
      await refused(kv.enqueue("hello"), /queue messages|not supported in KV Connect/)
      await refused(
        kv.atomic().set([root, "k"], 1).enqueue("hello").commit(),
        /queue messages|not supported in KV Connect/
      )
      assert.equal((await kv.get([root, "k"])).versionstamp, null)
    }
  },
  {
    name: "what only the real server can do is refused",
    run: async ({ kv, root, runtime }) => {
      if (runtime === "deno") {
        const stamp = (kv as unknown as { commitVersionstamp: () => symbol }).commitVersionstamp()
        await refused(kv.set([root, stamp as never], 1), /commitVersionstamp/)
      }
      const sum = { type: "sum", key: [root, "n"], value: 5n } as never
      await refused(kv.atomic().mutate(sum).commit(), /no Deno\.KvU64/)
      await refused(kv.set([root, Number.NaN], 1), /NaN/)
      assert.equal((await kv.get([root, Number.NaN])).versionstamp, null)
    }
  }
]
