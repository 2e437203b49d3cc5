import { QueueError, Unavailable } from "../../../queue/QueueError.ts"
import { backend } from "../capabilities.ts"
import type { PostgresFault } from "../faults.ts"

export const queueError =
  (operation: string) =>
  ({ detail, lasting }: PostgresFault): QueueError =>
    new QueueError({ reason: new Unavailable({ backend, operation, detail, lasting }) })
