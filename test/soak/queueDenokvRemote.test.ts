import { remote } from "../contract/denokvBackends.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"

// A queue of the clients keeps its state under names that a gateway to a whole store does not give out.
queueOverKvSuites("over Deno KV at a KV Connect server", remote({}, ["clients"]), "observed")
