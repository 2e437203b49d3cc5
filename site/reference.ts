/** What TypeDoc and its Markdown plugin leave undone for the pages of this site. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { type Application, Comment, Converter, type PageEvent, ReflectionKind } from "typedoc"
import { doors, root } from "./doors.ts"

/** The comment at the head of a module, up to its tags. TypeDoc takes it for one of the first export. */
const headOf = (source: string): string => {
  const [, comment = ""] = /^\/\*\*(.*?)\*\//s.exec(Fs.readFileSync(Path.join(root, source), "utf8")) ?? []
  const lines = comment.split("\n").map((line) => line.replace(/^\s*\*? ?/, ""))
  const tag = lines.findIndex((line) => line.startsWith("@"))
  return (tag === -1 ? lines : lines.slice(0, tag))
    .join("\n")
    .replaceAll(/\{@link ([^}]+)\}/g, "`$1`")
    .trim()
}

/** Parts of a member that TypeDoc gives headings: as bold text they stay out of the outline, of anchors and of the search. */
const parts =
  "Type Parameters|Parameters|Returns|Example|Examples|Properties|Accessors|Methods|Constructors|Implementation of|Overrides|Default|Union Members|See|Throws|Remarks|Get Signature|Set Signature|Call Signature|Inherited from|Default Value|Type Literal|Type declaration|Type Declaration|Extends|Extended by|Implements"

const tidy = (markdown: string): string =>
  markdown
    .replaceAll(/^#{3,6} Since\n+(\S+)\n/gm, "<small>Since $1</small>\n")
    .replaceAll(new RegExp(`^#{3,6} (${parts})$`, "gm"), "**$1**")
    .replaceAll(/^## ([a-z])(.*)$/gm, (_, first: string, rest: string) => `## ${first.toUpperCase()}${rest}`)
    .replaceAll(/^\*\*\*\n\n/gm, "")
    .replaceAll(/^\*\*Get Signature\*\*\n\n/gm, "")

/** What a program may import, in the order of the package, each with the first sentence of its module. */
const contents = (): string =>
  [
    "# API reference",
    "",
    "Made from the doc comments of the sources. The barrel `effect-seams` has `Kv`, `Queue`, `Cron` and `Discovery` as namespaces.",
    "",
    "| import | what |",
    "| --- | --- |",
    ...doors.map(({ name, source }) => {
      const [sentence = ""] = /^.*?\.(?=\s|$)/s.exec(headOf(source).replaceAll("\n", " ")) ?? []
      return `| [\`effect-seams/${name}\`](${name}.md) | ${sentence.replaceAll("|", "\\|")} |`
    })
  ].join("\n")

export const load = (app: Application): void => {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      const door = doors.find(
        ({ source }) => source.replace(/^src\//, "").replace(/(\/index)?\.ts$/, "") === module.name
      )
      if (door === undefined) throw new Error(`the module ${module.name} is no door of the package`)
      module.name = door.name
      module.comment = new Comment([{ kind: "text", text: headOf(door.source) }])
    }
    // Of a service key or an error these say nothing: how it is made follows from its properties, its base is Effect's.
    for (const made of project.getReflectionsByKind(ReflectionKind.Class)) {
      if (!made.isDeclaration()) continue
      delete made.extendedTypes
      for (const child of Array.from(made.children ?? [])) {
        const { signatures, getSignature } = child
        const silent = [child, ...(signatures ?? []), getSignature].every((one) => one?.comment === undefined)
        if (silent && (child.kind === ReflectionKind.Constructor || child.name === "message"))
          project.removeReflection(child)
      }
    }
  })
  app.renderer.on("endPage", (page: PageEvent) => {
    if (page.contents !== undefined) page.contents = page.url === "index.md" ? contents() : tidy(page.contents)
  })
}
