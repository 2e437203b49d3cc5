/** The rights that a program needs of Deno for each room, as `docs/runtimes.md` lists them. */

export interface Rights {
  /** For a program that knows the address. */
  readonly flags: ReadonlyArray<string>
  /** What `layerConfig` needs besides, to read the address from this variable. */
  readonly variable?: string | undefined
}

/** `place`: `host:port` of a server, or the path of a database file. */
export const rights = {
  memory: () => ({ flags: [] }),
  sqlite: (place) => ({
    // SQLite keeps two more files beside it, and changes of other processes are noticed by watching the folder.
    flags: [`--allow-read=${place.slice(0, place.lastIndexOf("/"))}`, `--allow-write=${place}`],
    variable: "SEAMS_DATA"
  }),
  denokv: (place) => ({
    flags: ["--unstable-kv", `--allow-read=${place}`, `--allow-write=${place}`],
    variable: "DENO_KV_PATH"
  }),
  // The token is in DENO_KV_ACCESS_TOKEN, where Deno looks for it whatever the program's options say.
  "denokv-remote": (place) => ({
    flags: ["--unstable-kv", `--allow-net=${place}`, "--allow-env=DENO_KV_ACCESS_TOKEN"]
  }),
  // The `debug` package, which ioredis loads, looks through all variables. Ignoring one lets it find only those that are allowed.
  redis: (place) => ({ flags: [`--allow-net=${place}`, "--ignore-env=DEBUG"], variable: "REDIS_URL" }),
  postgres: (place) => ({ flags: [`--allow-net=${place}`], variable: "DATABASE_URL" }),
  rabbitmq: (place) => ({ flags: [`--allow-net=${place}`], variable: "AMQP_URL" })
} as const satisfies Readonly<Record<string, (place: string) => Rights>>

export type Room = keyof typeof rights
export const rooms = Object.keys(rights) as ReadonlyArray<Room>
