-- expect: rescue_leftovers
-- The rescue makes a permanent clone of the recovery slot and leaves it behind, where it keeps WAL for ever.
DO $defect$
DECLARE
    was text := pg_get_functiondef('spock.clone_recovery_slot'::regproc);
    now text := replace(was, $old$slot_name::name, temporary, 'pgoutput'$old$, $new$slot_name::name, false, 'pgoutput'$new$);
BEGIN
    IF now = was THEN
        RAISE EXCEPTION 'the text to break is not in spock.clone_recovery_slot';
    END IF;
    EXECUTE now;
END $defect$;
CREATE OR REPLACE FUNCTION spock.recovery_drop_clones(failed text, target text) RETURNS bigint LANGUAGE sql AS $$ SELECT 0::bigint $$;
