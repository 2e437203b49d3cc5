import { defineConfig } from "vitepress"
import { slugOf as slugify } from "../../scripts/docLinks.ts"
import { repositoryLinks } from "./links.ts"
import { complaints, rewrites, sidebar } from "./pages.ts"

const wrong = complaints()
if (wrong.length > 0) throw new Error(wrong.join("\n"))

/** Pages lie outside of this package, so that while they are rendered to HTML nothing would find Vue from where they are. */
const pagesOutside = {
  name: "pages-outside",
  enforce: "pre" as const,
  resolveId: (id: string, _importer: string | undefined, options: { readonly ssr?: boolean | undefined }) =>
    options.ssr === true && /^vue(?:\/server-renderer)?$/.test(id) ? { id, external: true } : undefined
}

export default defineConfig({
  title: "effect-seams",
  description: "Key-value store, message queue and cron scheduler as Effect services",
  lang: "en",
  // Under a path: SEAMS_SITE_BASE=/effect-seams/
  base: process.env["SEAMS_SITE_BASE"] ?? "/",
  srcDir: "..",
  srcExclude: ["README.md", "bench/**", "examples/**", "test/**"],
  rewrites,
  outDir: "dist",
  cacheDir: ".cache",
  head: [["link", { rel: "icon", href: "data:," }]],
  transformPageData: ({ relativePath }) =>
    relativePath === "index.md" ? { titleTemplate: "key-value store, queue and cron for Effect" } : {},
  markdown: {
    // Those of github-light have an orange that is hard to read on grey.
    theme: { light: "github-light-default", dark: "github-dark-default" },
    anchor: { slugify },
    toc: { slugify },
    config: repositoryLinks
  },
  themeConfig: {
    nav: [
      { text: "Get started", link: "/get-started" },
      { text: "API", link: "/api/", activeMatch: "^/api/" },
      { text: "Changelog", link: "/changelog" }
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: "local" }
  },
  vite: {
    // The root of the site is the repository: nothing but the pages is looked at.
    optimizeDeps: { entries: [] },
    plugins: [pagesOutside],
    server: { watch: { ignored: ["**/.scratch/**", "**/.docs-check/**", "**/test/**", "**/dist/**"] } }
  }
})
