/** A folder for the pipeline, whose numbers are known. */
import { Effect } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { temporaryFolder } from "../support/processes.ts"

export const files = 600

const textOf = (i: number): string => `file ${i}\n`.repeat(i % 7)

export const bytes = Array.from({ length: files }, (_, i) => textOf(i).length).reduce((a, b) => a + b)

export const makeTree = Effect.map(temporaryFolder, (folder) => {
  const root = path.join(fs.realpathSync(folder), "tree")
  for (let i = 0; i < files; i++) {
    const name = path.join(root, `d${i % 20}`, `f${i}.md`)
    fs.mkdirSync(path.dirname(name), { recursive: true })
    fs.writeFileSync(name, textOf(i))
  }
  return root
})
