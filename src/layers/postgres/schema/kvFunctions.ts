export const kvFunctions: ReadonlyArray<string> = []
