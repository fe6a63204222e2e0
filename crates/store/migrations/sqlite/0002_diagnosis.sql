-- What doctor read when a job was refused: evidence for the administrator.
CREATE TABLE diagnosis (
    job_id    TEXT    NOT NULL PRIMARY KEY,
    at        INTEGER NOT NULL,
    diagnosis TEXT    NOT NULL       -- Diagnosis
) STRICT;
