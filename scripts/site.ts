/**
 * Builds the documentation site, site/dist, or serves it while one writes: `node scripts/site.ts build`, `dev`. The
 * generators are in a package of their own; they are installed when its lock file has changed since.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { root, run } from "./process.ts"

const site = Path.join(root, "site")
const changed = (file: string): number => Fs.statSync(Path.join(site, file), { throwIfNoEntry: false })?.mtimeMs ?? 0

const [task = ""] = process.argv.slice(2)
if (task !== "build" && task !== "dev") {
  console.error("node scripts/site.ts build | dev")
  process.exit(2)
}
if (changed("node_modules/.package-lock.json") < changed("package-lock.json"))
  run("npm", ["ci", "--prefix", site, "--no-audit", "--no-fund"])
run("npm", ["run", task, "--prefix", site])
