/** The records that make a database a store of this room, written by whoever opens it first. */
import * as Effect from "effect/Effect"
import { makeCommitIds } from "../../internal/ids.ts"
import { textOf, utf8 } from "./bytes.ts"
import { AuthRefused, DenoKvError, Locked, NewerFormat, OpenFailed, Unreachable } from "./errors.ts"
import type { NativeFault } from "./faults.ts"
import { openGeneration, setGeneration } from "./kv/generation.ts"
import { floorKey, headerKey, storeKey } from "./kv/keys.ts"
import type { NativeEntry, NativeKey, NativeWrite } from "./native.ts"
import { put } from "./native.ts"
import type { Target } from "./target.ts"

/** Of what is stored. A store says which format its readers must know at least. */
const format = 1

interface StoreRecord {
  readonly id: string
  readonly format: number
  readonly needs: number
}

const readStore = (entry: NativeEntry | undefined): StoreRecord | undefined => {
  if (entry === undefined || entry.versionstamp === null || !(entry.value instanceof Uint8Array)) return undefined
  try {
    const record = JSON.parse(textOf(entry.value)) as StoreRecord
    return /^[0-9a-f]{16}$/.test(record.id) && typeof record.needs === "number" ? record : undefined
  } catch {
    return undefined
  }
}

export const count = (n: number): Uint8Array => utf8(String(n))

export const readCount = (entry: NativeEntry | undefined): number =>
  entry !== undefined && entry.value instanceof Uint8Array ? Number(textOf(entry.value)) : 0

/** The identity of the store. */
export const initialised = (
  target: Target,
  getMany: (keys: ReadonlyArray<NativeKey>) => Effect.Effect<ReadonlyArray<NativeEntry>, NativeFault>,
  write: (write: NativeWrite) => Effect.Effect<string | undefined, NativeFault>
): Effect.Effect<string, DenoKvError> =>
  Effect.gen(function* () {
    const nextId = yield* makeCommitIds
    const other = yield* makeCommitIds
    while (true) {
      const [entry] = yield* getMany([storeKey])
      const record = readStore(entry)
      if (record !== undefined) {
        if (record.needs <= format) return record.id
        return yield* new DenoKvError({
          reason: new NewerFormat({ address: target.address, needed: record.needs, supported: format })
        })
      }
      if (entry?.versionstamp !== null && entry !== undefined)
        return yield* new DenoKvError({
          reason: new OpenFailed({
            path: target.address,
            detail:
              "the entry of its identity is damaged, or written by another program (keys that begin with an empty Uint8Array belong to effect-seams)"
          })
        })
      const id = nextId().slice(0, 12) + other().slice(0, 4)
      yield* write({
        checks: [{ key: storeKey, versionstamp: null }],
        mutations: [
          put(storeKey, utf8(JSON.stringify({ id, format, needs: format } satisfies StoreRecord))),
          setGeneration(openGeneration(1, 0)),
          put(headerKey(1), count(0)),
          put(floorKey, count(1))
        ],
        bump: true
      })
      // Also when another process was first: then its identity is found.
    }
  }).pipe(
    Effect.catchIf(
      (error) => error._tag === "NativeFault",
      (fault) => Effect.fail(openError(target, fault))
    )
  )

const openError = (target: Target, fault: NativeFault): DenoKvError => {
  const { address } = target
  if (target.kind === "remote")
    return new DenoKvError({
      reason:
        fault.kind === "refused" && /token/.test(fault.detail)
          ? new AuthRefused({ address })
          : new Unreachable({ address, detail: fault.detail })
    })
  return new DenoKvError({
    reason:
      fault.kind === "locked"
        ? new Locked({ path: address, waited: target.lockTimeout })
        : new OpenFailed({ path: address, detail: fault.detail })
  })
}
