/** Where the program runs, and what that runtime gives. */

export type Runtime = "Node.js" | "Deno" | "Bun"

interface DenoGlobal {
  readonly openKv?: ((path: string) => Promise<unknown>) | undefined
  readonly env: {
    readonly get: (name: string) => string | undefined
    readonly set: (name: string, value: string) => void
    readonly delete: (name: string) => void
  }
}

export const denoGlobal = (): DenoGlobal | undefined => (globalThis as { readonly Deno?: DenoGlobal | undefined }).Deno

export const runtimeOf = (): Runtime => (denoGlobal() !== undefined ? "Deno" : "Bun" in globalThis ? "Bun" : "Node.js")

export const tokenVariable = "DENO_KV_ACCESS_TOKEN"

/** One variable by its name, so that Deno asks for no more than that; `undefined` also where it is not allowed to be read. */
export const variable = (name: string): string | undefined => {
  try {
    const deno = denoGlobal()
    const found = deno === undefined ? process.env[name] : deno.env.get(name)
    return found === "" ? undefined : found
  } catch {
    return undefined
  }
}
