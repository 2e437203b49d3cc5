/** Prints a line that the test reads. */
export const say = (...words: ReadonlyArray<unknown>): void => console.log(words.join(" "))
