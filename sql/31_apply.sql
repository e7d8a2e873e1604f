-- 31_apply.sql: from pgoutput's messages to statements on the target.
--
-- Statements are SQL-level prepared statements, one per table and shape of change, called with
-- literals: i<relid> inserts unless the row is there, j<relid> inserts, k<relid> adds an insert to the
-- row that is there, n<relid> looks for newer rows in the way, x<relid> removes rows in the way,
-- u/d/e<relid>_<shape> update, delete, look. Every column of a tuple is a parameter, whether used or not.
--
-- Differences. An engine may apply a column as local + (new - old), whatever the commit timestamps are
-- (spock.recovery_delta_column). Its update then comes with the old key and the old values of such columns, also where the key
-- stays. A table that has one is treated as the engine does (Spock 5.0.11): an update or an insert that meets a newer row
-- still adds to it; an insert counts from zero.

SET client_min_messages = warning;

-- recovery_tuple reads a TupleData that begins at byte at: literals joined by commas behind an
-- opening parenthesis, one letter per column (t text, n null, u unchanged toast), and where it ends.
CREATE OR REPLACE FUNCTION spock.recovery_tuple(d bytea, at int, OUT parameters text, OUT kinds text, OUT next int)
LANGUAGE plpgsql AS $$
DECLARE
    encoding CONSTANT name := getdatabaseencoding();
    size int;
    kind int;
