/**
 * Makes `datapath_pb.ts` of the KV Connect server from its schema `datapath.proto`. Runs offline. With a folder as argument it is written there
 * instead of beside the schema.
 */
import { run } from "./process.ts"

const folder = "src/testing/kvConnect"
const template = {
  version: "v2",
  plugins: [{ local: "protoc-gen-es", out: process.argv[2] ?? folder, opt: ["target=ts", "erasable_syntax=true"] }]
}

run("buf", ["generate", folder, "--template", JSON.stringify(template)])
