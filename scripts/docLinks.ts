/** Finds links of Markdown files that lead nowhere: to a file that is not there, or to a heading that its page does not have. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** The anchor that GitHub, and the site, make of the text of a heading. */
export const slugOf = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, "")
    .replaceAll(" ", "-")

/** Code is blanked, line by line, so that numbers of lines stay right. */
const withoutFences = (text: string): ReadonlyArray<string> => {
  let mark: string | null = null
  return text.split(/\r?\n/).map((line) => {
    const [, found = ""] = /^\s*(`{3,}|~{3,})/.exec(line) ?? []
    if (mark === null) {
      if (found === "") return line
      mark = found
      return ""
    }
    if (found !== "" && found.startsWith(mark)) mark = null
    return ""
  })
}

/** The text that is shown: of a link its text, of code what is inside. */
const shown = (heading: string): string =>
  heading
    .replaceAll(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll(/[`*]/g, "")
    .replace(/\s+#+\s*$/, "")

/** Every anchor of a page; headings of one text are counted. */
export const anchorsOf = (text: string): ReadonlySet<string> => {
  const anchors = new Set<string>()
  const times = new Map<string, number>()
  for (const line of withoutFences(text)) {
    const [, heading] = /^#{1,6}\s+(.*)$/.exec(line) ?? []
    if (heading === undefined) continue
    const slug = slugOf(shown(heading))
    const before = times.get(slug) ?? 0
    times.set(slug, before + 1)
    anchors.add(before === 0 ? slug : `${slug}-${before}`)
  }
  return anchors
}

interface Link {
  readonly line: number
  readonly href: string
}

const linksOf = (text: string): ReadonlyArray<Link> =>
  withoutFences(text).flatMap((line, i) =>
    Array.from(
      line.replaceAll(/`[^`]*`/g, (code) => " ".repeat(code.length)).matchAll(/\]\(([^()\s]+)\)/g),
      (found) => ({
        line: i + 1,
        href: found[1] ?? ""
      })
    )
  )

/** `file:line: what` for every link of a Markdown file that leads nowhere. Links to other hosts are not followed. */
export const brokenLinks = (root: string, file: string): ReadonlyArray<string> => {
  const text = Fs.readFileSync(Path.join(root, file), "utf8")
  return linksOf(text).flatMap(({ href, line }) => {
    if (/^[a-z][a-z+.-]*:/i.test(href)) return []
    const [path = "", anchor] = href.split("#")
    const target = path === "" ? file : Path.join(Path.dirname(file), decodeURIComponent(path))
    const absolute = Path.join(root, target)
    if (!Fs.existsSync(absolute)) return [`${file}:${line}: there is no ${target}`]
    if (anchor === undefined || !target.endsWith(".md")) return []
    return anchorsOf(Fs.readFileSync(absolute, "utf8")).has(anchor)
      ? []
      : [`${file}:${line}: ${target} has no heading for #${anchor}`]
  })
}
