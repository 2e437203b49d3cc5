/**
 * What the Kv does inside the server: each call is one statement of the client and one round trip. What is called by others here has the
 * settings of its caller.
 */
import { apply, commit, failing, group, lock, log, outcome, put, set } from "./kvCommit.ts"
import { grown, head, identity, locate, lost, read, sweep, trim } from "./kvLog.ts"
import { get, list } from "./kvReads.ts"

export const kvFunctions: ReadonlyArray<string> = [
  log,
  put,
  set,
  lock,
  failing,
  apply,
  commit,
  group,
  outcome,
  get,
  list,
  identity,
  head,
  lost,
  grown,
  read,
  locate,
  sweep,
  trim
]
