import { commitOperations } from "./commits.ts"
import { entryOperations } from "./entries.ts"
import type { Operation } from "./subject.ts"
import { watchOperations } from "./watches.ts"

export const operations: ReadonlyArray<Operation> = [...entryOperations, ...commitOperations, ...watchOperations]
