import type { Durability } from "../../kv/driver.ts"
import type { ConnectionService } from "./connection.ts"

export const backend = "sqlite"

export const durabilityOf = (connection: ConnectionService): Durability =>
  !connection.shared
    ? {
        process: false,
        power: false,
        failover: "not applicable",
        detail: "kept in the memory of this process, gone when the layer closes"
      }
    : {
        process: true,
        power: connection.synchronous === "full",
        failover: "not applicable",
        detail:
          connection.synchronous === "full"
            ? `written to ${connection.filename} and synced to the disk before the answer`
            : `written to ${connection.filename}; a loss of power may undo the last moments, a killed process loses nothing`
      }
