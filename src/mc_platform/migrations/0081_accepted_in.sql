-- Where a task was accepted stands in its own row: a row of `mc.task_accepted` beside each task of the peer was a
-- twentieth of what merging costs. NULL is a task of before, of which the former table tells, or one of here.
ALTER TABLE mc.task ADD COLUMN accepted_in text;

-- What serves writes what it wrote before; of the new column merging alone does
REVOKE INSERT, UPDATE ON mc.task FROM mc_recorder;
GRANT INSERT (id, context_id, tenant, principal, message_id, request_digest, state, parts, status_text, governance,
        flow, created_at, updated_at),
    UPDATE (context_id, principal, request_digest, state, parts, status_text, governance, flow, created_at, updated_at)
    ON mc.task TO mc_recorder;

-- A view by its name stands in, which suits every version that reads it
-- squawk-ignore renaming-table
ALTER TABLE mc.task_accepted RENAME TO task_accepted_before;
REVOKE ALL ON mc.task_accepted_before FROM mc_recorder;
CREATE VIEW mc.task_accepted AS
    SELECT t.id, coalesce(t.accepted_in, b.region) AS region
    FROM mc.task t LEFT JOIN mc.task_accepted_before b ON b.id = t.id
    WHERE coalesce(t.accepted_in, b.region) <> (SELECT p.own FROM mc.region_peer p);
GRANT SELECT ON mc.task_accepted TO mc_recorder;

-- As in 0044
CREATE OR REPLACE FUNCTION mc.task_told(t mc.task, own text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'context_id', t.context_id, 'principal', t.principal, 'message_id', t.message_id,
        'request_digest', t.request_digest, 'state', t.state, 'parts', t.parts::text,
        'status_text', t.status_text, 'governance', t.governance::text, 'flow', t.flow::text,
        'accepted_at', t.created_at, 'updated_at', t.updated_at, 'accepted_in', coalesce(t.accepted_in,
            (SELECT b.region FROM mc.task_accepted_before b WHERE b.id = t.id), own))
$$;

-- As in 0054
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
        'accepted_in', coalesce(t.accepted_in, b.region, of_own)))
    FROM written AS t LEFT JOIN mc.task_accepted_before b ON b.id = t.id
    WHERE in_sets AND octet_length(concat(t.parts::text, t.status_text, t.governance::text, t.flow::text)) <= most
    HAVING count(*) > 0;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT of_own, 'task', t.tenant, t.id, mc.task_told(ROW(t.*)::mc.task, of_own)
    FROM written AS t
    WHERE NOT in_sets
        OR octet_length(concat(t.parts::text, t.status_text, t.governance::text, t.flow::text)) > most;
    RETURN NULL;
END $$;

-- As in 0080
CREATE OR REPLACE FUNCTION mc.merge_tasks(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    taken text[];
    known int;
BEGIN
    WITH added AS (
        INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts,
            status_text, governance, flow, created_at, updated_at, accepted_in)
        SELECT t.id, t.context_id, t.tenant, t.principal, t.message_id, t.request_digest, t.state,
            t.parts::json, t.status_text, t.governance::json, t.flow::json, t.accepted_at, t.updated_at,
            t.accepted_in
        FROM jsonb_to_recordset(c.body) AS t (id text, tenant text, context_id text, principal text,
            message_id text, request_digest text, state text, parts text, status_text text,
            governance text, flow text, accepted_at timestamptz, updated_at timestamptz, accepted_in text)
        ON CONFLICT (id) DO NOTHING RETURNING id
    )
    SELECT coalesce(array_agg(id), '{}') INTO taken FROM added;
    IF cardinality(taken) = jsonb_array_length(c.body) THEN
        RETURN;
    END IF;
    WITH new AS MATERIALIZED (
        SELECT t.*, coalesce(
            (SELECT b.region FROM mc.task_accepted_before b WHERE b.id = t.id), of_own) AS before_in
        FROM jsonb_to_recordset(c.body) AS t (id text, tenant text, context_id text, principal text,
            message_id text, request_digest text, state text, parts text, status_text text,
            governance text, flow text, accepted_at timestamptz, updated_at timestamptz, accepted_in text)
        CROSS JOIN LATERAL (SELECT old.tenant FROM mc.task old WHERE old.id = t.id OFFSET 0) AS here
        WHERE t.id <> ALL (taken) AND here.tenant = t.tenant
    ), changed AS (
        UPDATE mc.task old SET context_id = new.context_id, principal = new.principal,
            request_digest = new.request_digest, state = new.state, parts = new.parts::json,
            status_text = new.status_text, governance = new.governance::json,
            flow = new.flow::json, created_at = new.accepted_at, updated_at = new.updated_at,
            accepted_in = new.accepted_in
        FROM new
        WHERE old.id = new.id AND old.id = ANY (ARRAY(SELECT id FROM new))
            AND ROW (mc.task_stage(new.state) = 3, old.created_at,
                     coalesce(old.accepted_in, new.before_in) COLLATE "C", mc.task_stage(new.state), new.updated_at,
                     md5(concat_ws(' ', new.parts, new.status_text, new.governance, new.flow,
                         new.context_id, new.principal, new.request_digest)) COLLATE "C")
              > ROW (mc.task_stage(old.state) = 3, new.accepted_at,
                     new.accepted_in COLLATE "C", mc.task_stage(old.state), old.updated_at,
                     md5(concat_ws(' ', old.parts::text, old.status_text, old.governance::text,
                         old.flow::text, old.context_id, old.principal, old.request_digest)) COLLATE "C")
    )
    SELECT count(*) INTO known FROM new;
    IF cardinality(taken) + known < jsonb_array_length(c.body) THEN
        RAISE EXCEPTION 'a task of this id is another tenant''s here';
    END IF;
