-- What people registered to prove themselves with. What a method consists of, only agents can open.
CREATE TABLE method (
    id          TEXT    NOT NULL PRIMARY KEY,
    object_guid TEXT    NOT NULL,
    way         TEXT    NOT NULL,
    name        TEXT    NOT NULL,    -- as its person calls it
    added_at    INTEGER NOT NULL,
    used_at     INTEGER,
    usable_at   INTEGER,             -- as the agent said; it looks by itself
    sealed      BLOB                 -- NULL: the agent was asked to keep it and has not said so yet
) STRICT;
CREATE INDEX method_person ON method (object_guid);

-- The person wants to prove themselves with something that they hold: no code is mailed.
ALTER TABLE flow ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
-- Ways in which a right code was given while another one is needed (JSON).
ALTER TABLE flow ADD COLUMN given TEXT;
-- Whoever holds the ticket has typed the password, too, and may look after their methods until then.
ALTER TABLE flow ADD COLUMN signed_in_until INTEGER;
