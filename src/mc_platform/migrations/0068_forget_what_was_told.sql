-- As in 0050; and with a tenant's tasks goes what told the peer of them, if it was away for so long, and what of the
-- peer's could not be merged here and is as old. What else was set aside (credentials, grants, charges) is kept for good.
CREATE OR REPLACE FUNCTION mc.forget_tasks(whose text, older timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    IF (older <= clock_timestamp() - interval '15 days' AND most BETWEEN 1 AND 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'tasks are kept for fifteen days, and at most 10000 go at once'
            USING ERRCODE = '22023';
    END IF;
    ids := ARRAY(
        SELECT id FROM mc.task WHERE tenant = whose AND updated_at < older AND created_at < older
            AND state IN ('TASK_STATE_COMPLETED', 'TASK_STATE_FAILED', 'TASK_STATE_CANCELED',
                          'TASK_STATE_REJECTED')
            AND (outcome IS DISTINCT FROM 'stuck'
                 OR EXISTS (SELECT FROM mc.operation_resolved AS r WHERE r.id = task.id))
        ORDER BY updated_at LIMIT most FOR UPDATE SKIP LOCKED);
    DELETE FROM mc.operation_resolved WHERE id = ANY (ids);
    DELETE FROM mc.operation_record WHERE operation_id = ANY (ids);
    DELETE FROM mc.task WHERE id = ANY (ids);
    IF EXISTS (SELECT FROM mc.region_change WHERE written_at < older) THEN
        PERFORM mc.erase_told(whose, ids);
    END IF;
    DELETE FROM mc.region_change_refused WHERE tenant = whose AND kind IN ('task', 'quotation')
        AND written_at < older AND refused_at < older;
    PERFORM mc.note_removed(whose, 'tasks', older, cardinality(ids));
    RETURN cardinality(ids);
END $$;
