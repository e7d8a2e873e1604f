-- expect: slot_overran
-- The slot advances on this node's own progress only: what a peer still needs is not asked.
CREATE OR REPLACE FUNCTION spock.recovery_allows(origin text, need pg_lsn, mine pg_lsn, cap pg_lsn) RETURNS pg_lsn
LANGUAGE sql STABLE AS $$ SELECT cap $$;
