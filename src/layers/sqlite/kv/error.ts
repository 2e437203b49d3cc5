import { KvError, Unavailable } from "../../../kv/KvError.ts"
import { backend } from "../capabilities.ts"
import type { StoreFault } from "../faults.ts"

export const kvError =
  (operation: string) =>
  (fault: StoreFault): KvError =>
    new KvError({
      reason: new Unavailable({ backend, operation, detail: fault.detail, cause: fault.cause, lasting: fault.lasting })
    })
