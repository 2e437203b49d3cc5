/** What programs may import, read from the package itself, so that a new door needs no entry here. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** The folder of the library. */
export const root = Path.resolve(import.meta.dirname, "..")

export interface Door {
  /** As a program writes it behind `effect-seams/`. */
  readonly name: string
  /** The source of the module, from the folder of the library. */
  readonly source: string
}

const { exports } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")) as {
  readonly exports: Readonly<Record<string, { readonly default: string } | string | null>>
}

/** The barrel is left out: it holds the modules of the seams and nothing else. */
export const doors: ReadonlyArray<Door> = Object.entries(exports).flatMap(([path, to]) =>
  path === "." || to === null || typeof to === "string"
    ? []
    : [{ name: path.replace("./", ""), source: to.default.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ".ts") }]
)
