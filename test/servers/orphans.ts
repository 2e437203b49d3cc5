/** Removes what a killed test run left behind, in case its guardians were killed with it. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect } from "effect"
import { isAlive, parseRecord, type ProcessRecord } from "./decide.ts"
import { base, composeFile, identityOf, run } from "./machine.ts"
import { prefix } from "./Server.ts"

const read = (file: string): string => (Fs.existsSync(file) ? Fs.readFileSync(file, "utf8") : "")

const killRecorded = (record: ProcessRecord): void => {
  if (!isAlive(record, identityOf)) return
  for (const pid of [-record.pid, record.pid]) {
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It ended by itself in between.
    }
  }
}

/** Stops the servers whose owner is dead and removes their folders; returns the folders. */
export const removeOrphans = Effect.fnUntraced(function* (folder: string = base) {
  const directories = Fs.readdirSync(folder)
    .filter((name) => name.startsWith(prefix))
    .map((name) => Path.join(folder, name))
    .filter((directory) => {
      // Without a readable owner it is being made or removed right now, by someone else.
      const owner = parseRecord(read(Path.join(directory, "owner")))
      return owner !== undefined && !isAlive(owner, identityOf)
    })
  for (const directory of directories) {
    const records = read(Path.join(directory, "processes")).split("\n").map(parseRecord)
    for (const record of records.toReversed()) if (record !== undefined) killRecorded(record)
    const project = read(Path.join(directory, "compose"))
    if (project !== "") {
      yield* run("docker", ["compose", "--project-name", project, "--file", composeFile, "down", "--volumes"])
    }
    Fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
  return directories
})
