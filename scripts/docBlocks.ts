/** Finds the TypeScript examples of the documentation: fenced blocks in Markdown and in doc comments. */

export interface Block {
  /** File the block stands in, relative to the package. */
  readonly file: string
  /** Line of the block's first line of code, from 1. */
  readonly line: number
  readonly code: string
}

export interface Found {
  readonly blocks: ReadonlyArray<Block>
  /** What makes a block impossible to check, as `file:line: what`. */
  readonly problems: ReadonlyArray<string>
}

interface Line {
  readonly number: number
  readonly text: string
}

const fence = /^\s*(`{3,}|~{3,})\s*(.*)$/

const fromLines = (file: string, lines: ReadonlyArray<Line>): Found => {
  const blocks: Array<Block> = []
  const problems: Array<string> = []
  let open: {
    readonly mark: string
    readonly info: string
    readonly line: number
    readonly code: Array<string>
  } | null = null
  for (const { number, text } of lines) {
    const [, mark = "", info = ""] = fence.exec(text) ?? []
    if (open === null) {
      if (mark !== "") open = { mark, info: info.trim(), line: number + 1, code: [] }
    } else if (mark.startsWith(open.mark) && info === "") {
      const [language = "", ...tags] = open.info.split(/\s+/)
      if (/^(ts|typescript|mts|tsx)$/i.test(language)) {
        if (tags.length > 0)
          problems.push(`${file}:${open.line - 1}: a TypeScript block takes no tags: ${tags.join(" ")}`)
        else blocks.push({ file, line: open.line, code: open.code.join("\n") })
      }
      open = null
    } else {
      open.code.push(text)
    }
  }
  if (open !== null) problems.push(`${file}:${open.line - 1}: this block is never closed`)
  return { blocks, problems }
}

const numbered = (text: string): ReadonlyArray<Line> =>
  text.split(/\r?\n/).map((line, i) => ({ number: i + 1, text: line }))

/** The TypeScript blocks of a Markdown file. */
export const fromMarkdown = (file: string, text: string): Found => fromLines(file, numbered(text))

/** An example without a fence would not be compiled. */
const unfenced = (file: string, comment: ReadonlyArray<Line>): ReadonlyArray<string> =>
  comment.flatMap(({ number, text }, i) =>
    text.trim() === "@example" && !fence.test(comment[i + 1]?.text ?? "")
      ? [`${file}:${number}: an @example begins with a fence in the next line`]
      : []
  )

/** The TypeScript blocks inside the doc comments of a source file. */
export const fromSource = (file: string, text: string): Found => {
  const found: Array<Found> = []
  let comment: Array<Line> | null = null
  for (const { number, text: line } of numbered(text)) {
    if (comment === null && /^\s*\/\*\*/.test(line)) comment = []
    if (comment === null) continue
    comment.push({ number, text: line.replace(/^\s*\/?\*+ ?/, "").replace(/\*\/\s*$/, "") })
    if (line.includes("*/")) {
      found.push(fromLines(file, comment), { blocks: [], problems: unfenced(file, comment) })
      comment = null
    }
  }
  return { blocks: found.flatMap((f) => f.blocks), problems: found.flatMap((f) => f.problems) }
}
