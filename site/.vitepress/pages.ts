/**
 * Which Markdown files of the repository are pages of the site, under which address, and in which order the menu shows them.
 *
 * The files stay where they are and link to one another as they do in the repository.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { doors, root } from "../doors.ts"

/** Name in the menu, file in the repository, page of the site. */
type Entry = readonly [text: string, file: string, page: string]

interface Group {
  readonly text: string
  readonly collapsed: boolean
  readonly entries: ReadonlyArray<Entry>
}

const guide = (text: string, name: string): Entry => [text, `docs/${name}.md`, `${name}.md`]
const inside = (text: string, file: string, name: string): Entry => [text, file, `inside/${name}.md`]
/** Written by TypeDoc. */
const api = (text: string, name: string): Entry => [text, `site/api/${name}.md`, `api/${name}.md`]

export const groups: ReadonlyArray<Group> = [
  {
    text: "Start",
    collapsed: false,
    entries: [guide("Overview", "index"), guide("Get started", "get-started")]
  },
  {
    text: "Seams",
    collapsed: false,
    entries: [guide("Kv", "kv"), guide("Queue", "queue"), guide("Cron", "cron")]
  },
  {
    text: "Using them",
    collapsed: false,
    entries: [
      guide("Discovery", "discovery"),
      guide("Patterns", "patterns"),
      guide("Testing", "testing"),
      guide("Telemetry", "telemetry"),
      guide("Runtimes", "runtimes")
    ]
  },
  {
    text: "Backends",
    collapsed: false,
    entries: [
      guide("Memory", "memory"),
      guide("SQLite", "sqlite"),
      guide("Redis, Valkey, Garnet", "redis"),
      guide("PostgreSQL", "postgres"),
      guide("RabbitMQ", "rabbitmq"),
      guide("Deno KV", "denokv"),
      guide("KV Connect", "kv-connect")
    ]
  },
  {
    text: "Coming from",
    collapsed: false,
    entries: [guide("NetScript", "migrate-netscript"), guide("JSONExpress", "migrate-jsonexpress")]
  },
  {
    text: "API reference",
    collapsed: true,
    entries: [api("All modules", "index"), ...doors.map(({ name }) => api(name, name))]
  },
  {
    text: "The project",
    collapsed: true,
    entries: [
      guide("Architecture", "architecture"),
      ["Contributing", "CONTRIBUTING.md", "contributing.md"],
      ["Changelog", "CHANGELOG.md", "changelog.md"],
      inside("Inside: cron", "src/cron/README.md", "cron"),
      inside("Inside: queue over a Kv", "src/queue/overKv/README.md", "queue-over-kv"),
      inside("Inside: Redis", "src/layers/redis/README.md", "redis"),
      inside("Inside: PostgreSQL", "src/layers/postgres/README.md", "postgres"),
      inside("Inside: RabbitMQ", "src/layers/rabbitmq/README.md", "rabbitmq")
    ]
  }
]

const entries = groups.flatMap((group) => group.entries)

/** From files of the repository to pages of the site, as VitePress takes it. */
export const rewrites: Record<string, string> = Object.fromEntries(entries.map(([, file, page]) => [file, page]))

/** What keeps the menu true: every page is there, and every guide is a page. `npm run check:docs` asks too. */
export const complaints = (): ReadonlyArray<string> => {
  const guides = Fs.readdirSync(Path.join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`)
  return [
    ...entries
      .filter(([, file]) => !file.startsWith("site/api/") && !Fs.existsSync(Path.join(root, file)))
      .map(([, file]) => `${file} is not there`),
    ...guides.filter((file) => rewrites[file] === undefined).map((file) => `${file} is in no menu`)
  ].map((complaint) => `${complaint}: correct site/.vitepress/pages.ts`)
}

const link = (page: string): string => `/${page.replace(/(^|\/)index\.md$/, "$1").replace(/\.md$/, "")}`

export const sidebar = groups.map(({ text, collapsed, entries: shown }) => ({
  text,
  collapsed,
  items: shown.map(([name, , page]) => ({ text: name, link: link(page) }))
}))
