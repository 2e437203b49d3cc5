/** Schedulers over one SQLite file, as so many processes would have them. */
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { temporaryFile } from "../support/processes.ts"

/** The Kv of each process, every one with a connection of its own. */
export const sqliteProcesses = (count: number) =>
  Effect.flatMap(temporaryFile, (filename) =>
    Effect.replicateEffect(
      Effect.map(Layer.build(Layer.fresh(Sqlite.layerKv({ filename }))), (context) => Context.get(context, Kv.Kv)),
      count
    )
  )
