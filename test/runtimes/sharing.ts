/** What the processes that share a store, and the test that starts them, agree on. */
import { Layer } from "effect"
import type * as Kv from "../../src/Kv.ts"
import type * as Queue from "../../src/Queue.ts"

/** Messages that each process enqueues, an even number. */
export const messagesEach = 100
/** Increments of one number that each process makes, by compare-and-set. */
export const incrementsEach = 40

export interface Message {
  readonly from: string
  readonly n: number
}

export const messagesOf = (names: ReadonlyArray<string>): ReadonlyArray<Message> =>
  names.flatMap((from) => Array.from({ length: messagesEach }, (_, n) => ({ from, n })))

/** The values below `share`; a key is named by its parts from the third on. */
export type State = Readonly<Record<string, number>>

export type Backend = "sqlite" | "denokv" | "redis" | "postgres" | "rabbitmq"

type Both = Layer.Layer<Kv.Kv | Queue.Queue, unknown>

const backends: Readonly<Record<Backend, (options: never) => Promise<Both>>> = {
  sqlite: async (options: { readonly filename: string }) =>
    (await import("../../src/layers/sqlite/index.ts")).layer(options),
  denokv: async (options: { readonly path: string }) =>
    (await import("../../src/layers/denokv/index.ts")).layer(options),
  redis: async (options: { readonly url: string; readonly namespace: string }) =>
    (await import("../../src/layers/redis/index.ts")).layer(options),
  postgres: async (options: { readonly url: string; readonly schema: string }) =>
    (await import("../../src/layers/postgres/index.ts")).layer(options),
  // It has no Kv.
  rabbitmq: async (options: { readonly url: string; readonly namespace: string; readonly filename: string }) =>
    Layer.merge(
      (await import("../../src/layers/rabbitmq/index.ts")).layerQueue({
        url: options.url,
        namespace: options.namespace
      }),
      (await import("../../src/layers/sqlite/index.ts")).layerKv({ filename: options.filename })
    )
}

export const openBackend = (backend: Backend, options: string): Promise<Both> => {
  const open = backends[backend] as ((options: unknown) => Promise<Both>) | undefined
  if (open === undefined) throw new Error(`there is no backend called "${backend}"`)
  return open(JSON.parse(options))
}
