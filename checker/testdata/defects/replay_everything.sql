-- expect: doubled
-- without: register
-- The rescue forgets the skip and replays everything that the clone holds of the failed node. Where that changes a
-- register's key, the new key is there already: the replay ends with an error, before anything is doubled.
DO $defect$
DECLARE
    was text := pg_get_functiondef('spock.recovery_replay'::regproc);
    now text := replace(was, $old$IF lsn > progress THEN$old$, $new$IF true THEN$new$);
BEGIN
    IF now = was THEN
        RAISE EXCEPTION 'the text to break is not in spock.recovery_replay';
    END IF;
    EXECUTE now;
END $defect$;
