/** Where a client connects to, without credentials: for messages, and for the identity of the store. */
import type { Cluster, ClusterNode, Redis } from "ioredis"

export const formatPlace = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** As the client itself reads them. */
const nodeOf = (node: ClusterNode): string => {
  if (typeof node === "number") return formatPlace("127.0.0.1", node)
  if (typeof node === "object") return formatPlace(node.host ?? "127.0.0.1", node.port ?? 6_379)
  const text = node.includes("//") ? node : `redis://${node}`
  if (!URL.canParse(text)) return "an address"
  const { hostname, port } = new URL(text)
  return formatPlace(hostname.replace(/^\[|\]$/g, ""), port === "" ? 6_379 : Number(port))
}

export const addressOfCluster = (theirs: Cluster): string => {
  // The nodes that it was made with, also before it is connected. Its type hides them.
  const { startupNodes } = theirs as unknown as { readonly startupNodes: ReadonlyArray<ClusterNode> }
  return startupNodes.map(nodeOf).join(", ")
}

export const addressOfClient = ({ options }: Redis): string => {
  const { host, name, path, port, sentinels } = options
  if (sentinels !== undefined && sentinels !== null) return addressOfMaster(name ?? "", sentinels)
  return path ?? formatPlace(host ?? "localhost", port ?? 6_379)
}

export const addressOfMaster = (
  name: string,
  sentinels: ReadonlyArray<{ readonly host?: string | undefined; readonly port?: number | undefined }>
): string =>
  `${name} (Sentinels ${sentinels.map(({ host = "127.0.0.1", port = 26_379 }) => formatPlace(host, port)).join(", ")})`
