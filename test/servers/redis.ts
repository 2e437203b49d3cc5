/** A private Redis with an append-only file, so that what it answered survives `kill` and `start`. */
import { Effect } from "effect"
import { converse } from "./machine.ts"
import type { Recipe } from "./Server.ts"

export const redis: Recipe = {
  kind: "redis",
  otherPorts: 0,
  prepare: ({ directory, port, program }) =>
    Effect.succeed([
      {
        file: program,
        args: "--bind 127.0.0.1 --daemonize no --appendonly yes --appendfsync everysec"
          .split(" ")
          .concat("--port", String(port), "--dir", directory, "--save", ""),
        stop: "SIGTERM"
      }
    ]),
  url: (port) => `redis://127.0.0.1:${port}`,
  probe: (port) => converse(port, Buffer.from("PING\r\n"), (reply) => reply.toString().startsWith("+PONG"))
}
