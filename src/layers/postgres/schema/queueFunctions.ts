/**
 * What the queue does inside the server. A call is one round trip; in a function each statement sees what was committed before it,
 * which the promotion of groups relies on. Sequential scans, sorts of whole tables and hash joins are ruled out by settings, because
 * these tables have few rows when they were last analyzed and many a moment later.
 *
 * Nobody waits for a transaction of the program: it only inserts rows, and deletes rows of messages that are claimed for it. Whoever
 * looks for rows to take skips those that are locked.
 */

import { queueClaims } from "./queueClaims.ts"
import { queueManage } from "./queueManage.ts"
import { queuePublish } from "./queuePublish.ts"
import { queueTend } from "./queueTend.ts"
import { later, millis, moment } from "./sharedSql.ts"

/** Functions find each other when they are called. */
export const queueFunctions: ReadonlyArray<string> = [
  millis,
  later,
  moment,
  ...queuePublish,
  ...queueTend,
  ...queueClaims,
  ...queueManage
]
