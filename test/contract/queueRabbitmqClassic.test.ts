/** What tells classic queues from quorum queues. The whole contract over them is in test/soak. */
import { queueRabbitmqDriverSuites } from "./queueRabbitmq.ts"

queueRabbitmqDriverSuites("classic")
