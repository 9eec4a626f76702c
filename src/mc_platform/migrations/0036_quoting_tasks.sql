-- Which of a flush's tasks quote: a digest came with another task of the same tenant. `asked` are the
-- digests, `numbers` (from 1) the task of each, whose tenant and id stand in `tenants` and `task_ids`.
-- NULL if none does. What the flush's own tasks told is no quotation: a flush comes again if its answer was
-- lost. The service asks this beside mc.record_batch, in one statement.
CREATE FUNCTION mc.quoting_tasks(numbers int[], asked bigint[], tenants text[], task_ids text[])
RETURNS int[] LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- As mc.record_batch: planned once for a session, and each digest is looked up by the index
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT array_agg(DISTINCT a.number)
        FROM unnest(numbers, asked) AS a (number, digest)
        CROSS JOIN LATERAL (
            SELECT FROM mc.quotable q
            WHERE q.digest = a.digest AND q.tenant = tenants[a.number] AND q.task_id <> ALL (task_ids)
            LIMIT 1
        ) AS known);
END $$;

DO $$ BEGIN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', 'mc.quoting_tasks'::regproc::regprocedure);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO mc_recorder', 'mc.quoting_tasks'::regproc::regprocedure);
END $$;
