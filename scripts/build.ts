/** Emits dist from src, from nothing, so that no file of a former build survives in the package. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { root, run } from "./process.ts"

Fs.rmSync(Path.join(root, "dist"), { recursive: true, force: true })
run("tsc", ["-p", "tsconfig.build.json"])
