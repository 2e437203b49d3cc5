export const kvTables: ReadonlyArray<string> = []
