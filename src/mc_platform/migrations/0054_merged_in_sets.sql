-- The small tasks and quotations of a flush are one change, which the peer merges by one statement: row by row
-- one subscription did not keep up with 2,000 requests a second. The rules are 0044's. Nothing is
-- sent so before the peer has said, with `copy`, that it reads it.

ALTER TABLE mc.region_copy ADD COLUMN reads_sets boolean NOT NULL DEFAULT false;
-- The heartbeat says it anew, now with what this version reads
DELETE FROM mc.region_copy c USING mc.region_peer p WHERE c.region = p.own;

CREATE OR REPLACE FUNCTION mc.tell_copy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    is_whole boolean := (
        SELECT coalesce(bool_and(r.srsubstate = 'r'), false)
        FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
        WHERE s.subname = 'mc_' || replace(of_own, '-', '_')
          AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
BEGIN
    -- Again after some hours: the peer's copy of what was told may be a new one
    IF of_own IS NULL OR EXISTS (SELECT FROM mc.region_copy c WHERE c.region = of_own
        AND c.whole = is_whole AND c.written_at > clock_timestamp() - interval '6 hours')
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO mc.region_copy AS c (region, whole, reads_sets, written_at)
    VALUES (of_own, is_whole, true, clock_timestamp())
    ON CONFLICT (region) DO UPDATE SET whole = excluded.whole, reads_sets = excluded.reads_sets,
        written_at = excluded.written_at;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    VALUES (of_own, 'copy', 'PLATFORM', of_own,
        jsonb_build_object('whole', is_whole, 'reads_sets', true));
    RETURN NULL;
END $$;

-- What one set may hold, so that no flush makes more than a few megabytes of one row; all else goes by itself
CREATE FUNCTION mc.set_bytes() RETURNS int LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS 'SELECT 16384';
CREATE FUNCTION mc.set_digests() RETURNS int LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS 'SELECT 64';

CREATE OR REPLACE FUNCTION mc.tell_tasks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text;
    in_sets boolean;
    most int := mc.set_bytes();
BEGIN
    SELECT p.own, coalesce(c.reads_sets, false) INTO of_own, in_sets
    FROM mc.region_peer p LEFT JOIN mc.region_copy c ON c.region = p.peer;
    IF of_own IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT of_own, 'tasks', 'PLATFORM', min(t.id), jsonb_agg(jsonb_build_object(
        'id', t.id, 'tenant', t.tenant,
        'context_id', t.context_id, 'principal', t.principal, 'message_id', t.message_id,
        'request_digest', t.request_digest, 'state', t.state, 'parts', t.parts::text,
        'status_text', t.status_text, 'governance', t.governance::text, 'flow', t.flow::text,
        'accepted_at', t.created_at, 'updated_at', t.updated_at,
        'accepted_in', coalesce(a.region, of_own)))
    FROM written AS t LEFT JOIN mc.task_accepted a ON a.id = t.id
    WHERE in_sets AND octet_length(concat(t.parts::text, t.status_text, t.governance::text, t.flow::text)) <= most
    HAVING count(*) > 0;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT of_own, 'task', t.tenant, t.id, mc.task_told(ROW(t.*)::mc.task, of_own)
    FROM written AS t
    WHERE NOT in_sets
        OR octet_length(concat(t.parts::text, t.status_text, t.governance::text, t.flow::text)) > most;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION mc.tell_quotations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text;
    in_sets boolean;
    most int := mc.set_digests();
BEGIN
    SELECT p.own, coalesce(c.reads_sets, false) INTO of_own, in_sets
    FROM mc.region_peer p LEFT JOIN mc.region_copy c ON c.region = p.peer;
    IF of_own IS NULL THEN
        RETURN NULL;
    END IF;
    WITH each AS (
        SELECT q.tenant, q.task_id, q.week, jsonb_agg(q.digest ORDER BY q.digest) AS digests,
            in_sets AND count(*) <= most AS in_set
        FROM written AS q GROUP BY q.tenant, q.task_id, q.week
    )
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT of_own, 'quotations', 'PLATFORM', min(e.task_id), jsonb_agg(jsonb_build_object(
        'id', e.task_id, 'tenant', e.tenant, 'week', e.week, 'digests', e.digests))
    FROM each AS e WHERE e.in_set HAVING count(*) > 0
    UNION ALL
    SELECT of_own, 'quotation', e.tenant, e.task_id,
        jsonb_build_object('week', e.week, 'digests', e.digests)
    FROM each AS e WHERE NOT e.in_set;
    RETURN NULL;
END $$;

-- The rule of `mc.merge_task`. What is added is known before what is here is changed: a second statement sees
-- what this region committed meanwhile.
CREATE FUNCTION mc.merge_tasks(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    taken text[];
    known int;
BEGIN
    WITH added AS (
        INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts,
            status_text, governance, flow, created_at, updated_at)
        SELECT t.id, t.context_id, t.tenant, t.principal, t.message_id, t.request_digest, t.state,
            t.parts::json, t.status_text, t.governance::json, t.flow::json, t.accepted_at, t.updated_at
        FROM jsonb_to_recordset(c.body) AS t (id text, tenant text, context_id text, principal text,
            message_id text, request_digest text, state text, parts text, status_text text,
            governance text, flow text, accepted_at timestamptz, updated_at timestamptz)
        ON CONFLICT (id) DO NOTHING RETURNING id
    )
    SELECT coalesce(array_agg(id), '{}') INTO taken FROM added;
    IF cardinality(taken) < jsonb_array_length(c.body) THEN
        SELECT count(*) INTO known
        FROM jsonb_to_recordset(c.body) AS new (id text, tenant text)
        JOIN mc.task old ON old.id = new.id AND old.tenant = new.tenant;
        IF known < jsonb_array_length(c.body) THEN
            RAISE EXCEPTION 'a task of this id is another tenant''s here';
        END IF;
        WITH changed AS (
            UPDATE mc.task old SET context_id = new.context_id, principal = new.principal,
                request_digest = new.request_digest, state = new.state, parts = new.parts::json,
                status_text = new.status_text, governance = new.governance::json,
                flow = new.flow::json, created_at = new.accepted_at, updated_at = new.updated_at
            FROM jsonb_to_recordset(c.body) AS new (id text, tenant text, context_id text, principal text,
                message_id text, request_digest text, state text, parts text, status_text text,
                governance text, flow text, accepted_at timestamptz, updated_at timestamptz,
                accepted_in text)
            LEFT JOIN mc.task_accepted a ON a.id = new.id
            WHERE old.id = new.id AND new.id <> ALL (taken)
                AND ROW (mc.task_stage(new.state) = 3, old.created_at,
                         coalesce(a.region, of_own) COLLATE "C", mc.task_stage(new.state), new.updated_at,
                         md5(concat_ws(' ', new.parts, new.status_text, new.governance, new.flow,
                             new.context_id, new.principal, new.request_digest)) COLLATE "C")
                  > ROW (mc.task_stage(old.state) = 3, new.accepted_at,
                         new.accepted_in COLLATE "C", mc.task_stage(old.state), old.updated_at,
                         md5(concat_ws(' ', old.parts::text, old.status_text, old.governance::text,
                             old.flow::text, old.context_id, old.principal, old.request_digest)) COLLATE "C")
            RETURNING old.id
        )
        SELECT taken || coalesce(array_agg(id), '{}') INTO taken FROM changed;
        DELETE FROM mc.task_accepted a USING jsonb_to_recordset(c.body) AS new (id text, accepted_in text)
        WHERE a.id = new.id AND new.accepted_in = of_own AND new.id = ANY (taken);
    END IF;
    INSERT INTO mc.task_accepted (id, region)
    SELECT new.id, new.accepted_in FROM jsonb_to_recordset(c.body) AS new (id text, accepted_in text)
    WHERE new.accepted_in <> of_own AND new.id = ANY (taken)
    ON CONFLICT (id) DO UPDATE SET region = excluded.region
    WHERE task_accepted.region <> excluded.region;
END $$;

CREATE FUNCTION mc.merge_quotations(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.quotable AS old (tenant, digest, task_id, week)
    SELECT DISTINCT ON (digest::bigint, q.tenant, q.week) q.tenant, digest::bigint, q.id, q.week
    FROM jsonb_to_recordset(c.body) AS q (id text, tenant text, week date, digests jsonb)
    CROSS JOIN LATERAL jsonb_array_elements_text(q.digests) AS digest
    ORDER BY digest::bigint, q.tenant, q.week, q.id COLLATE "C"
    ON CONFLICT (digest, tenant, week) DO UPDATE SET task_id = excluded.task_id
    WHERE old.task_id COLLATE "C" > excluded.task_id COLLATE "C"
$$;

-- As `mc.take_change` of 0044: one change, set aside if it cannot be merged
CREATE FUNCTION mc.take_one(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place text;
BEGIN
    PERFORM mc.merge_change(c);
EXCEPTION
    WHEN deadlock_detected OR serialization_failure OR lock_not_available OR insufficient_resources
        OR operator_intervention OR system_error THEN
        RAISE;
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS place = CONSTRAINT_NAME;
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (c.region, c.number, c.kind, c.tenant, c.key, c.body, c.written_at,
            concat_ws(' ', SQLSTATE, nullif(place, ''),
                CASE WHEN SQLSTATE = 'P0001' THEN SQLERRM END));
END $$;

-- A set that cannot be merged is taken one by one, so that one bad row sets no other aside
CREATE FUNCTION mc.take_set(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one jsonb;
BEGIN
    IF c.kind = 'tasks' THEN
        PERFORM mc.merge_tasks(c);
    ELSE
        PERFORM mc.merge_quotations(c);
    END IF;
EXCEPTION
    WHEN deadlock_detected OR serialization_failure OR lock_not_available OR insufficient_resources
        OR operator_intervention OR system_error THEN
        RAISE;
    WHEN OTHERS THEN
        FOR one IN SELECT e FROM jsonb_array_elements(c.body) AS e LOOP
            PERFORM mc.take_one(ROW (c.region, c.number, rtrim(c.kind, 's'), one ->> 'tenant',
                one ->> 'id', one, c.written_at)::mc.region_change);
        END LOOP;
END $$;

CREATE OR REPLACE FUNCTION mc.take_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A subscription's session plans once, maybe while the tables are empty: each row is looked up all the same
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    IF NEW.kind IN ('tasks', 'quotations') AND jsonb_typeof(NEW.body) = 'array' AND mc.is_of_peer(NEW.region) THEN
        PERFORM mc.take_set(NEW);
    ELSE
        PERFORM mc.take_one(NEW);
    END IF;
    RETURN NULL;
END $$;

-- As in 0053, with what the peer reads
CREATE OR REPLACE FUNCTION mc.merge_change(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT mc.is_of_peer(c.region) THEN
        RAISE EXCEPTION 'the peer told it in the name of another region';
    END IF;
    CASE c.kind
        WHEN 'task' THEN PERFORM mc.merge_task(c);
        WHEN 'quotation' THEN PERFORM mc.merge_quotation(c);
        WHEN 'switch' THEN PERFORM mc.merge_switch(c);
        WHEN 'credential' THEN PERFORM mc.merge_credential(c);
        WHEN 'grant' THEN PERFORM mc.merge_grant(c);
        WHEN 'charge' THEN PERFORM mc.merge_charge(c);
        WHEN 'query' THEN PERFORM mc.merge_query(c);
        WHEN 'resolution' THEN
            INSERT INTO mc.operation_resolved (id) SELECT id FROM mc.task WHERE id = c.key
            ON CONFLICT DO NOTHING;
        WHEN 'copy' THEN
            INSERT INTO mc.region_copy AS old (region, whole, reads_sets, written_at)
            VALUES (c.region, (c.body ->> 'whole')::boolean,
                coalesce((c.body ->> 'reads_sets')::boolean, false), c.written_at)
            ON CONFLICT (region) DO UPDATE SET whole = excluded.whole,
                reads_sets = excluded.reads_sets, written_at = excluded.written_at
            WHERE old.written_at < excluded.written_at;
        ELSE RAISE EXCEPTION 'this version does not know the kind';
    END CASE;
END $$;

-- As in 0046; whose row it is, is looked at here and not by a function, which is called for each row
CREATE OR REPLACE FUNCTION mc.skip_known() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    same boolean;
    number bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM mc.region_peer p
        WHERE NEW.region = p.peer OR NEW.region LIKE p.peer || '/e%')
    THEN
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, -1, TG_ARGV[0], 'PLATFORM', NEW.region, to_jsonb(NEW), now(),
            'the peer told it in the name of another region');
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'event' THEN
        SELECT e.leaf_hash = NEW.leaf_hash INTO same FROM mc.ledger_event e
        WHERE e.region = NEW.region AND e.index = NEW.index LIMIT 1;
        number := NEW.index;
    ELSIF TG_ARGV[0] = 'id' THEN
        SELECT i.index = NEW.index INTO same FROM mc.ledger_id i
        WHERE i.region = NEW.region AND i.event_id = NEW.event_id;
        IF same IS NULL THEN
            SELECT false INTO same FROM mc.ledger_id i
            WHERE i.region = NEW.region AND i.index = NEW.index;
        END IF;
        number := NEW.index;
    ELSE
        SELECT k.note = NEW.note INTO same FROM mc.ledger_checkpoint k
        WHERE k.region = NEW.region AND k.size = NEW.size;
        number := NEW.size;
    END IF;
    IF same IS NULL THEN
        RETURN NEW;
    END IF;
    IF NOT same THEN
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, number, TG_ARGV[0], 'PLATFORM', number::text, to_jsonb(NEW), now(),
            'another history of this region is here');
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOR name IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'mc'::regnamespace AND p.proname IN (
        'set_bytes', 'set_digests', 'merge_tasks', 'merge_quotations', 'take_one', 'take_set')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
