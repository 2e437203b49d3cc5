import { QueueError, Unavailable } from "../../../queue/QueueError.ts"
import { backend } from "../capabilities.ts"
import type { StoreFault } from "../faults.ts"

export const queueError =
  (operation: string) =>
  (fault: StoreFault): QueueError =>
    new QueueError({
      reason: new Unavailable({ backend, operation, detail: fault.detail, cause: fault.cause, lasting: fault.lasting })
    })
