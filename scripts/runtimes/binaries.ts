/** The programs of the runtimes. Deno, Bun and Node 24 are packages of the lock file; the lowest Node is fetched once. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { capture, root } from "../process.ts"

export type RuntimeName = "node22" | "node24" | "deno" | "bun"
export const runtimeNames: ReadonlyArray<RuntimeName> = ["node22", "node24", "deno", "bun"]

export interface Binary {
  readonly file: string
  /** Before the script to run. */
  readonly args: ReadonlyArray<string>
  /** As `thisRuntime` says it there. */
  readonly runtime: string
}

/** The lowest Node that `engines` in package.json admits. A package `node` of this version would take the place of the one that all scripts run on. */
export const lowestNode = "22.19.0"

const lowestNodeVariable = "SEAMS_TEST_NODE22"

/** What npm calls the package that holds nothing but the program. */
export const nodePackage = (platform: string = process.platform, arch: string = process.arch): string =>
  `${platform === "darwin" && arch === "arm64" ? "node-bin" : "node"}-${platform === "win32" ? "win" : platform}-${arch}`

const program = process.platform === "win32" ? "node.exe" : "node"

export interface LowestNodeOptions {
  /** Default: that of this process. */
  readonly env?: NodeJS.ProcessEnv | undefined
  /** Where it is kept, from the root of the project. */
  readonly folder?: string | undefined
}

/** The program of the lowest Node: the one that is named, that was fetched before, or that npm fetches now. */
export const lowestNodeProgram = (options?: LowestNodeOptions): string => {
  const { env = process.env, folder = Path.join(".seams", "runtimes", `node-${lowestNode}`) } = options ?? {}
  const given = env[lowestNodeVariable]
  if (given !== undefined && given !== "") {
    if (Fs.existsSync(given)) return given
    throw new Error(
      `${lowestNodeVariable} names ${given}, which is not there: name the program of a Node ${lowestNode}`
    )
  }
  const kept = Path.resolve(root, folder)
  const file = Path.join(kept, "node_modules", nodePackage(), "bin", program)
  if (Fs.existsSync(file)) return file
  const install = `install --prefix ${folder} --no-save --no-audit --no-fund ${nodePackage()}@${lowestNode}`
  console.log(`fetching Node ${lowestNode} into ${folder}`)
  Fs.mkdirSync(kept, { recursive: true })
  // Without one npm would install into the project around it.
  Fs.writeFileSync(Path.join(kept, "package.json"), JSON.stringify({ private: true }))
  const { output, status } = capture("npm", install.split(" "), root, env)
  if (status === 0 && Fs.existsSync(file)) return file
  const tail = output.trim().split("\n").slice(-16).join("\n")
  throw new Error(
    `Node ${lowestNode} is not in ${folder}, and npm could not fetch it:\n${tail}\nWith a network run: npm ${install}\nOr name a program that is there: ${lowestNodeVariable}=/path/to/node`
  )
}

const versionOf = (file: string): string => {
  if (!Fs.existsSync(file)) throw new Error(`${file} is not there: run npm ci`)
  const { output, status } = capture(file, ["--version"])
  const version = /\d+\.\d+\.\d+/.exec(output)?.[0]
  if (status !== 0 || version === undefined) throw new Error(`${file} does not run:\n${output}`)
  return version
}

const inPackages = (...parts: ReadonlyArray<string>) => Path.join(root, "node_modules", ...parts)

const binaries: Readonly<Record<RuntimeName, () => Binary>> = {
  node22: () => {
    const file = lowestNodeProgram()
    return { file, args: [], runtime: `Node ${versionOf(file)}` }
  },
  node24: () => {
    const file = inPackages("node", "bin", program)
    return { file, args: [], runtime: `Node ${versionOf(file)}` }
  },
  deno: () => {
    const file = inPackages("deno", process.platform === "win32" ? "deno.exe" : "deno")
    return {
      file,
      args: ["run", "-A", "--quiet", "--unstable-kv", "--unstable-cron"],
      runtime: `Deno ${versionOf(file)}`
    }
  },
  bun: () => {
    const file = inPackages("bun", "bin", "bun.exe")
    return { file, args: [], runtime: `Bun ${versionOf(file)}` }
  }
}

/** Where the program of a runtime is, once it is there. Throws what to type when it cannot be had. */
export const binaryOf = (name: RuntimeName): Binary => binaries[name]()
