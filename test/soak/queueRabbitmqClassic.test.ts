import { queueRabbitmqSuites } from "../contract/queueRabbitmq.ts"

queueRabbitmqSuites("classic")
