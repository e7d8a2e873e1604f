-- expect: lost
-- The rescue stops at the clone's own position instead of the source's WAL position: it replays nothing.
DO $defect$
DECLARE
    was text := pg_get_functiondef('spock.recovery_replay'::regproc);
    now text := replace(was, $old$recovery_clone_query(run.clone, run.stop_position, batch)$old$, $new$recovery_clone_query(run.clone, run.clone_position, batch)$new$);
BEGIN
    IF now = was THEN
        RAISE EXCEPTION 'the text to break is not in spock.recovery_replay';
    END IF;
    EXECUTE now;
END $defect$;
