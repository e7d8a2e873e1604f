-- expect: diverged/conflict
-- with: conflicts
-- The rescue writes over rows that are newer than what it replays.
CREATE OR REPLACE FUNCTION spock.recovery_not_newer(n int) RETURNS text LANGUAGE sql AS $$
    SELECT format('$%s IS NOT NULL', n)
$$;
