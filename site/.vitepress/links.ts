/**
 * Makes the links of the repository work on the site: a link to a Markdown file that is a page becomes a link to the page; a
 * link to any other file of the repository goes to `SEAMS_SOURCE_URL`, or is plain text where that is not set.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { MarkdownRenderer } from "vitepress"
import { root } from "../doors.ts"
import { rewrites } from "./pages.ts"

const elsewhere = /^(?:[a-z][a-z+.-]*:|\/|#)/i

/** Where a link leads; `undefined` when the site has no such place. */
const target = (href: string, from: string, source: string | undefined): string | undefined => {
  if (elsewhere.test(href)) return href
  const [path = "", hash] = href.split("#")
  const absolute = Path.resolve(Path.dirname(from), decodeURIComponent(path))
  const file = Path.relative(root, absolute).replaceAll(Path.sep, "/")
  const page = rewrites[file]
  const anchor = hash === undefined ? "" : `#${hash}`
  if (page !== undefined) return `/${page}${anchor}`
  if (!Fs.existsSync(absolute)) throw new Error(`${Path.relative(root, from)} links to ${href}, which does not exist`)
  return source === undefined ? undefined : `${source.replace(/\/$/, "")}/${file}${anchor}`
}

export const repositoryLinks = (md: MarkdownRenderer): void => {
  const source = process.env["SEAMS_SOURCE_URL"]
  md.core.ruler.push("repository-links", ({ tokens, env }) => {
    const from: unknown = env.realPath ?? env.path
    if (typeof from !== "string") return
    for (const block of tokens) {
      const children = block.children ?? []
      const dropped = new Set<number>()
      for (const [i, token] of children.entries()) {
        const href = token.type === "link_open" ? token.attrGet("href") : null
        if (href === null) continue
        const to = target(href, from, source)
        if (to !== undefined) token.attrSet("href", to)
        else {
          dropped.add(i)
          dropped.add(children.findIndex((other, j) => j > i && other.type === "link_close"))
        }
      }
      if (dropped.size > 0) block.children = children.filter((_, i) => !dropped.has(i))
    }
  })
}
