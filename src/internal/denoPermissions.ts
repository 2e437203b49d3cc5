/** What Deno lets a program do. Looked at before asking the runtime for anything that only helps, which would end in a prompt or an error. */

interface Permissions {
  readonly querySync: (descriptor: Descriptor) => { readonly state: string }
}

export type Descriptor =
  | { readonly name: "env"; readonly variable?: string }
  | { readonly name: "sys"; readonly kind: "uid" | "statfs" }

/** Whether it was granted by a flag or by an answer of before. On Node and Bun everything is. */
export const isGranted = (descriptor: Descriptor): boolean => {
  const permissions = (globalThis as { readonly Deno?: { readonly permissions?: Permissions } }).Deno?.permissions
  return permissions === undefined || permissions.querySync(descriptor).state === "granted"
}
