/**
 * Compiles every TypeScript example of README.md, docs and the doc comments of src against the sources, each block as a
 * module of its own. An example that does not compile is worse than none, so there is no way to exempt a block. Also follows
 * every relative link of these pages and of the READMEs of src, and looks whether the menu of the site has all guides.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { complaints } from "../site/.vitepress/pages.ts"
import { type Block, fromMarkdown, fromSource } from "./docBlocks.ts"
import { brokenLinks } from "./docLinks.ts"
import { capture, root } from "./process.ts"

/** Of this run alone: two may go on at the same time. */
const work = Path.join(root, ".docs-check", String(process.pid))

const under = (folder: string, ending: string): ReadonlyArray<string> =>
  Fs.existsSync(Path.join(root, folder))
    ? Fs.readdirSync(Path.join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(ending))
        .map((file) => Path.join(folder, file))
        .toSorted()
    : []

const read = (file: string): string => Fs.readFileSync(Path.join(root, file), "utf8")

const markdown = ["README.md", "CONTRIBUTING.md", ...under("docs", ".md")]
const found = [
  ...markdown.filter((file) => Fs.existsSync(Path.join(root, file))).map((file) => fromMarkdown(file, read(file))),
  ...under("src", ".ts").map((file) => fromSource(file, read(file)))
]
const blocks = found.flatMap((each) => each.blocks)
const problems = [
  ...found.flatMap((each) => each.problems),
  ...[...markdown, "CHANGELOG.md", ...under("src", ".md")].flatMap((file) => brokenLinks(root, file)),
  ...complaints()
]

const nameOf = (block: Block): string => `${block.file.replaceAll(/[^A-Za-z0-9]+/g, "_")}_${block.line}.ts`

Fs.mkdirSync(work, { recursive: true })
for (const block of blocks) Fs.writeFileSync(Path.join(work, nameOf(block)), `${block.code}\n`)
Fs.writeFileSync(
  Path.join(work, "tsconfig.json"),
  JSON.stringify({
    extends: "../../tsconfig.json",
    compilerOptions: {
      noUnusedLocals: false,
      noUnusedParameters: false,
      paths: {
        "effect-seams": ["../../src/index.ts"],
        "effect-seams/testing/kv-connect": ["../../src/testing/kvConnect/index.ts"],
        "effect-seams/*": ["../../src/*.ts", "../../src/*/index.ts"]
      }
    },
    include: ["*.ts"],
    exclude: []
  })
)

const byModule = new Map(blocks.map((block) => [nameOf(block), block]))

/** Points an error at the documentation instead of the module made from it. */
const relocate = (line: string): string =>
  line.replace(/^(?:.*\/)?([^/(]+\.ts)\((\d+),(\d+)\)/, (whole, module: string, row: string, column: string) => {
    const block = byModule.get(module)
    return block === undefined ? whole : `${block.file}:${block.line + Number(row) - 1}:${column}`
  })

const compiled =
  blocks.length === 0
    ? { status: 0, output: "" }
    : capture("tsc", ["-p", Path.join(work, "tsconfig.json"), "--pretty", "false"])
Fs.rmSync(work, { recursive: true, force: true })

if (compiled.status !== 0 || problems.length > 0) {
  console.error(
    [...problems, ...compiled.output.trim().split("\n").map(relocate)].filter((line) => line !== "").join("\n")
  )
  console.error(
    `check:docs: correct the lines above (${blocks.length} examples and the links of all pages were checked)`
  )
  process.exit(1)
}
console.log(`check:docs: ${blocks.length} examples compile, links lead somewhere`)
