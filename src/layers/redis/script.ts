import { createHash } from "node:crypto"

/** A Lua script with the digest under which the server keeps it. */
export interface Script {
  readonly name: string
  readonly lua: string
  readonly sha: string
}

export const script = (name: string, lua: string): Script => ({
  name,
  lua,
  sha: createHash("sha1").update(lua).digest("hex")
})
