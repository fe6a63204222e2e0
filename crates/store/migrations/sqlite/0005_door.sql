-- How often somebody tried. The key is a hash of what is counted and for whom; rows that do not matter any more go.
CREATE TABLE budget (
    key       BLOB    NOT NULL PRIMARY KEY,
    tries     INTEGER NOT NULL,
    free_at   INTEGER NOT NULL,      -- the next try is turned away before
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_forget ON budget (forget_at);

-- Handed out with a code that is being checked. The right code makes it the flow's only ticket.
ALTER TABLE flow ADD COLUMN next_ticket_hash BLOB;
-- What our own forms carry: the same in all pages of a flow, so that going back in the browser does no harm.
ALTER TABLE flow ADD COLUMN form_token TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX flow_next_ticket ON flow (next_ticket_hash) WHERE next_ticket_hash IS NOT NULL;
