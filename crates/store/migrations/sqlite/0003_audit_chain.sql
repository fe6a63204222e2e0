-- The audit trail becomes a chain. What the old table holds is chained by the program when it next opens the store.
DROP INDEX audit_correlation;
ALTER TABLE audit RENAME TO audit_unchained;

CREATE TABLE audit (
    number         INTEGER NOT NULL PRIMARY KEY,
    at             INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    job_id         TEXT    NOT NULL, -- empty where there was no job
    event          TEXT    NOT NULL, -- Facts: names nobody
    personal       BLOB    NOT NULL, -- SHA-256 over salt and clear text of audit_personal
    said           TEXT,             -- what the agent signed
    signature      BLOB,             -- and its signature
    previous       BLOB    NOT NULL, -- hash of the row before
    hash           BLOB    NOT NULL  -- SHA-256 over all of the above
) STRICT;
CREATE INDEX audit_correlation ON audit (correlation_id);
CREATE INDEX audit_at ON audit (at);

-- Whom a row is about. Deleting a row here breaks nothing.
CREATE TABLE audit_personal (
    number INTEGER NOT NULL PRIMARY KEY,
    salt   BLOB    NOT NULL,
    clear  TEXT    NOT NULL          -- Personal
) STRICT;

-- Stands for the rows that were pruned; at most one.
CREATE TABLE audit_checkpoint (
    number           INTEGER NOT NULL PRIMARY KEY,
    hash             BLOB    NOT NULL,
    at               INTEGER NOT NULL,
    said             TEXT    NOT NULL,
    signature        BLOB    NOT NULL,
    server_signature BLOB    NOT NULL
) STRICT;
