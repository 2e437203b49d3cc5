/**
 * Packs the built package and looks at it as a stranger would: publint, attw, and a project of its own in a temporary
 * folder that has `effect` and no other dependency. Every door must load there, which proves that no optional peer is
 * reached unasked; the rooms of a driver library load beside that library. `testing` is type-checked only, since it needs a test runner
 * around it.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { capture, root, run } from "./process.ts"

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string | null | { readonly types: string; readonly default: string }>>
}

const manifest: Manifest = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))
const work = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-seams-package-"))
process.on("exit", () => Fs.rmSync(work, { recursive: true, force: true }))

const fail = (message: string): never => {
  console.error(`check:package: ${message}`)
  process.exit(1)
}

if (!Fs.existsSync(Path.join(root, "dist"))) fail("there is no dist folder; run `npm run build` first")

const pack = capture("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", work])
if (pack.status !== 0) fail(`npm pack failed\n${pack.output}`)
const tarball = Fs.readdirSync(work).find((file) => file.endsWith(".tgz")) ?? fail("npm pack made no tarball")
const tarballPath = Path.join(work, tarball)

const listed = capture("tar", ["-tzf", tarballPath])
if (listed.status !== 0) fail(`tar cannot read ${tarball}\n${listed.output}`)
const files = new Set(listed.output.split("\n").map((line) => line.replace(/^package\//, "")))

const targets = Object.values(manifest.exports).flatMap((target) =>
  target === null ? [] : typeof target === "string" ? [target] : [target.types, target.default]
)
const guides = [
  "docs/kv.md",
  "docs/kv-connect.md",
  "docs/denokv.md",
  "docs/queue.md",
  "docs/cron.md",
  "docs/discovery.md",
  "docs/redis.md",
  "docs/postgres.md",
  "docs/rabbitmq.md",
  "docs/architecture.md"
]
/** The optional peer that a room is about. */
const libraries: Readonly<Record<string, string>> = {
  "effect-seams/layers/postgres": "@effect/sql-pg",
  "effect-seams/layers/rabbitmq": "amqplib",
  "effect-seams/layers/redis": "ioredis",
  "effect-seams/testing/kv-connect": "@bufbuild/protobuf"
}
const expected = [
  "README.md",
  "LICENSE",
  "CHANGELOG.md",
  ...guides,
  ...targets.map((target) => target.replace(/^\.\//, ""))
]
const absent = expected.filter((file) => !files.has(file))
if (absent.length > 0) fail(`missing in the tarball: ${absent.join(", ")}`)
const strangers = [...files].filter(
  (file) => file !== "" && !/^(dist\/|docs\/[a-z-]+\.(md|png|svg)$|src\/|[A-Z]+(\.md)?$|package\.json$)/.test(file)
)
if (strangers.length > 0) fail(`should not be in the tarball: ${strangers.join(", ")}`)
const size = Math.round(Fs.statSync(tarballPath).size / 1024)
console.log(`${tarball}: ${files.size} files, ${size} KiB`)

run("publint", ["run", tarballPath, "--strict"])
const attw = capture("attw", [tarballPath, "--profile", "esm-only", "--no-definitely-typed", "--format", "ascii"])
if (attw.status !== 0) fail(`the types are wrong\n${attw.output}`)
console.log("attw: the types of every entry point resolve")

const consumer = Path.join(work, "consumer")
const modules = Path.join(consumer, "node_modules")
const installed = Path.join(modules, manifest.name)
Fs.mkdirSync(installed, { recursive: true })
const unpack = capture("tar", ["-xzf", tarballPath, "--strip-components=1", "-C", installed])
if (unpack.status !== 0) fail(`tar cannot unpack ${tarball}\n${unpack.output}`)
Fs.symlinkSync(Path.join(root, "node_modules", "effect"), Path.join(modules, "effect"))

const doors = Object.entries(manifest.exports)
  .filter(([, target]) => target !== null && typeof target !== "string")
  .map(([door]) => door.replace(/^\./, manifest.name))
const loadable = doors.filter((door) => !door.endsWith("/testing") && libraries[door] === undefined)

const internal = [...files].find((file) => /^dist\/internal\/[^/]+\.js$/.test(file))
Fs.writeFileSync(
  Path.join(consumer, "load.mjs"),
  [
    ...loadable.map((door) => `await import(${JSON.stringify(door)})`),
    ...(internal === undefined
      ? []
      : [
          `const closed = await import(${JSON.stringify(`${manifest.name}/${internal.replace("dist/", "")}`)})`,
          `  .then(() => false, (error) => error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED")`,
          `if (!closed) throw new Error("internal modules can be imported")`
        ])
  ].join("\n")
)
const load = capture("node", ["load.mjs"], consumer)
if (load.status !== 0) fail(`a door does not load with \`effect\` alone installed\n${load.output}`)

/** Installs a package of ours for the consumer. */
const link = (name: string): void => {
  Fs.mkdirSync(Path.dirname(Path.join(modules, name)), { recursive: true })
  Fs.symlinkSync(Path.join(root, "node_modules", name), Path.join(modules, name))
}

for (const [door, library] of Object.entries(libraries)) {
  Fs.writeFileSync(Path.join(consumer, "room.mjs"), `await import(${JSON.stringify(door)})`)
  const without = capture("node", ["room.mjs"], consumer)
  if (without.status === 0 || !without.output.includes(`Cannot find package '${library}'`))
    fail(`${door} does not ask for ${library}\n${without.output}`)
  link(library)
  const beside = capture("node", ["room.mjs"], consumer)
  if (beside.status !== 0) fail(`${door} does not load beside ${library}\n${beside.output}`)
}

for (const peer of ["vitest", "@effect/vitest", "fast-check", "@types/node"]) link(peer)
Fs.writeFileSync(
  Path.join(consumer, "use.mts"),
  doors.map((door, i) => `import * as door${i} from ${JSON.stringify(door)}\nexport { door${i} }`).join("\n")
)
const strict = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "--target", "es2023"]
for (const resolution of [
  ["--module", "nodenext"],
  ["--module", "esnext", "--moduleResolution", "bundler"]
]) {
  const types = capture("tsc", [...strict, ...resolution, "use.mts"], consumer)
  if (types.status !== 0) fail(`types do not resolve with ${resolution.join(" ")}\n${types.output}`)
}
console.log(`${doors.length} doors: ${loadable.length} load with \`effect\` alone, all resolve with their types`)
