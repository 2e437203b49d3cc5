import type { Durability } from "../../kv/driver.ts"
import type { ServerFacts } from "./probe.ts"

export const backend = "redis"

export const durabilityOf = ({ appendFsync, cluster }: ServerFacts): Durability => {
  const power = appendFsync === "always"
  const file =
    appendFsync === undefined
      ? "what survives a loss of power depends on the server's appendonly and appendfsync, which this user may not see"
      : appendFsync === "off"
        ? "the server keeps no append-only file: what it holds is lost when it stops"
        : appendFsync === "always"
          ? "written to the server's append-only file and synced before the answer"
          : `written to the server's append-only file, synced ${appendFsync === "everysec" ? "every second" : "when the system likes"}`
  return {
    process: true,
    power,
    // Replication is asynchronous.
    failover: false,
    detail: `${file}; a failover to a replica${cluster ? " of a shard" : ""} may lose the last moments`
  }
}
