import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll } from "vitest"
import { anchorsOf, brokenLinks, slugOf } from "../../scripts/docLinks.ts"

describe("the links of the documentation", () => {
  let root = ""
  const write = (file: string, ...lines: ReadonlyArray<string>) => {
    Fs.mkdirSync(Path.dirname(Path.join(root, file)), { recursive: true })
    Fs.writeFileSync(Path.join(root, file), lines.join("\n"))
  }
  beforeAll(() => {
    root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "seams-links-"))
    write("docs/a.md", "# A", "", "## What `it` does", "", "## Again", "## Again", "```sh", "# no heading", "```")
    write("src/x.ts", "")
  })
  afterAll(() => Fs.rmSync(root, { recursive: true, force: true }))

  it("lead to headings by the anchors that GitHub makes", () => {
    assert.strictEqual(slugOf("`@effect/platform` and `@effect/schema`"), "effectplatform-and-effectschema")
    assert.deepStrictEqual(Array.from(anchorsOf("# [Kv](kv.md), *fast*\n## A - B\n## Ünï_code 1.2\n")), [
      "kv-fast",
      "a---b",
      "ünï_code-12"
    ])
  })

  it("that are right are not reported: files, anchors, counted headings, other hosts, code", () => {
    write(
      "README.md",
      "[a](docs/a.md) [b](docs/a.md#what-it-does), [c](docs/a.md#again-1)",
      "[self](#here) ![x](src/x.ts) [web](https://example.com/none) [mail](mailto:a@example.com)",
      "## Here",
      "`[code](none.md)`",
      "```md",
      "[fenced](none.md)",
      "```"
    )
    assert.deepStrictEqual(brokenLinks(root, "README.md"), [])
  })

  it("that are wrong are reported with their line", () => {
    write(
      "docs/b.md",
      "[file](none.md)",
      "[anchor](a.md#nothing) [comment](a.md#no-heading)",
      "[self](#nowhere) and ![picture](../docs/none.png)"
    )
    assert.deepStrictEqual(brokenLinks(root, "docs/b.md"), [
      "docs/b.md:1: there is no docs/none.md",
      "docs/b.md:2: docs/a.md has no heading for #nothing",
      "docs/b.md:2: docs/a.md has no heading for #no-heading",
      "docs/b.md:3: docs/b.md has no heading for #nowhere",
      "docs/b.md:3: there is no docs/none.png"
    ])
  })
})
