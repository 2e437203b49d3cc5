import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { capture, root } from "../../../scripts/process.ts"

describe("the messages of the protocol", () => {
  it("are what `npm run generate` makes of the schema", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-datapath-"))
    try {
      const made = capture("node", ["scripts/generate-datapath.ts", folder])
      assert.strictEqual(made.status, 0, made.output)
      const kept = fs.readFileSync(path.join(root, "src/testing/kvConnect/datapath_pb.ts"), "utf8")
      assert.strictEqual(fs.readFileSync(path.join(folder, "datapath_pb.ts"), "utf8"), kept)
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })
})
