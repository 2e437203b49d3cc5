/**
 * Loaded before a program (`--import`): notes every module that is resolved, and lets packages be missing that are installed. At the end a
 * line `modules` tells the addresses.
 */
import { registerHooks } from "node:module"

const missing = (process.env["SEAMS_TEST_MISSING"] ?? "").split(",").filter((name) => name !== "")
const seen = new Set<string>()

registerHooks({
  resolve: (specifier, context, next) => {
    if (missing.some((name) => specifier === name || specifier.startsWith(`${name}/`)))
      throw Object.assign(new Error(`Cannot find package '${specifier}' imported from ${context.parentURL}`), {
        code: "ERR_MODULE_NOT_FOUND"
      })
    const resolved = next(specifier, context)
    seen.add(resolved.url)
    return resolved
  }
})

process.on("exit", () => console.log(`modules ${JSON.stringify([...seen])}`))
