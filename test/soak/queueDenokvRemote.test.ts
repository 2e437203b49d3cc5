import { remote } from "../contract/denokvBackends.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"

queueOverKvSuites("over Deno KV at a KV Connect server", remote(), "observed")
