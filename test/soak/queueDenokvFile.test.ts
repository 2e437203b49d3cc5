import { file } from "../contract/denokvBackends.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"

queueOverKvSuites("over a Deno KV file", file(), "observed")
