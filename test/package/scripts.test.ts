import { assert, describe, it } from "@effect/vitest"
import { fromMarkdown, fromSource } from "../../scripts/docBlocks.ts"
import { type Report, totalsOf } from "../../scripts/test-totals.ts"

const text = (...lines: ReadonlyArray<string>): string => lines.join("\n")

describe("the examples of the documentation", () => {
  it("are the TypeScript blocks of a Markdown file, with their lines", () => {
    const found = fromMarkdown(
      "README.md",
      text(
        "# Title",
        "```ts",
        "const a = 1",
        "",
        "const b = 2",
        "```",
        "```sh",
        "npm ci",
        "```",
        "~~~typescript",
        "x",
        "~~~"
      )
    )
    assert.deepStrictEqual(found, {
      blocks: [
        { file: "README.md", line: 3, code: "const a = 1\n\nconst b = 2" },
        { file: "README.md", line: 11, code: "x" }
      ],
      problems: []
    })
  })

  it("are the TypeScript blocks of doc comments, and not of other comments", () => {
    const found = fromSource(
      "src/A.ts",
      text(
        "/**",
        " * A thing.",
        " *",
        " * @example",
        " * ```ts",
        " * const a = {",
        " *   b: 1",
        " * }",
        " * ```",
        " */",
        "export const a = 1",
        "/* ```ts",
        "no",
        "``` */",
        "/** One line. */"
      )
    )
    assert.deepStrictEqual(found, {
      blocks: [{ file: "src/A.ts", line: 6, code: "const a = {\n  b: 1\n}" }],
      problems: []
    })
  })

  it("have a fence after @example, or they would not be compiled", () => {
    const found = fromSource("src/A.ts", text("/**", " * @example", " * const a = 1", " */"))
    assert.deepStrictEqual(found, {
      blocks: [],
      problems: ["src/A.ts:2: an @example begins with a fence in the next line"]
    })
  })

  it("end at their own fence: a longer one may hold a shorter one", () => {
    const found = fromMarkdown("a.md", text("````md", "```ts", "not code", "```", "````"))
    assert.deepStrictEqual(found, { blocks: [], problems: [] })
  })

  it.each(["ts ignore", "typescript title=x", "ts no-check"])("cannot be exempted: `%s`", (info) => {
    const found = fromMarkdown("a.md", text("text", `\`\`\`${info}`, "code", "```"))
    assert.lengthOf(found.blocks, 0)
    assert.lengthOf(found.problems, 1)
    assert.include(found.problems[0], "a.md:2")
  })

  it("have an end", () => {
    assert.deepStrictEqual(fromMarkdown("a.md", text("```ts", "code")).problems, ["a.md:1: this block is never closed"])
  })
})

describe("the totals of a test run", () => {
  const report: Report = {
    success: true,
    numPassedTests: 3,
    numFailedTests: 0,
    numPendingTests: 0,
    numTodoTests: 0,
    testResults: [{ status: "passed", assertionResults: [{ status: "passed" }] }]
  }

  it.each<readonly [string, Partial<Report>, string, boolean]>([
    ["all pass", {}, "3 passed, 0 failed", true],
    ["some are skipped", { numPendingTests: 1, numTodoTests: 1 }, "3 passed, 0 failed, 2 skipped", true],
    ["one fails", { success: false, numFailedTests: 1 }, "3 passed, 1 failed", false],
    ["none ran", { numPassedTests: 0, testResults: [] }, "0 passed, 0 failed", false],
    ["all are skipped", { numPassedTests: 0, numPendingTests: 3 }, "0 passed, 0 failed, 3 skipped", false],
    [
      "a file does not load",
      { success: false, testResults: [{ status: "failed", assertionResults: [] }] },
      "3 passed, 1 failed",
      false
    ],
    ["the run failed outside any test", { success: false }, "3 passed, 0 failed", false]
  ])("%s", (_name, changes, line, ok) => {
    assert.deepStrictEqual(totalsOf({ ...report, ...changes }), { line, ok })
  })
})
