-- An erasure takes along what sets told of the tenant (0054: their rows are of no tenant), and is told to the
-- peer behind all that this region wrote of it: what was on its way goes there when the erasure comes.

-- What changes tell of a tenant's tasks: of these, or, with NULL, of all that are here no more; how many went.
CREATE FUNCTION mc.erase_told(of_tenant text, gone text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint := 0;
    count bigint;
    place text;
BEGIN
    FOREACH place IN ARRAY ARRAY['region_change', 'region_change_refused'] LOOP
        EXECUTE format($sql$
            DELETE FROM mc.%I AS c WHERE c.tenant = $1 AND c.kind IN ('task', 'quotation')
                AND CASE WHEN $2 IS NOT NULL THEN c.key = ANY ($2) ELSE c.kind = 'quotation'
                    OR NOT EXISTS (SELECT FROM mc.task t WHERE t.id = c.key) END
        $sql$, place) USING of_tenant, gone;
        GET DIAGNOSTICS count = ROW_COUNT;
        total := total + count;
        EXECUTE format($sql$
            WITH kept AS (
                SELECT c.ctid AS place, count(*) FILTER (WHERE e.goes) AS going,
                    coalesce(jsonb_agg(e.one) FILTER (WHERE NOT e.goes), '[]') AS body
                FROM mc.%1$I AS c CROSS JOIN LATERAL (
                    SELECT one, one ->> 'tenant' = $1 AND CASE WHEN $2 IS NOT NULL
                        THEN one ->> 'id' = ANY ($2) ELSE c.kind = 'quotations'
                        OR NOT EXISTS (SELECT FROM mc.task t WHERE t.id = one ->> 'id') END AS goes
                    FROM jsonb_array_elements(c.body) AS one) AS e
                WHERE c.kind IN ('tasks', 'quotations')
                    AND c.body @> jsonb_build_array(jsonb_build_object('tenant', $1))
                GROUP BY c.ctid
            ), changed AS (
                UPDATE mc.%1$I AS c SET body = kept.body FROM kept
                WHERE c.ctid = kept.place AND kept.going > 0 AND kept.body <> '[]'
            ), emptied AS (
                DELETE FROM mc.%1$I AS c USING kept WHERE c.ctid = kept.place AND kept.body = '[]'
            )
            SELECT coalesce(sum(going), 0) FROM kept
        $sql$, place) INTO count USING of_tenant, gone;
        total := total + count;
    END LOOP;
    RETURN total;
END $$;

-- The engine's rows of operations that ended.
CREATE FUNCTION mc.erase_engine(ids text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    count bigint := 0;
    one   text;
BEGIN
    IF to_regclass('dbos.workflow_status') IS NOT NULL THEN
        FOREACH one IN ARRAY ARRAY['workflow_input', 'workflow_output', 'operation_outputs',
            'workflow_status']
        LOOP
            EXECUTE format('DELETE FROM dbos.%I WHERE split_part(workflow_uuid, %L, 1) = ANY ($1)',
                one, ':resolve:') USING ids;
            GET DIAGNOSTICS count = ROW_COUNT;
        END LOOP;
    END IF;
    RETURN count;
END $$;

-- As in 0051, and told to the peer. Whoever writes of a task writes after the task: what is here of none is of
-- none that began meanwhile.
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
    DELETE FROM mc.task_accepted WHERE id = ANY (ids);
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

-- What the peer erased had ended there, and what ended is not begun again: it goes here as well, in any state.
CREATE FUNCTION mc.merge_erasure(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[] := ARRAY(
        SELECT told.one FROM jsonb_array_elements_text(c.body) AS told (one)
        WHERE NOT EXISTS (SELECT FROM mc.task t WHERE t.id = told.one AND t.tenant <> c.tenant));
BEGIN
    DELETE FROM mc.operation_resolved WHERE id = ANY (ids);
    DELETE FROM mc.task_accepted WHERE id = ANY (ids);
    DELETE FROM mc.task WHERE id = ANY (ids);
    DELETE FROM mc.operation_record WHERE operation_id = ANY (ids) AND tenant = c.tenant;
    DELETE FROM mc.quotable WHERE tenant = c.tenant AND task_id = ANY (ids);
    PERFORM mc.erase_told(c.tenant, ids), mc.erase_engine(ids);
END $$;

-- As in 0054, with erasures; and with sets, which may have been set aside as a whole
CREATE OR REPLACE FUNCTION mc.merge_change(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT mc.is_of_peer(c.region) THEN
        RAISE EXCEPTION 'the peer told it in the name of another region';
    END IF;
    CASE c.kind
        WHEN 'task' THEN PERFORM mc.merge_task(c);
        WHEN 'tasks' THEN PERFORM mc.merge_tasks(c);
        WHEN 'quotation' THEN PERFORM mc.merge_quotation(c);
        WHEN 'quotations' THEN PERFORM mc.merge_quotations(c);
        WHEN 'erasure' THEN PERFORM mc.merge_erasure(c);
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

REVOKE ALL ON FUNCTION mc.erase_told(text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.erase_engine(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.merge_erasure(mc.region_change) FROM PUBLIC;