BEGIN
    next := at + 2;
    kinds := '';
    FOR i IN 1 .. (get_byte(d, at) << 8) | get_byte(d, at + 1) LOOP
        kind := get_byte(d, next);
        IF kind = 116 THEN
            size := (get_byte(d, next + 1) << 24) | (get_byte(d, next + 2) << 16) | (get_byte(d, next + 3) << 8) | get_byte(d, next + 4);
            parameters := concat(parameters, CASE WHEN i = 1 THEN '(' ELSE ',' END,
                                 quote_literal(convert_from(substring(d, next + 6, size), encoding)));
            next := next + 5 + size;
        ELSE
            parameters := concat(parameters, CASE WHEN i = 1 THEN '(NULL' ELSE ',NULL' END);
            next := next + 1;
        END IF;
        kinds := kinds || chr(kind);
    END LOOP;
    parameters := coalesce(parameters, '(');
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_cstring(d bytea, at int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT convert_from(substring(d, at + 1, position('\x00'::bytea IN substring(d, at + 1)) - 1), getdatabaseencoding())
$$;

-- recovery_relation takes a Relation message; true if it is new or differs from what was known.
CREATE OR REPLACE FUNCTION spock.recovery_relation(d bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    rel bigint := spock.recovery_int4(d, 1);
    s   text;
BEGIN
    IF EXISTS (SELECT FROM spock.recovery_relation r WHERE r.relid = rel AND r.message = d) THEN
        RETURN false;
    END IF;
    FOR s IN SELECT p.name FROM pg_prepared_statements p WHERE p.name ~ format('^[a-z]%s(_|$)', rel) LOOP
        EXECUTE format('DEALLOCATE %I', s);
    END LOOP;
    DELETE FROM spock.recovery_relation r WHERE r.relid = rel;
    INSERT INTO spock.recovery_relation (relid, message) VALUES (rel, d);
    RETURN true;
END $$;

-- recovery_look_up finds the table here and fills recovery_relation, once per Relation message.
CREATE OR REPLACE FUNCTION spock.recovery_look_up(rel bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d       bytea;
    at      int;
    nsp     text;
    relname text;
    ident   "char";
    flagged int[] := '{}';
    r       spock.recovery_relation;
    t       regclass;
    a       pg_attribute;
    col     text;
    delta   spock.recovery_delta_column;
    deltas  text[] := '{}';
    pk      int[];
BEGIN
    SELECT * INTO r FROM spock.recovery_relation x WHERE x.relid = rel;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a change of relation % came without its description', rel;
    END IF;
    IF r.name IS NOT NULL THEN
        RETURN;
    END IF;
    d := r.message;
    nsp := spock.recovery_cstring(d, 5);
    at := 6 + octet_length(convert_to(nsp, getdatabaseencoding()));
    relname := spock.recovery_cstring(d, at);
    at := at + 1 + octet_length(convert_to(relname, getdatabaseencoding()));
    r.name := format('%I.%I', CASE nsp WHEN '' THEN 'pg_catalog' ELSE nsp END, relname);
    t := to_regclass(r.name);
    IF t IS NULL THEN
        RAISE EXCEPTION 'table % of the source does not exist here', r.name USING ERRCODE = 'undefined_table';
    END IF;
    ident := chr(get_byte(d, at));
    r.columns := '{}'; r.types := '{}'; r.always := '{}';
    FOR i IN 1 .. (get_byte(d, at + 1) << 8) | get_byte(d, at + 2) LOOP
        IF i = 1 THEN
            at := at + 3;
        END IF;
        col := spock.recovery_cstring(d, at + 1);
        SELECT * INTO a FROM pg_attribute WHERE attrelid = t AND attname = col AND NOT attisdropped;
        IF NOT FOUND OR a.attgenerated <> '' THEN
            RAISE EXCEPTION 'table % has no column % here that can be written', r.name, quote_ident(col) USING ERRCODE = 'undefined_column';
        END IF;
        IF get_byte(d, at) & 1 = 1 THEN
            flagged := flagged || i;
        END IF;
        r.columns := r.columns || quote_ident(col);
        r.types := r.types || format_type(a.atttypid, NULL);
        r.always := r.always || (a.attidentity = 'a');
        SELECT * INTO delta FROM spock.recovery_delta_column x WHERE x.relid = t AND x.column_name = col;
        IF FOUND AND delta.apply_function IS NULL THEN
            RAISE EXCEPTION 'column % of % is to be applied as a difference by a function that does not exist', quote_ident(col), r.name
                USING ERRCODE = 'undefined_function';
        END IF;
        deltas := deltas || delta.apply_function::text;
        at := at + 1 + octet_length(convert_to(col, getdatabaseencoding())) + 1 + 8;
    END LOOP;

    r.deltas := CASE WHEN array_remove(deltas, NULL) <> '{}' THEN deltas END;

    -- With REPLICA IDENTITY FULL every column is flagged: a primary key finds the row better.
    SELECT array_agg(array_position(r.columns, quote_ident(b.attname)) ORDER BY b.attnum) INTO pk
      FROM pg_index x JOIN pg_attribute b ON b.attrelid = x.indrelid AND b.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])
     WHERE x.indrelid = t AND x.indisprimary;
    r.by_text := ident = 'f' AND (pk IS NULL OR array_position(pk, NULL) IS NOT NULL);
    r.keys := CASE WHEN ident = 'f' AND NOT r.by_text THEN pk ELSE flagged END;

    SELECT string_agg('(' || c.cond || ')', ' OR ') INTO r.conflict
      FROM pg_index x
      CROSS JOIN LATERAL (
        SELECT string_agg(format('t.%s = $%s', quote_ident(b.attname), array_position(r.columns, quote_ident(b.attname))), ' AND ') AS cond,
               count(*) = count(array_position(r.columns, quote_ident(b.attname))) AS whole
          FROM pg_attribute b WHERE b.attrelid = x.indrelid AND b.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])) c
     WHERE x.indrelid = t AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL AND c.whole;
    r.careful := EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t AND (x.indisunique OR x.indisexclusion) AND NOT x.indimmediate);
    UPDATE spock.recovery_relation x
       SET (name, columns, types, always, keys, by_text, conflict, careful, deltas)
         = (r.name, r.columns, r.types, r.always, r.keys, r.by_text, r.conflict, r.careful, r.deltas)
     WHERE x.relid = rel;
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_careful(rel bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT careful FROM spock.recovery_relation WHERE relid = rel);
END $$;

