-- What an agent said last, by the journal that it keeps; and how far that journal was ever seen.
CREATE TABLE agent (
    journal   TEXT    NOT NULL PRIMARY KEY,
    sequence  INTEGER NOT NULL,      -- of seen
    seen      TEXT    NOT NULL,      -- Head, the highest
    heartbeat TEXT    NOT NULL,      -- Heartbeat, the last
    heard_at  INTEGER NOT NULL
) STRICT;

-- One-time codes, as hashes.
CREATE TABLE enrolment (
    code_hash  BLOB    NOT NULL PRIMARY KEY,
    server     TEXT    NOT NULL,     -- the key that the code was made for
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_by    TEXT,                 -- the agent's key
    used_at    INTEGER
) STRICT;
