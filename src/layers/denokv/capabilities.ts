import type { Durability, Limits } from "../../kv/driver.ts"
import { portableLimits } from "../../kv/driver.ts"
import type { ConnectionService } from "./connection.ts"

export const backend = "denokv"

/** Deno KV's own limits are the portable floor of all backends, so there is no other choice. */
export const limits: Limits = portableLimits

export const durabilityOf = ({ address, kind }: Pick<ConnectionService, "address" | "kind">): Durability => {
  switch (kind) {
    case "memory":
      return {
        process: false,
        power: false,
        failover: "not applicable",
        detail: "kept in the memory of this process, gone when the layer closes"
      }
    case "file":
      return {
        process: true,
        power: true,
        failover: "not applicable",
        detail: `written to ${address} and synced to the disk before the answer`
      }
    case "remote":
      return {
        process: true,
        power: true,
        failover: true,
        detail: `accepted by the KV Connect server at ${address}; what it survives is what that server's own store survives`
      }
  }
}
