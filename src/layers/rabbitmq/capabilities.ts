import type { Durability } from "../../kv/driver.ts"
import type { Capabilities } from "../../queue/driver.ts"
import type { QueueType } from "./topology.ts"

export const backend = "rabbitmq"

const durabilityOf = (type: QueueType): Durability => ({
  process: true,
  power: true,
  failover: type === "quorum",
  detail:
    type === "quorum"
      ? "confirmed when a majority of the queue's nodes has written it to disk"
      : "confirmed when the queue's node has written it to disk; lost with that node"
})

/** What AMQP 0-9-1 can keep of the contract; docs/rabbitmq.md says why the rest is not there. */
export const capabilitiesOf = (type: QueueType): Capabilities => ({
  backend,
  shared: true,
  atomicBatches: false,
  delay: true,
  priority: false,
  dedupe: false,
  groups: false,
  ttl: true,
  idempotentIds: false,
  pause: false,
  purge: false,
  leases: false,
  startMarks: false,
  releaseInPlace: false,
  counts: false,
  clock: "process",
  // The default limit of a broker from 4.0 on.
  maxMessage: 16 * 1_048_576 - 128 * 1_024,
  durability: durabilityOf(type)
})
