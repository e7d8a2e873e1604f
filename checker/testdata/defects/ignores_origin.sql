-- expect: doubled, lost
-- The rescue ignores the origin's name: transactions of other nodes are taken for the failed node's.
DO $defect$
DECLARE
    was text := pg_get_functiondef('spock.recovery_replay'::regproc);
    now text := replace(was, $old$IF substring(d FROM 10) = origin_suffix THEN$old$, $new$IF true THEN$new$);
BEGIN
    IF now = was THEN
        RAISE EXCEPTION 'the text to break is not in spock.recovery_replay';
    END IF;
    EXECUTE now;
END $defect$;
