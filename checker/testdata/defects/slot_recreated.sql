-- expect: slot_overran
-- The slot is dropped and made anew: it begins at the present, and what a peer lacks is behind it.
CREATE OR REPLACE FUNCTION spock.advance_recovery_slot_to_min_position() RETURNS pg_lsn
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_drop_replication_slot(spock.recovery_slot_name());
    RETURN (SELECT lsn FROM pg_create_logical_replication_slot(spock.recovery_slot_name(), 'pgoutput'));
END $$;
