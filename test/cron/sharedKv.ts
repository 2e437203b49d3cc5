/** Schedulers over a Kv in memory that holds no more than every Kv can. */
import { it } from "@effect/vitest"
import { Effect, References, type Scope } from "effect"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"

export const lease = 10_000
export const minute = 60_000

export const memoryKv = Effect.flatMap(Memory.makeKvDriver({ limits: "portable" }), (driver) => Kv.make(driver))

export const schedulerOver = (kv: Kv.Service, options?: Cron.KvStoreOptions & { readonly runner?: string }) =>
  Effect.flatMap(Cron.makeKvStore(kv, { lease, ...options }), (store) => Cron.make(store, { runner: options?.runner }))

export const test = (name: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None")))
