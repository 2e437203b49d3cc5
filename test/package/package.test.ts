import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { type LockPackages, missingEntries, platformOf } from "../../scripts/complete-lock.ts"
import { root } from "../../scripts/process.ts"

interface Manifest {
  readonly version: string
  readonly exports: Readonly<Record<string, string | null | { readonly types: string; readonly default: string }>>
  readonly files: ReadonlyArray<string>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly allowScripts: Readonly<Record<string, boolean>>
}

const read = (file: string): string => Fs.readFileSync(Path.join(root, file), "utf8")
const manifest: Manifest = JSON.parse(read("package.json"))
const lockText = read("package-lock.json")
const lock: { readonly packages: LockPackages } = JSON.parse(lockText)

const doors = Object.entries(manifest.exports).flatMap(([door, target]) =>
  target === null || typeof target === "string" ? [] : [{ door, target }]
)

describe("the package", () => {
  it.each(doors)("opens $door from a source that exists, with its types", ({ target }) => {
    const source = target.default.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ".ts")
    assert.isTrue(Fs.existsSync(Path.join(root, source)), source)
    assert.strictEqual(target.types, target.default.replace(/\.js$/, ".d.ts"))
  })

  it("has a door for every room and every seam there is", () => {
    const rooms = Fs.readdirSync(Path.join(root, "src/layers"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `./layers/${name}`)
    const seams = Fs.readdirSync(Path.join(root, "src"))
      .filter((name) => name.endsWith(".ts") && name !== "index.ts")
      .map((name) => `./${Path.basename(name, ".ts")}`)
    const expected = [".", "./testing", "./testing/kv-connect", ...rooms, ...seams].toSorted()
    assert.deepStrictEqual(doors.map(({ door }) => door).toSorted(), expected)
  })

  it("keeps its internal modules closed", () => {
    assert.isNull(manifest.exports["./internal/*"])
  })

  it("asks for effect and for nothing else", () => {
    const required = Object.keys(manifest.peerDependencies).filter(
      (name) => !manifest.peerDependenciesMeta[name]?.optional
    )
    assert.deepStrictEqual(required, ["effect"])
    assert.notProperty(manifest, "dependencies")
  })

  it("is developed with every peer it can use", () => {
    assert.includeMembers(Object.keys(manifest.devDependencies), Object.keys(manifest.peerDependencies))
  })

  it("has a changelog entry for its version", () => {
    assert.include(read("CHANGELOG.md"), `## [${manifest.version}]`)
  })
})

describe("an installation", () => {
  it("takes exact versions of the tools", () => {
    const loose = Object.entries(manifest.devDependencies).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
    assert.deepStrictEqual(loose, [])
  })

  it("runs the install scripts of exactly the packages that need them here", () => {
    const scripted = Object.entries(lock.packages)
      .filter(([, entry]) => entry.hasInstallScript === true && entry.optional !== true)
      .map(([path]) => path.replace(/^.*node_modules\//, ""))
    assert.deepStrictEqual(Object.keys(manifest.allowScripts).toSorted(), scripted.toSorted())
  })

  it("asks the registry of the machine: the lock file names none", () => {
    assert.notInclude(lockText, '"resolved"')
  })

  it("has a lock entry for every platform, so that `npm ci` accepts it on each of them", () => {
    assert.deepStrictEqual(Object.keys(missingEntries(lock.packages)), [])
  })

  it.each([
    ["node", /^v24\./],
    ["deno", /^deno 2\./],
    ["bun", /^1\./]
  ] as const)("brings a %s that runs", (runtime, version) => {
    const file = Path.join(root, "node_modules", ".bin", runtime)
    assert.match(execFileSync(file, ["--version"], { encoding: "utf8" }), version)
  })

  it("runs the tests, and what they start by name, on that node", () => {
    assert.match(process.version, /^v24\./)
    assert.match(execFileSync("node", ["--version"], { encoding: "utf8" }), /^v24\./)
  })
})

describe("a platform package", () => {
  it.each([
    ["@effect/tsgo-linux-arm64", { os: "linux", cpu: "arm64", libc: undefined }],
    ["@deno/linux-x64-glibc", { os: "linux", cpu: "x64", libc: "glibc" }],
    ["@oxlint/binding-linux-arm-musleabihf", { os: "linux", cpu: "arm", libc: "musl" }],
    ["@oxfmt/binding-linux-x64-gnu", { os: "linux", cpu: "x64", libc: "glibc" }],
    ["@oxfmt/binding-win32-ia32-msvc", { os: "win32", cpu: "ia32", libc: undefined }],
    ["fsevents", undefined]
  ])("%s is for the platform in its name", (name, expected) => {
    assert.deepStrictEqual(platformOf(name), expected)
  })

  it("that the lock file lacks gets version and platform, and nothing anyone would have to have seen", () => {
    const packages: LockPackages = {
      "node_modules/tool": {
        version: "1.2.3",
        dev: true,
        optionalDependencies: { "@tool/linux-x64-gnu": "1.2.3", "@tool/darwin-arm64": "1.2.3" }
      },
      "node_modules/@tool/linux-x64-gnu": {
        version: "1.2.3",
        integrity: "sha512-x",
        cpu: ["x64"],
        dev: true,
        libc: ["glibc"],
        license: "MIT",
        optional: true,
        os: ["linux"]
      }
    }
    assert.deepStrictEqual(missingEntries(packages), {
      "node_modules/@tool/darwin-arm64": {
        version: "1.2.3",
        cpu: ["arm64"],
        dev: true,
        license: "MIT",
        optional: true,
        os: ["darwin"]
      }
    })
  })

  it("that stands in a nested folder is found there", () => {
    const packages: LockPackages = {
      "node_modules/a/node_modules/tool": { optionalDependencies: { "@tool/linux-x64": "1.0.0" } },
      "node_modules/a/node_modules/@tool/linux-x64": { version: "1.0.0" }
    }
    assert.deepStrictEqual(missingEntries(packages), {})
  })
})
