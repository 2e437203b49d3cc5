import { queueRabbitmqSuites } from "./queueRabbitmq.ts"

queueRabbitmqSuites("quorum")