END $$;

-- As in 0055
CREATE OR REPLACE FUNCTION mc.erase_tenant(of_tenant text, who text, why text) RETURNS mc.erasure
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids     text[];
    counted jsonb;
    count   bigint;
    done    mc.erasure;
BEGIN
    ids := ARRAY(
        SELECT id FROM mc.task WHERE tenant = of_tenant
            AND state IN ('TASK_STATE_COMPLETED', 'TASK_STATE_FAILED', 'TASK_STATE_CANCELED',
                          'TASK_STATE_REJECTED')
            AND (outcome IS DISTINCT FROM 'stuck'
                 OR EXISTS (SELECT FROM mc.operation_resolved AS r WHERE r.id = task.id))
        FOR UPDATE);
    DELETE FROM mc.operation_resolved WHERE id = ANY (ids);
    DELETE FROM mc.task_accepted_before WHERE id = ANY (ids);
    DELETE FROM mc.task WHERE id = ANY (ids);
    counted := jsonb_build_object('tasks', cardinality(ids));
    DELETE FROM mc.operation_record AS r WHERE tenant = of_tenant
        AND NOT EXISTS (SELECT FROM mc.task t WHERE t.id = r.operation_id);
    GET DIAGNOSTICS count = ROW_COUNT;
    counted := counted || jsonb_build_object('operation_records', count);
    DELETE FROM mc.quotable WHERE tenant = of_tenant;
    GET DIAGNOSTICS count = ROW_COUNT;
    counted := counted || jsonb_build_object('quotations', count);
    counted := counted || jsonb_build_object('changes', mc.erase_told(of_tenant, NULL));
    IF to_regclass('dbos.workflow_status') IS NOT NULL THEN
        counted := counted || jsonb_build_object('engine', mc.erase_engine(ids));
    END IF;
    counted := counted || jsonb_build_object('left_open',
        (SELECT count(*) FROM mc.task WHERE tenant = of_tenant));
    INSERT INTO mc.erasure (whose, principal, reason, erased)
    VALUES (of_tenant, who, why, counted) RETURNING * INTO done;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT p.own, 'erasure', of_tenant, done.id::text, jsonb_agg(one.id)
    FROM mc.region_peer p CROSS JOIN unnest(ids) WITH ORDINALITY AS one (id, place)
    GROUP BY p.own, one.place / 10000;
    RETURN done;
END $$;

-- As in 0055, planned as in 0070
CREATE OR REPLACE FUNCTION mc.merge_erasure(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on AS $$
DECLARE
    ids text[] := ARRAY(
        SELECT told.one FROM jsonb_array_elements_text(c.body) AS told (one)
        WHERE NOT EXISTS (SELECT FROM mc.task t WHERE t.id = told.one AND t.tenant <> c.tenant));
BEGIN
    DELETE FROM mc.operation_resolved WHERE id = ANY (ids);
    DELETE FROM mc.task_accepted_before WHERE id = ANY (ids);
    DELETE FROM mc.task WHERE id = ANY (ids);
    DELETE FROM mc.operation_record WHERE operation_id = ANY (ids) AND tenant = c.tenant;
    DELETE FROM mc.quotable WHERE tenant = c.tenant AND task_id = ANY (ids);
    PERFORM mc.erase_told(c.tenant, ids), mc.erase_engine(ids);
END $$;
