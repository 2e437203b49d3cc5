import type { Durability } from "../../kv/driver.ts"
import type { ServerFacts } from "./connection.ts"

export const backend = "postgresql"

/** Of the Kv in unlogged tables. */
export const unloggedDurability: Durability = {
  process: true,
  power: false,
  failover: false,
  detail: "kept in unlogged tables: a crash of the server empties them, and a standby does not have them"
}

export const durabilityOf = ({ fsync, synchronousCommit }: ServerFacts): Durability => {
  const power = fsync && synchronousCommit !== "off"
  return {
    process: true,
    power,
    // Unless every commit waits for a standby, which the server's settings do not say for certain.
    failover: false,
    detail: power
      ? "written to the server's log and synced before the answer; a failover to an asynchronous replica may lose the last moments"
      : fsync
        ? "synchronous_commit is off: a crash of the server may lose the last moments"
        : "fsync is off: a loss of power may destroy the database"
  }
}
