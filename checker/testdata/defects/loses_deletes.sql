-- expect: resurrected
-- The rescue loses deletes.
DO $defect$
DECLARE
    was text := pg_get_functiondef('spock.recovery_replay'::regproc);
    now text := replace(was, $old$kind IN (85, 68)$old$, $new$kind IN (85)$new$);
BEGIN
    IF now = was THEN
        RAISE EXCEPTION 'the text to break is not in spock.recovery_replay';
    END IF;
    EXECUTE now;
END $defect$;
