-- Reads of a tenant's tasks in one round trip: each binds its own transaction to the tenant and reads
-- behind row-level security, as whoever calls it. Before, a read took four (BEGIN, the setting, the
-- read, COMMIT). The setting ends with the transaction, so with the statement.

CREATE FUNCTION mc.tasks_of(whose text, ids text[]) RETURNS SETOF mc.task
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('mc.tenant', whose, true);
    RETURN QUERY SELECT * FROM mc.task WHERE tenant = whose AND id = ANY (ids);
END $$;

-- A conversation's tasks, those that began last first.
CREATE FUNCTION mc.conversation_of(whose text, context text, most integer) RETURNS SETOF mc.task
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('mc.tenant', whose, true);
    RETURN QUERY SELECT * FROM mc.task WHERE tenant = whose AND context_id = context
        ORDER BY created_at DESC, id DESC LIMIT most;
END $$;

REVOKE ALL ON FUNCTION mc.tasks_of(text, text[]), mc.conversation_of(text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mc.tasks_of(text, text[]), mc.conversation_of(text, text, integer)
    TO mc_service;
