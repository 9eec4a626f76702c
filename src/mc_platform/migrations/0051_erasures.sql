-- Erasure of a tenant's content on request (docs/explanation/retention.md): by the owner alone, in one transaction
-- with its note, which the ledger is told of. What is open stays, and can be erased once it has ended.

CREATE TABLE mc.erasure (
    id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    whose     text NOT NULL,
    principal text NOT NULL,
    reason    text NOT NULL,
    erased    jsonb NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded  boolean NOT NULL DEFAULT false
);

-- Replies, states and flow labels; sealed records; fingerprints; what told the peer of them; the engine's rows.
-- A region that has a peer is one of two: it erases its own database's copy of what both wrote.
CREATE FUNCTION mc.erase_tenant(of_tenant text, who text, why text) RETURNS mc.erasure
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids     text[];
    open    text[];
    counted jsonb := '{}';
    count   bigint;
    one     text;
    done    mc.erasure;
BEGIN
    ids := ARRAY(
        SELECT id FROM mc.task WHERE tenant = of_tenant
            AND state IN ('TASK_STATE_COMPLETED', 'TASK_STATE_FAILED', 'TASK_STATE_CANCELED',
                          'TASK_STATE_REJECTED')
            AND (outcome IS DISTINCT FROM 'stuck'
                 OR EXISTS (SELECT FROM mc.operation_resolved AS r WHERE r.id = task.id))
        FOR UPDATE);
    open := ARRAY(SELECT id FROM mc.task WHERE tenant = of_tenant AND id <> ALL (ids));
    DELETE FROM mc.operation_resolved WHERE id = ANY (ids);
    DELETE FROM mc.task_accepted WHERE id = ANY (ids);
    DELETE FROM mc.task WHERE id = ANY (ids);
    counted := counted || jsonb_build_object('tasks', cardinality(ids));
    DELETE FROM mc.operation_record WHERE tenant = of_tenant AND operation_id <> ALL (open);
    GET DIAGNOSTICS count = ROW_COUNT;
    counted := counted || jsonb_build_object('operation_records', count);
    DELETE FROM mc.quotable WHERE tenant = of_tenant;
    GET DIAGNOSTICS count = ROW_COUNT;
    counted := counted || jsonb_build_object('quotations', count);
    DELETE FROM mc.region_change WHERE tenant = of_tenant
        AND (kind = 'quotation' OR kind = 'task' AND key <> ALL (open));
    GET DIAGNOSTICS count = ROW_COUNT;
    counted := counted || jsonb_build_object('changes', count);
    DELETE FROM mc.region_change_refused WHERE tenant = of_tenant
        AND (kind = 'quotation' OR kind = 'task' AND key <> ALL (open));
    IF to_regclass('dbos.workflow_status') IS NOT NULL THEN
        FOREACH one IN ARRAY ARRAY['workflow_input', 'workflow_output', 'operation_outputs',
            'workflow_status']
        LOOP
            EXECUTE format('DELETE FROM dbos.%I WHERE split_part(workflow_uuid, %L, 1) = ANY ($1)',
                one, ':resolve:') USING ids;
            GET DIAGNOSTICS count = ROW_COUNT;
        END LOOP;
        counted := counted || jsonb_build_object('engine', count);
    END IF;
    counted := counted || jsonb_build_object('left_open', cardinality(open));
    INSERT INTO mc.erasure (whose, principal, reason, erased)
    VALUES (of_tenant, who, why, counted) RETURNING * INTO done;
    RETURN done;
END $$;
REVOKE ALL ON FUNCTION mc.erase_tenant(text, text, text) FROM PUBLIC;
