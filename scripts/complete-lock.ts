/**
 * Adds the platform packages that a registry mirror did not offer to package-lock.json.
 *
 * Tools such as oxlint or deno ship one optional package per platform. `npm install` leaves those out of the lock file
 * which the registry in use answers with 404, and `npm ci` then refuses the lock file as out of sync, on every
 * machine. An entry needs no more than version and platform; npm fetches and checks the rest where it installs one.
 * Entries made here carry no integrity, since nobody here has seen the tarball. Run it after `npm install`.
 */
import * as Fs from "node:fs"

export interface LockEntry {
  readonly version?: string
  readonly integrity?: string
  readonly cpu?: ReadonlyArray<string>
  readonly dev?: boolean
  readonly libc?: ReadonlyArray<string>
  readonly license?: string
  readonly optional?: boolean
  readonly os?: ReadonlyArray<string>
  readonly peer?: boolean
  readonly engines?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly hasInstallScript?: boolean
}

export type LockPackages = Readonly<Record<string, LockEntry>>

const operatingSystems = new Set(["aix", "android", "darwin", "freebsd", "linux", "openharmony", "win32"])
const processors = new Set(["arm", "arm64", "ia32", "loong64", "ppc64", "riscv64", "s390x", "x64"])
const libraries: Readonly<Record<string, string>> = {
  glibc: "glibc",
  gnu: "glibc",
  musl: "musl",
  musleabihf: "musl"
}

export interface Platform {
  readonly os: string
  readonly cpu: string
  readonly libc: string | undefined
}

/** The platform a package is for, read from the last part of its name: `@x/binding-linux-arm64-musl`. */
export const platformOf = (name: string): Platform | undefined => {
  const parts = (name.split("/").at(-1) ?? name).split("-")
  const os = parts.find((part) => operatingSystems.has(part))
  const cpu = parts.find((part) => processors.has(part))
  const libc = parts.map((part) => libraries[part]).find((library) => library !== undefined)
  return os === undefined || cpu === undefined ? undefined : { os, cpu, libc: os === "linux" ? libc : undefined }
}

/** Where npm would find `name` for the package at `path`, nearest folder first. */
const locations = (path: string, name: string): ReadonlyArray<string> => {
  const folders = path.split("/node_modules/")
  return folders
    .map((_, i) => `${folders.slice(0, folders.length - i).join("/node_modules/")}/node_modules/${name}`)
    .concat(`node_modules/${name}`)
}

/** The optional packages that the lock file names as dependencies but has no entry for. */
export const missingEntries = (packages: LockPackages): Record<string, LockEntry> => {
  const missing: Record<string, LockEntry> = {}
  for (const [path, parent] of Object.entries(packages)) {
    const optional = Object.entries(parent.optionalDependencies ?? {})
    const find = (name: string) => locations(path, name).find((location) => location in packages)
    const sibling = optional.map(([name]) => packages[find(name) ?? ""]).find((entry) => entry !== undefined)
    for (const [name, version] of optional) {
      const platform = platformOf(name)
      if (find(name) !== undefined || platform === undefined) continue
      missing[`node_modules/${name}`] = {
        version,
        cpu: [platform.cpu],
        ...(parent.dev === true ? { dev: true } : {}),
        ...(sibling?.libc !== undefined && platform.libc !== undefined ? { libc: [platform.libc] } : {}),
        ...(sibling?.license !== undefined ? { license: sibling.license } : {}),
        optional: true,
        os: [platform.os],
        ...(sibling?.peer === true ? { peer: true } : {}),
        ...(sibling?.engines !== undefined ? { engines: sibling.engines } : {})
      }
    }
  }
  return missing
}

if (import.meta.main) {
  const lock: { readonly packages: LockPackages } = JSON.parse(Fs.readFileSync("package-lock.json", "utf8"))
  const missing = missingEntries(lock.packages)
  const packages = Object.fromEntries(
    Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => a.localeCompare(b, "en"))
  )
  Fs.writeFileSync("package-lock.json", `${JSON.stringify({ ...lock, packages }, undefined, 2)}\n`)
  console.log(`package-lock.json: ${Object.keys(missing).length} platform packages added`)
}
