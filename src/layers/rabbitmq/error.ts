import { EnqueueUnknown, Denied, QueueError, Unavailable } from "../../queue/QueueError.ts"
import { backend } from "./capabilities.ts"
import { accessRefused, type AmqpFault } from "./faults.ts"

export const queueError =
  (operation: string) =>
  (fault: AmqpFault): QueueError =>
    new QueueError({
      reason:
        fault.code === accessRefused
          ? new Denied({ backend, operation, detail: fault.detail })
          : new Unavailable({ backend, operation, detail: fault.detail, lasting: fault.lasting })
    })

/** Messages that were sent and not confirmed may have been accepted. */
export const enqueueUnknown = (queue: string, ids: ReadonlyArray<string>, detail: string): QueueError =>
  new QueueError({ reason: new EnqueueUnknown({ queue, ids, detail }) })
