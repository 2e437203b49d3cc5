import { queueRabbitmqSuites } from "./queueRabbitmq.ts"

queueRabbitmqSuites("classic")
