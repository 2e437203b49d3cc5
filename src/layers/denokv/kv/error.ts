import type { Packed } from "../../../internal/keyCodec.ts"
import { CommitUnknown, InvalidKey, KvError, Unavailable, Undecodable } from "../../../kv/KvError.ts"
import { formatPacked } from "../../../kv/value.ts"
import { backend } from "../capabilities.ts"
import type { NativeFault } from "../faults.ts"

export const kvError =
  (operation: string) =>
  (fault: NativeFault): KvError =>
    new KvError({
      reason: new Unavailable({ backend, operation, detail: fault.detail, cause: fault.cause, lasting: fault.lasting })
    })

export const unavailable = (operation: string, detail: string): KvError =>
  new KvError({ reason: new Unavailable({ backend, operation, detail }) })

export const commitUnknown = (commitId: string, fault: NativeFault): KvError =>
  new KvError({ reason: new CommitUnknown({ backend, commitId, detail: fault.detail, cause: fault.cause }) })

/** Keys of this room are no keys of a program. */
export const reservedKey = (key: Packed): KvError =>
  new KvError({
    reason: new InvalidKey({
      key: formatPacked(key),
      detail:
        "keys whose first part is an empty Uint8Array hold what this store keeps for itself; begin with another part"
    })
  })

export const foreignEntry = (key: Packed): KvError =>
  new KvError({
    reason: new Undecodable({
      key: formatPacked(key),
      detail: "it was written by another program, not by effect-seams; read it through the raw handle, or delete it"
    })
  })
