import assert from "node:assert/strict"
import type { KvEntryMaybe, KvKey } from "@deno/kv"
import { type Operation, type Subject, count, each, stampOf } from "./subject.ts"

/** Reads a watch until its entries are as wanted, for at most 20 seconds; answers how many messages it took. */
const watching = (kv: Subject["kv"], keys: ReadonlyArray<KvKey>, raw = false) => {
  const reader = kv.watch(keys as never, { raw }).getReader()
  const next = async (): Promise<ReadonlyArray<KvEntryMaybe<unknown>>> => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no message within 20 seconds")), 20_000)
    })
    const read = await Promise.race([reader.read(), late])
    clearTimeout(timer)
    assert.ok(!read.done, "the watch ended")
    return read.value as ReadonlyArray<KvEntryMaybe<unknown>>
  }
  const until = async (...wanted: ReadonlyArray<unknown>): Promise<ReadonlyArray<KvEntryMaybe<unknown>>> => {
    const entries = await next()
    assert.equal(entries.length, keys.length)
    return entries.every(({ value }, i) => value === wanted[i]) ? entries : until(...wanted)
  }
  return { next, until, cancel: () => reader.cancel() }
}

export const watchOperations: ReadonlyArray<Operation> = [
  {
    name: "a watch of a key that does not exist yet",
    run: async ({ kv, other, root, runtime }) => {
      const key = [root, "k"]
      const watch = watching(kv, [key])
      // Node's client says nothing before there is something.
      if (runtime === "deno") assert.deepEqual(await watch.next(), [{ key, value: null, versionstamp: null }])
      const pending = watch.until(1)
      const { versionstamp } = await other.set(key, 1)
      assert.deepEqual(await pending, [{ key, value: 1, versionstamp }])
      await watch.cancel()
    }
  },
  {
    name: "a watch of changes, a deletion and an expiry",
    run: async ({ kv, other, root }) => {
      const key = [root, "k"]
      await kv.set(key, "first")
      const watch = watching(kv, [key])
      assert.equal((await watch.next())[0]!.value, "first")
      const second = await other.set(key, "second")
      assert.equal(stampOf((await watch.until("second"))[0]!), second.versionstamp)
      await other.delete(key)
      assert.deepEqual(await watch.until(null), [{ key, value: null, versionstamp: null }])
      await other.set(key, "short", { expireIn: 500 })
      await watch.until("short")
      await watch.until(null)
      await watch.cancel()
    }
  },
  {
    name: "a watch of several keys",
    run: async ({ kv, other, root }) => {
      const keys = ["a", "b", "c"].map((name) => [root, name])
      await kv.set(keys[1]!, 1)
      const watch = watching(kv, keys)
      await watch.until(null, 1, null)
      await other.set(keys[0]!, 2)
      await watch.until(2, 1, null)
      await other.atomic().set(keys[2]!, 3).delete(keys[1]!).commit()
      await watch.until(2, null, 3)
      await watch.cancel()
    }
  },
  {
    name: "a watch that sees the end of a burst",
    run: async ({ kv, other, root }) => {
      const key = [root, "k"]
      await kv.set(key, -1)
      const watch = watching(kv, [key])
      await watch.until(-1)
      await each(count(100), (i) => other.set(key, i))
      await watch.until(99)
      await watch.cancel()
    }
  },
  {
    name: "a watch of ten keys, and none of eleven",
    run: async ({ kv, root, runtime }) => {
      const keys = Array.from({ length: 11 }, (_, i) => [root, i])
      await kv.set([root, 0], "here")
      const ten = watching(kv, keys.slice(0, 10))
      await ten.until("here", ...Array.from({ length: 9 }, () => null))
      await ten.cancel()
      const refusedWatch = async () => {
        const eleven = watching(kv, keys, runtime === "node")
        await eleven.next()
      }
      await assert.rejects(refusedWatch(), /at most 10|max 10/)
    }
  }
]
