-- expect: rescue_leftovers
-- The rescue does not resume the subscriptions that it suspended.
CREATE OR REPLACE FUNCTION spock.recovery_resume(failed text) RETURNS void LANGUAGE sql AS $$ SELECT $$;
