import { CommitUnknown, KvError, Unavailable } from "../../../kv/KvError.ts"
import { backend } from "../capabilities.ts"
import type { RedisFault } from "../faults.ts"

export const kvError =
  (operation: string) =>
  (fault: RedisFault): KvError =>
    new KvError({ reason: new Unavailable({ backend, operation, detail: fault.detail, lasting: fault.lasting }) })

/** A commit that was sent and not answered may have been applied. */
export const commitError =
  (commitId: string) =>
  (fault: RedisFault): KvError =>
    fault.kind === "unknown"
      ? new KvError({ reason: new CommitUnknown({ backend, commitId, detail: fault.detail }) })
      : kvError("commit")(fault)
