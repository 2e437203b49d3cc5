/** The id of a database: a UUID that the store keeps, so that all gateways over it say the same, also after a restart. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Key, KeyPart } from "../../internal/keyCodec.ts"
import { Conflict, type KvError } from "../../kv/KvError.ts"
import type { Service as Kv } from "../../kv/service.ts"
import { internalName } from "./keyspace.ts"

export const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** One per prefix: what lies below another one is another database. */
export const databaseIdOf = (kv: Kv, prefix: ReadonlyArray<KeyPart>): Effect.Effect<string, KvError> => {
  const key: Key = [`${internalName}/kv-connect`, "database", ...prefix]
  const step = Effect.gen(function* () {
    const found = yield* kv.get(key)
    if (Option.isSome(found) && typeof found.value.value === "string" && uuid.test(found.value.value))
      return found.value.value
    const made = globalThis.crypto.randomUUID()
    const versionstamp = Option.isSome(found) ? found.value.versionstamp : null
    yield* kv.commit([
      { _tag: "Check", key, versionstamp },
      { _tag: "Set", key, value: { _tag: "Json", text: JSON.stringify(made) }, expireIn: undefined }
    ])
    return made
  })
  // Somebody else made it at the same moment: theirs is read.
  return Effect.retry(step, { while: (error) => error instanceof Conflict, times: 10 }).pipe(
    Effect.catchIf((error) => error._tag !== "KvError", Effect.die)
  )
}
