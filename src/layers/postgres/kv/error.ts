import { CommitUnknown, KvError, Unavailable } from "../../../kv/KvError.ts"
import { backend } from "../capabilities.ts"
import type { PostgresFault } from "../faults.ts"

/** Of `kv_log_add`: the commit's id was asked for before the commit arrived. */
const fenced = "SEK01"

export const kvError =
  (operation: string) =>
  ({ detail, lasting }: PostgresFault): KvError =>
    new KvError({ reason: new Unavailable({ backend, operation, detail, lasting }) })

/** A commit that was sent and not answered may have been applied. */
export const commitError =
  (commitId: string) =>
  (fault: PostgresFault): KvError => {
    if (fault.kind === "unknown")
      return new KvError({ reason: new CommitUnknown({ backend, commitId, detail: fault.detail }) })
    if (fault.code !== fenced) return kvError("commit")(fault)
    const detail = "its outcome was asked for before it arrived, so it was refused"
    return new KvError({ reason: new Unavailable({ backend, operation: "commit", detail }) })
  }
