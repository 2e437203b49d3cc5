/**
 * The tables of the queue, apart by temperature: what is written and deleted with every message is narrow and has one index, what
 * waits for a time or for its turn has partial indexes by state, and dead letters stand aside.
 *
 * Times are `timestamptz`, and every one of them comes from the server's clock. Ranks are negative priorities.
 */

/** For tables whose rows live for moments: vacuum them often and without pauses, and keep their files. */
const hot = `WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off)`

/**
 * Message numbers that come with one draw: drawing costs more than numbering. Every call leaves the rest of its last draw out, so that
 * more in a draw would put calls further apart than the slack of marks.ts allows for.
 */
export const numbersInDraw = 16

/** What a message is made of, in every table that holds one. */
const record = `id text COLLATE "C" NOT NULL, name text NOT NULL, head text, payload text NOT NULL`

export const queueTables: ReadonlyArray<string> = [
  // Numbers are drawn at random, so that one remembered by a process cannot mean another queue after the tables were made anew.
  `CREATE TABLE seams.queue (
    q int PRIMARY KEY DEFAULT (1 + floor(random() * 2000000000))::int, name text COLLATE "C" NOT NULL UNIQUE,
    paused boolean NOT NULL DEFAULT false)`,
  `CREATE SEQUENCE seams.message_number AS bigint INCREMENT BY ${numbersInDraw}`,
  `CREATE SEQUENCE seams.claim_number AS bigint`,
  // Messages without a delay, priority, group or time to live: claimed in the order of seq.
  `CREATE TABLE seams.fresh (
    q int NOT NULL, seq bigint NOT NULL, due timestamptz NOT NULL, ${record}, PRIMARY KEY (q, seq)) ${hot}`,
  // All others that wait. state: 0 ready, 1 scheduled (not due), 3 blocked (due, behind the head of its group's line).
  // held: it was claimed before and holds its group's line.
  `CREATE TABLE seams.message (
    seq bigint PRIMARY KEY, q int NOT NULL, state smallint NOT NULL, held boolean NOT NULL DEFAULT false,
    rank double precision NOT NULL, due timestamptz NOT NULL, enqueued timestamptz NOT NULL, not_before timestamptz,
    expires timestamptz, retries int NOT NULL DEFAULT 0, deliveries int NOT NULL DEFAULT 0, lost_started int NOT NULL DEFAULT 0,
    lost_unstarted int NOT NULL DEFAULT 0, grp text COLLATE "C", error text, ${record}) ${hot}`,
  `CREATE INDEX message_ready ON seams.message (q, rank, due, seq) WHERE state = 0`,
  `CREATE INDEX message_scheduled ON seams.message (q, due) WHERE state = 1`,
  `CREATE INDEX message_blocked ON seams.message (q, grp, due, seq) WHERE state = 3`,
  `CREATE INDEX message_expires ON seams.message (q, expires) WHERE expires IS NOT NULL`,
  // claim: names the claim in tokens. lease: whose time rules it.
  `CREATE TABLE seams.claimed (
    seq bigint PRIMARY KEY, q int NOT NULL, claim bigint NOT NULL, lease bigint NOT NULL, started boolean NOT NULL,
    rank double precision NOT NULL, due timestamptz NOT NULL, enqueued timestamptz NOT NULL, not_before timestamptz,
    expires timestamptz, retries int NOT NULL, deliveries int NOT NULL, lost_started int NOT NULL, lost_unstarted int NOT NULL,
    grp text COLLATE "C", error text, ${record}) ${hot}`,
  // One for the messages of one claim. span: milliseconds; a restart of the server gives every lease its whole span again.
  `CREATE TABLE seams.lease (lease bigint PRIMARY KEY, q int NOT NULL, until timestamptz NOT NULL, span double precision NOT NULL) ${hot}`,
  `CREATE INDEX lease_queue ON seams.lease (q, until)`,
  // The head of each group's line. Only \`promote\` writes here, never inside a transaction of the program.
  `CREATE TABLE seams.line (q int NOT NULL, grp text COLLATE "C" NOT NULL, seq bigint NOT NULL, PRIMARY KEY (q, grp)) ${hot}`,
  // Groups of which something came or went: \`promote\` looks at them.
  `CREATE TABLE seams.stirred (q int NOT NULL, grp text COLLATE "C" NOT NULL) ${hot}`,
  `CREATE INDEX stirred_queue ON seams.stirred (q, grp)`,
  // Ids accepted in the last minutes, five to each table in turn; the one that comes next is emptied, when nobody holds it. w: of which
  // window, since what could not be emptied must not count.
  ...[0, 1, 2].map(
    (n) =>
      `CREATE TABLE seams.seen_${n} (q int NOT NULL, w int NOT NULL, id text COLLATE "C" NOT NULL, PRIMARY KEY (q, w, id))`
  ),
  `CREATE TABLE seams.dedupe (
    q int NOT NULL, key text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, seq bigint NOT NULL, until timestamptz NOT NULL,
    PRIMARY KEY (q, key)) ${hot}`,
  `CREATE INDEX dedupe_until ON seams.dedupe (until)`,
  `CREATE TABLE seams.dead (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, q int NOT NULL, rank double precision NOT NULL, expires timestamptz,
    enqueued timestamptz NOT NULL, attempt int NOT NULL, deliveries int NOT NULL, died timestamptz NOT NULL,
    grp text COLLATE "C", reason text NOT NULL, error text, ${record})`,
  `CREATE INDEX dead_queue ON seams.dead (q, n)`,
  `CREATE INDEX dead_id ON seams.dead (q, id)`
]
