-- Times are microseconds since 1970; ids are text; JSON columns hold keyback_core's types as they serialise.

-- One person on the way through the pages: what the ticket in their cookie stands for.
CREATE TABLE flow (
    id             TEXT    NOT NULL PRIMARY KEY,
    ticket_hash    BLOB    NOT NULL UNIQUE,
    correlation_id TEXT    NOT NULL,
    operation      TEXT    NOT NULL,
    user_name      TEXT    NOT NULL,
    source         TEXT,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    challenge      TEXT,             -- the agent mailed a code
    object_guid    TEXT,
    source_anchor  TEXT,
    mail_hint      TEXT,
    proof_until    INTEGER,          -- the code was right
    job_id         TEXT              -- the password was submitted
) STRICT;
CREATE INDEX flow_expiry ON flow (expires_at);

CREATE TABLE job (
    id             TEXT    NOT NULL PRIMARY KEY,
    correlation_id TEXT    NOT NULL,
    flow_id        TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    operation      TEXT    NOT NULL,
    user_name      TEXT    NOT NULL,
    object_guid    TEXT,
    source         TEXT,
    activity       TEXT    NOT NULL, -- of its audit rows
    message        BLOB,             -- sealed and signed; gone at the terminal state
    state          TEXT    NOT NULL, -- JobState
    due_at         INTEGER,          -- of the state; NULL at the end
    deadline       INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    finished_at    INTEGER,
    done           TEXT              -- Done
) STRICT;
CREATE INDEX job_due ON job (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX job_created ON job (created_at);
CREATE INDEX job_correlation ON job (correlation_id);
CREATE UNIQUE INDEX job_one_open_write_per_user ON job (object_guid)
    WHERE finished_at IS NULL AND kind <> 'verify' AND object_guid IS NOT NULL;

CREATE TABLE attempt (
    job_id  TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    failure TEXT    NOT NULL,        -- Failure
    PRIMARY KEY (job_id, number, at)
) STRICT;

CREATE TABLE audit (
    number         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    job_id         TEXT    NOT NULL,
    event          TEXT    NOT NULL  -- AuditEvent
) STRICT;
CREATE INDEX audit_correlation ON audit (correlation_id);

CREATE TABLE person (
    object_guid         TEXT    NOT NULL PRIMARY KEY,
    source_anchor       TEXT    NOT NULL,
    user_principal_name TEXT    NOT NULL,
    sam_account_name    TEXT    NOT NULL,
    display_name        TEXT    NOT NULL,
    mail_hint           TEXT    NOT NULL,
    seen_at             INTEGER NOT NULL
) STRICT;
