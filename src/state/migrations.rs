//! The tables of the state file. A step that was released never changes; a new one is appended.

pub(super) const MIGRATIONS: &[&str] = &[
    FIRST,
    MEASURED,
    STATISTICS,
    EVIDENCE,
    DIFFERENCES,
    OPENED_ROWS,
    SEALED_CHANGES,
    SWEPT_ACCESS,
    STATISTICS_EPOCH,
    PURE_EPSILON,
    ANSWERS_IN_ORDER,
];

const FIRST: &str = "
CREATE TABLE secret (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What administrators decided: one row a role and table, one for the settings and one for the grants.
CREATE TABLE catalog_epoch (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    epoch         INTEGER NOT NULL,
    release_epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE catalog_object (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE catalog_change (
    epoch  INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    change TEXT NOT NULL
) STRICT;

-- Declared keys that were found to hold in one snapshot of the data.
CREATE TABLE verified_key (
    table_name TEXT NOT NULL,
    columns    TEXT NOT NULL,
    snapshot   TEXT NOT NULL,
    PRIMARY KEY (table_name, columns)
) STRICT, WITHOUT ROWID;

-- Spent per policy and principal ('' for all together) in one window.
CREATE TABLE budget_line (
    policy       TEXT NOT NULL,
    principal    TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    rho          REAL NOT NULL,
    delta        REAL NOT NULL,
    statements   INTEGER NOT NULL,
    PRIMARY KEY (policy, principal, window_start, window_end)
) STRICT, WITHOUT ROWID;

-- What was asked, and what became of it. Both only ever grow, ids without gaps; `chain` seals each row and all before it.
CREATE TABLE query_log (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    principal   TEXT NOT NULL,
    roles       TEXT NOT NULL,
    database    TEXT NOT NULL,
    application TEXT NOT NULL,
    purpose     TEXT,
    protocol    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    statement   TEXT NOT NULL,
    tables      TEXT NOT NULL,
    charges     TEXT NOT NULL,
    protections TEXT NOT NULL,
    chain       BLOB NOT NULL
) STRICT;
CREATE TABLE query_outcome (
    id         INTEGER PRIMARY KEY,
    log_id     INTEGER NOT NULL REFERENCES query_log (id),
    at         INTEGER NOT NULL,
    outcome    TEXT NOT NULL,
    sqlstate   TEXT,
    rows       INTEGER,
    from_store INTEGER NOT NULL,
    elapsed_us INTEGER,
    chain      BLOB NOT NULL
) STRICT;
CREATE INDEX query_outcome_of ON query_outcome (log_id, id);
CREATE TABLE chain_head (
    name  TEXT PRIMARY KEY,
    rows  INTEGER NOT NULL,
    chain BLOB NOT NULL,
    seal  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Released rows, so that the same release again is the same rows.
CREATE TABLE stored_answer (
    key           BLOB PRIMARY KEY,
    log_id        INTEGER NOT NULL REFERENCES query_log (id),
    release_epoch INTEGER NOT NULL,
    released      BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Answers are kept as they were measured, several about the same rows.
const MEASURED: &str = "
DROP TABLE stored_answer;
CREATE TABLE stored_answer (
    id            INTEGER PRIMARY KEY,
    rows          BLOB NOT NULL,
    log_id        INTEGER NOT NULL REFERENCES query_log (id),
    release_epoch INTEGER NOT NULL,
    answers       TEXT NOT NULL,
    measured      BLOB NOT NULL
) STRICT;
CREATE INDEX stored_answer_about ON stored_answer (rows, log_id, id);
";

/// What a statement read, under which grant of access, and how many persons (as noised) its answer was about.
const EVIDENCE: &str = "
ALTER TABLE query_log ADD COLUMN columns TEXT;
ALTER TABLE query_log ADD COLUMN access_grant INTEGER;
ALTER TABLE query_outcome ADD COLUMN persons INTEGER;
";

/// What ANALYZE released.
const STATISTICS: &str = "
CREATE TABLE table_statistics (
    table_name TEXT NOT NULL,
    snapshot   TEXT NOT NULL,
    statistics TEXT NOT NULL,
    PRIMARY KEY (table_name, snapshot)
) STRICT, WITHOUT ROWID;
";

/// What a change changed, from what to what: a list of `{kind, name, old, new}`. Of changes before this step it is not known.
const DIFFERENCES: &str = "
ALTER TABLE catalog_change ADD COLUMN differences TEXT NOT NULL DEFAULT '[]';
";

/// Which rows each grant of access has shown: names that only the grant's key makes.
const OPENED_ROWS: &str = "
CREATE TABLE opened_row (
    access_grant INTEGER NOT NULL,
    row          BLOB NOT NULL,
    PRIMARY KEY (access_grant, row)
) STRICT, WITHOUT ROWID;
";

/// Changes join the chain: ids without gaps, and a seal. Rows that are there are sealed right after this step, see `record`.
pub(super) const SEALED_CHANGES: &str = "
ALTER TABLE catalog_change ADD COLUMN id INTEGER;
ALTER TABLE catalog_change ADD COLUMN chain BLOB;
CREATE UNIQUE INDEX catalog_change_id ON catalog_change (id);
";

/// Grants of access that are over, and how many rows each showed. What they needed while they were live is gone.
const SWEPT_ACCESS: &str = "
CREATE TABLE access_swept (
    access_grant INTEGER PRIMARY KEY,
    rows         INTEGER NOT NULL
) STRICT;
";

/// Moves whenever statistics of a table are kept, so that every server knows when those it remembers are of yesterday.
const STATISTICS_EPOCH: &str = "
ALTER TABLE catalog_epoch ADD COLUMN statistics_epoch INTEGER NOT NULL DEFAULT 0;
";

/// What statements cost that are epsilon-DP, and the rho of those that are not: all that there were before this step.
pub(super) const PURE_EPSILON: &str = "
ALTER TABLE budget_line ADD COLUMN epsilon REAL NOT NULL DEFAULT 0;
ALTER TABLE budget_line ADD COLUMN gaussian_rho REAL NOT NULL DEFAULT 0;
UPDATE budget_line SET gaussian_rho = rho;
";

/// Answers are found by what the ledger keeps in memory of their keys: no page a key any more. An id that was used is not used again.
pub(super) const ANSWERS_IN_ORDER: &str = "
CREATE TABLE ordered_answer (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    rows          BLOB NOT NULL,
    log_id        INTEGER NOT NULL REFERENCES query_log (id),
    release_epoch INTEGER NOT NULL,
    answers       TEXT NOT NULL,
    measured      BLOB NOT NULL
) STRICT;
INSERT INTO ordered_answer SELECT id, rows, log_id, release_epoch, answers, measured FROM stored_answer;
DROP TABLE stored_answer;
ALTER TABLE ordered_answer RENAME TO stored_answer;
CREATE INDEX stored_answer_in_order ON stored_answer (id, rows);
";
