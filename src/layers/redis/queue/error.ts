import { EnqueueUnknown, QueueError, Unavailable } from "../../../queue/QueueError.ts"
import { backend } from "../capabilities.ts"
import type { RedisFault } from "../faults.ts"

export const queueError =
  (operation: string) =>
  (fault: RedisFault): QueueError =>
    new QueueError({ reason: new Unavailable({ backend, operation, detail: fault.detail, lasting: fault.lasting }) })

/** Messages that were sent and not answered may have been accepted. */
export const enqueueError =
  (queue: string, ids: ReadonlyArray<string>) =>
  (fault: RedisFault): QueueError =>
    fault.kind === "unknown"
      ? new QueueError({ reason: new EnqueueUnknown({ queue, ids, detail: fault.detail }) })
      : queueError("enqueue")(fault)
