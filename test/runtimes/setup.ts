/** In every worker of a run on a named runtime: fails where the worker is on another, so that no table says too much. */
import { thisRuntime } from "../../scripts/runtimes/thisRuntime.ts"

const wanted = process.env["SEAMS_RUNTIME"]
if (thisRuntime() !== wanted)
  throw new Error(`these tests are to run on ${wanted}, and the worker runs on ${thisRuntime()}`)
