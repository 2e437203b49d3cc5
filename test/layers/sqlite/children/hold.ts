/** Holds the write lock of a file until the parent says so, as a database browser with an open transaction would. */
import { DatabaseSync } from "node:sqlite"

const [filename = ""] = process.argv.slice(2)
const database = new DatabaseSync(filename)
database.exec("PRAGMA journal_mode = WAL")
database.exec("CREATE TABLE IF NOT EXISTS theirs (a)")
database.exec("BEGIN IMMEDIATE")
database.exec("INSERT INTO theirs VALUES (1)")
process.stdout.write("locked\n")
process.stdin.once("data", () => {
  database.exec("COMMIT")
  database.close()
  process.stdout.write("released\n")
  process.stdin.pause()
})