-- recovery_wins is the condition that an insert or update of the time in parameter n wins over a row of time and origin, as the
-- engine would have it. The replaying session's settings name the failed node and its origin here.
CREATE OR REPLACE FUNCTION spock.recovery_wins(n int, at text, origin text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN NOT current_setting('track_commit_timestamp')::boolean THEN format('$%s IS NOT NULL', n)
                ELSE format('(%s %s $%s%s) IS NOT FALSE', at, CASE WHEN tie_wins THEN '<=' ELSE '<' END, n,
                    CASE WHEN own_wins OR NOT tie_wins THEN format(' OR %s = %s', origin, current_setting('spkrecovery.origin')::oid) END
                    || CASE WHEN NOT own_wins THEN format(' AND %s = $%s', at, n) ELSE '' END) END
      FROM spock.recovery_engine_rules(current_setting('spkrecovery.failed'))
$$;

-- recovery_not_newer is that for row t.
CREATE OR REPLACE FUNCTION spock.recovery_not_newer(n int) RETURNS text LANGUAGE sql AS $$
    SELECT spock.recovery_wins(n, 'pg_xact_commit_timestamp(t.xmin)', '(pg_xact_commit_timestamp_origin(t.xmin)).roident')
$$;

-- recovery_mixed says whether a table has columns that are applied as differences beside others for which the row's time counts.
CREATE OR REPLACE FUNCTION spock.recovery_mixed(r spock.recovery_relation) RETURNS boolean LANGUAGE sql AS $$
    SELECT current_setting('track_commit_timestamp')::boolean AND r.deltas IS NOT NULL AND cardinality(r.keys) > 0
       AND EXISTS (SELECT FROM generate_series(1, cardinality(r.columns)) i WHERE r.deltas[i] IS NULL AND NOT i = ANY (r.keys))
$$;

-- recovery_found is the common table expressions for a change of a mixed table: spk locks the row that match finds as t and says whether the
-- change, of the time in parameter n, wins over its other columns; spk_kept notes the row's time and origin if it does not.
CREATE OR REPLACE FUNCTION spock.recovery_found(r spock.recovery_relation, match text, n int) RETURNS text LANGUAGE sql AS $$
    SELECT format('spk AS MATERIALIZED (SELECT f.key, f.at, f.origin, %4$s AS wins FROM ('
                  '  SELECT ROW(%3$s)::text AS key, coalesce(w.at, pg_xact_commit_timestamp(t.xmin)) AS at,'
                  '         coalesce(w.origin, (pg_xact_commit_timestamp_origin(t.xmin)).roident) AS origin'
                  '    FROM %1$s AS t LEFT JOIN spock.recovery_newer w ON w.relid = %5$L::regclass AND w.key = ROW(%3$s)::text AND w.writer = t.xmin'
                  '   WHERE %2$s FOR UPDATE OF t) f),'
                  'spk_kept AS (INSERT INTO spock.recovery_newer (relid, key, writer, at, origin)'
                  '  SELECT %5$L::regclass, key, pg_current_xact_id()::xid, at, origin FROM spk WHERE NOT wins'
                  '  ON CONFLICT (relid, key) DO UPDATE SET (writer, at, origin) = (EXCLUDED.writer, EXCLUDED.at, EXCLUDED.origin))',
                  r.name, match, (SELECT string_agg('t.' || r.columns[k], ', ' ORDER BY k) FROM unnest(r.keys) k),
                  spock.recovery_wins(n, 'f.at', 'f.origin'), r.name)
$$;

-- recovery_value is what an update makes of column i of the row that it found as alias; wins is the condition that the update is
-- not older than the row. kinds and old_kinds are those of recovery_change.
CREATE OR REPLACE FUNCTION spock.recovery_value(r spock.recovery_relation, i int, kinds text, old_kinds text, alias text, wins text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    here text := alias || '.' || r.columns[i];
BEGIN
    IF substr(kinds, i, 1) = 'u' THEN
        RETURN here;
    ELSIF r.deltas IS NULL THEN
        RETURN '$' || i;
    ELSIF r.deltas[i] IS NULL THEN
        RETURN format('CASE WHEN %s THEN $%s ELSE %s END', wins, i, here);
    ELSIF old_kinds = '' THEN -- the column's log_old_value is off, and Spock takes the difference for 0
        RETURN here;
    ELSIF substr(old_kinds, i + 1, 1) <> 't' THEN -- the same, and the key has changed: then it takes the new value
        RETURN '$' || i;
    END IF;
    -- The old row's parameters follow the new one's.
    RETURN spock.recovery_add(r, i, '$' || length(kinds) + i, here);
END $$;

-- recovery_add is local + (new - old) of column i; new is parameter i.
CREATE OR REPLACE FUNCTION spock.recovery_add(r spock.recovery_relation, i int, old text, local text) RETURNS text LANGUAGE sql AS $$
    SELECT format('CASE WHEN $%1$s IS NULL OR %3$s IS NULL THEN $%1$s ELSE %4$s(%2$s, $%1$s, %3$s) END', i, old, local, r.deltas[i])
$$;

-- recovery_zero is the value of column i from which an insert counts.
CREATE OR REPLACE FUNCTION spock.recovery_zero(r spock.recovery_relation, i int) RETURNS text LANGUAGE sql AS $$
    SELECT format('''0''::%s', r.types[i])
$$;

-- recovery_prepare_inserts prepares i, j, k, n and x of a table.
CREATE OR REPLACE FUNCTION spock.recovery_prepare_inserts(rel bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r    spock.recovery_relation;
    n    int;
    stmt text;
    args text;
    match text;
    found text; -- see recovery_found
    wins  text;
BEGIN
    PERFORM spock.recovery_look_up(rel);
    SELECT * INTO r FROM spock.recovery_relation x WHERE x.relid = rel;
    n := cardinality(r.columns);
    args := array_to_string(r.types, ',');
    stmt := format('INSERT INTO %s AS t (%s) OVERRIDING SYSTEM VALUE VALUES (%s)', r.name, array_to_string(r.columns, ','),
                   (SELECT string_agg('$' || i, ',' ORDER BY i) FROM generate_series(1, n) i));
    EXECUTE format('PREPARE j%s(%s) AS %s RETURNING 1', rel, args, stmt);
    EXECUTE format('PREPARE i%s(%s) AS %s %s RETURNING 1', rel, args, stmt, CASE WHEN NOT r.careful THEN 'ON CONFLICT DO NOTHING' END);
    IF r.conflict IS NOT NULL THEN
        EXECUTE format('PREPARE n%s(%s,timestamptz) AS SELECT 1 FROM %s AS t WHERE (%s) AND NOT (%s)', rel, args, r.name, r.conflict,
                       spock.recovery_not_newer(n + 1));
        EXECUTE format('PREPARE x%s(%s) AS DELETE FROM %s AS t WHERE %s RETURNING 1', rel, args, r.name, r.conflict);
    END IF;
    IF spock.recovery_adds(r) THEN
        SELECT string_agg(format('t.%s = $%s', r.columns[i], i), ' AND ') INTO match FROM unnest(r.keys) i;
        wins := spock.recovery_not_newer(n + 1);
        IF spock.recovery_mixed(r) THEN
            found := spock.recovery_found(r, match, n + 1);
            wins := 'spk.wins';
        END IF;
        EXECUTE format('PREPARE k%s(%s,timestamptz) AS %s UPDATE %s AS t SET %s %s WHERE %s RETURNING 1', rel, args, 'WITH ' || found, r.name,
            (SELECT string_agg(format('%s = %s', r.columns[i], CASE WHEN r.deltas[i] IS NULL
                        THEN format('CASE WHEN %s THEN $%s ELSE t.%s END', wins, i, r.columns[i])
                        ELSE spock.recovery_add(r, i, spock.recovery_zero(r, i), 't.' || r.columns[i]) END), ',' ORDER BY i)
               FROM generate_series(1, n) i WHERE NOT r.always[i] AND NOT i = ANY (r.keys)),
            CASE WHEN found IS NOT NULL THEN 'FROM spk' END, match);
    END IF;
END $$;

-- recovery_adds says whether an insert that finds its row adds to it.
CREATE OR REPLACE FUNCTION spock.recovery_adds(r spock.recovery_relation) RETURNS boolean LANGUAGE sql AS $$
    SELECT r.deltas IS NOT NULL AND cardinality(r.keys) > 0 AND NOT r.by_text
$$;

-- recovery_insert_rows inserts rows of one table (parameter lists); a row that is newer than the change
-- stays, older ones in the way go. Returns how many took effect.
CREATE OR REPLACE FUNCTION spock.recovery_insert_rows(rel bigint, list text[], at_param text, mark text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    r    spock.recovery_relation;
    one  text;
    hit  int;
    took int := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'i' || rel) THEN
        PERFORM spock.recovery_prepare_inserts(rel);
    END IF;
    SELECT * INTO r FROM spock.recovery_relation x WHERE x.relid = rel;
    IF cardinality(list) > 1 AND NOT r.careful AND r.deltas IS NULL THEN -- those of the list that it inserts are met again below
        EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES ', r.name, array_to_string(r.columns, ','))
             || array_to_string(list, ',') || ' ON CONFLICT DO NOTHING' || mark;
        GET DIAGNOSTICS hit = ROW_COUNT;
        IF hit = cardinality(list) THEN
            RETURN hit;
        END IF;
    END IF;
    FOREACH one IN ARRAY list LOOP
        IF NOT r.careful THEN
            EXECUTE 'EXECUTE i' || rel || one || mark;
            GET DIAGNOSTICS hit = ROW_COUNT;
            IF hit > 0 THEN
                took := took + 1;
                CONTINUE;
            END IF;
        END IF;
        IF spock.recovery_adds(r) THEN
            EXECUTE 'EXECUTE k' || rel || left(one, -1) || at_param || mark;
            GET DIAGNOSTICS hit = ROW_COUNT;
            IF hit > 0 THEN
                took := took + 1;
                CONTINUE;
            END IF;
        END IF;
        IF r.conflict IS NOT NULL THEN
            EXECUTE 'EXECUTE n' || rel || left(one, -1) || at_param || mark;
            GET DIAGNOSTICS hit = ROW_COUNT;
            CONTINUE WHEN hit > 0;
            EXECUTE 'EXECUTE x' || rel || one || mark;
        END IF;
        EXECUTE 'EXECUTE j' || rel || one || mark;
        GET DIAGNOSTICS hit = ROW_COUNT;
        took := took + hit;
    END LOOP;
    RETURN took;
END $$;

-- recovery_change reads an Update or Delete message: which prepared statement, with which parameters.
CREATE OR REPLACE FUNCTION spock.recovery_change(d bytea, OUT name text, OUT relid bigint, OUT kinds text, OUT old_kinds text, OUT parameters text)
LANGUAGE plpgsql AS $$
DECLARE
    t   record;
    at  int := 5;
    old text;
BEGIN
    relid := spock.recovery_int4(d, 1);
    old_kinds := '';
    kinds := '';
    IF get_byte(d, at) <> 78 THEN -- 'K' (old key) or 'O' (whole old row), not 'N'
        t := spock.recovery_tuple(d, at + 1);
        old := t.parameters;
        old_kinds := chr(get_byte(d, at)) || t.kinds;
        at := t.next;
    END IF;
    IF get_byte(d, 0) = 68 THEN
        parameters := old;
        name := 'd' || relid || '_' || md5(old_kinds);
        RETURN;
    END IF;
    t := spock.recovery_tuple(d, at + 1);
    kinds := replace(t.kinds, 'n', 't'); -- a null is a value like another
    parameters := t.parameters || coalesce(',' || substr(old, 2), '');
    name := 'u' || relid || '_' || CASE WHEN old IS NULL AND strpos(kinds, 'u') = 0 THEN 'plain' ELSE md5(kinds || old_kinds) END;
END $$;

-- recovery_match is the condition that finds the row of an update or delete as t.
CREATE OR REPLACE FUNCTION spock.recovery_match(r spock.recovery_relation, kinds text, old_kinds text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first int := CASE WHEN old_kinds <> '' THEN length(kinds) ELSE 0 END; -- the old row's parameters follow the new one's
    cond  text;
BEGIN
    IF cardinality(r.keys) = 0 THEN
        RAISE EXCEPTION 'a change of % came without a key', r.name;
    END IF;
    IF NOT r.by_text THEN
        RETURN (SELECT string_agg(format('t.%s = $%s', r.columns[k], first + k), ' AND ') FROM unnest(r.keys) k);
    END IF;
    SELECT string_agg(format('o.%s::text IS NOT DISTINCT FROM $%s::text', r.columns[k], first + k), ' AND ') INTO cond
      FROM unnest(r.keys) k WHERE substr(old_kinds, k + 1, 1) <> 'u';
    RETURN format('t.ctid = (SELECT o.ctid FROM %s AS o WHERE %s LIMIT 1)', r.name, cond);
END $$;

-- recovery_prepare_change prepares statement name: d an update or delete, e the look whether the row exists.
CREATE OR REPLACE FUNCTION spock.recovery_prepare_change(statement text, rel bigint, kinds text, old_kinds text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r     spock.recovery_relation;
    n     int := length(kinds);
    last  int := length(kinds) + greatest(length(old_kinds) - 1, 0) + 1;
    args  text;
    match text;
    wins  text := spock.recovery_not_newer(last);
    guard text;   -- the condition under which a row that was found is touched
    found text;   -- see recovery_found
    sets  text;
    body  text;
BEGIN
    PERFORM spock.recovery_look_up(rel);
    SELECT * INTO r FROM spock.recovery_relation x WHERE x.relid = rel;
    match := spock.recovery_match(r, kinds, old_kinds);
    -- A parameter that is not used may be a null that its type (a domain) would refuse.
    SELECT string_agg(CASE WHEN i = last THEN 'timestamptz'
                           WHEN i <= n AND substr(kinds, i, 1) <> 'u' THEN r.types[i]
                           WHEN i > n AND (i - n) = ANY (r.keys) AND substr(old_kinds, i - n + 1, 1) <> 'u' THEN r.types[i - n]
                           WHEN i > n AND r.deltas[i - n] IS NOT NULL AND substr(old_kinds, i - n + 1, 1) = 't' THEN r.types[i - n]
                           ELSE 'text' END, ',' ORDER BY i) INTO args FROM generate_series(1, last) i;
    guard := CASE WHEN r.deltas IS NULL THEN wins ELSE 'true' END;
    IF spock.recovery_mixed(r) THEN
        found := spock.recovery_found(r, match, last);
        wins := 'spk.wins';
    END IF;
    IF statement LIKE 'e%' THEN
        body := format('SELECT 1 FROM %s AS t WHERE %s AND $%s IS NOT NULL LIMIT 1', r.name, match, last);
    ELSIF statement LIKE 'd%' THEN
        -- The engines delete a row whatever its time.
        body := format('DELETE FROM %s AS t WHERE %s AND $%s IS NOT NULL RETURNING 1', r.name, match, last);
    ELSE
        SELECT string_agg(format('%s = %s', r.columns[i], spock.recovery_value(r, i, kinds, old_kinds, 't', wins)), ',') INTO sets
          FROM generate_series(1, n) i WHERE substr(kinds, i, 1) <> 'u' AND NOT r.always[i];
        IF sets IS NULL OR EXISTS (SELECT FROM generate_series(1, n) i WHERE r.always[i] AND (old_kinds <> '' OR NOT i = ANY (r.keys))) THEN
            -- A GENERATED ALWAYS AS IDENTITY column can be inserted, but not updated.
            body := format('WITH %s o AS (DELETE FROM %s AS t %s WHERE %s AND %s RETURNING t.*, (%s) AS spk_wins) '
                           'INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM o RETURNING 1',
                           found || ',', r.name, CASE WHEN found IS NOT NULL THEN 'USING spk' END, match, guard, wins, r.name, array_to_string(r.columns, ','),
                           (SELECT string_agg(spock.recovery_value(r, i, kinds, old_kinds, 'o', 'o.spk_wins'), ',' ORDER BY i)
                              FROM generate_series(1, n) i));
        ELSE
            body := format('%s UPDATE %s AS t SET %s %s WHERE %s AND %s RETURNING 1', 'WITH ' || found, r.name, sets,
                           CASE WHEN found IS NOT NULL THEN 'FROM spk' END, match, guard);
        END IF;
    END IF;
    EXECUTE format('PREPARE %I(%s) AS %s', statement, args, body);
END $$;

-- recovery_update_missing is for an update that found no row to change: a newer row stays; a
-- row that is not there is inserted if the change carries it whole; what is added to a row counts from zero then, so that an insert
-- of the row which is still to come adds its part. Returns 1 if it took effect.
CREATE OR REPLACE FUNCTION spock.recovery_update_missing(d bytea, statement text, rel bigint, kinds text, parameters text, at_param text, mark text)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    look text := 'e' || substr(statement, 2);
    call record;
    hit  int;
    tuple text;
BEGIN
    call := spock.recovery_change(d);
    IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = look) THEN
        PERFORM spock.recovery_prepare_change(look, rel, kinds, call.old_kinds);
    END IF;
    EXECUTE 'EXECUTE ' || look || parameters || at_param || mark;
    GET DIAGNOSTICS hit = ROW_COUNT;
    IF hit > 0 OR strpos(kinds, 'u') > 0 THEN
        RETURN 0;
    END IF;
    tuple := (spock.recovery_tuple(d, CASE call.old_kinds WHEN '' THEN 6 ELSE (spock.recovery_tuple(d, 6)).next + 1 END)).parameters || ')';
    IF call.old_kinds <> '' THEN
        tuple := spock.recovery_from_zero(rel, tuple, parameters, call.old_kinds);
    END IF;
    RETURN spock.recovery_insert_rows(rel, ARRAY[tuple], at_param, mark);
END $$;

-- recovery_from_zero is tuple, an update's new row, with those columns counted from zero that are applied as differences.
-- parameters are the new row's and the old one's.
CREATE OR REPLACE FUNCTION spock.recovery_from_zero(rel bigint, tuple text, parameters text, old_kinds text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r       spock.recovery_relation;
    n       int := length(old_kinds) - 1;
    counted text;
BEGIN
    SELECT * INTO r FROM spock.recovery_relation x WHERE x.relid = rel;
    IF r.deltas IS NULL THEN
        RETURN tuple;
    END IF;
    EXECUTE format('SELECT ''('' || concat_ws('','', %s) || '')'' FROM (VALUES %s)) v(%s)',
        (SELECT string_agg(CASE WHEN r.deltas[i] IS NULL OR substr(old_kinds, i + 1, 1) <> 't' THEN format('quote_nullable(c%s)', i)
                           ELSE format('quote_nullable(CASE WHEN c%1$s IS NOT NULL THEN %4$s(c%2$s::%3$s, c%1$s::%3$s, %5$s)::text END)',
                                       i, n + i, r.types[i], r.deltas[i], spock.recovery_zero(r, i)) END, ',' ORDER BY i)
           FROM generate_series(1, n) i),
        parameters, (SELECT string_agg('c' || i, ',' ORDER BY i) FROM generate_series(1, 2 * n) i)) INTO counted;
    RETURN counted;
END $$;

-- recovery_truncate applies a Truncate message; returns the number of tables.
CREATE OR REPLACE FUNCTION spock.recovery_truncate(d bytea, mark text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    n      int := spock.recovery_int4(d, 1);
    tables text[] := '{}';
    rel    bigint;
BEGIN
    FOR i IN 0 .. n - 1 LOOP
        rel := spock.recovery_int4(d, 6 + 4 * i);
        PERFORM spock.recovery_look_up(rel);
        tables := tables || (SELECT name FROM spock.recovery_relation WHERE relid = rel);
    END LOOP;
    EXECUTE 'TRUNCATE ONLY ' || array_to_string(tables, ', ONLY ')
         || CASE WHEN get_byte(d, 5) & 2 = 2 THEN ' RESTART IDENTITY' ELSE '' END
         || CASE WHEN get_byte(d, 5) & 1 = 1 THEN ' CASCADE' ELSE '' END || mark;
    RETURN n;
END $$;

RESET client_min_messages;
