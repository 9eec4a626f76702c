-- Retention (docs/explanation/retention.md): digests of quotations by week, in partitions that are
-- dropped; tasks, and checkpoints of what was archived, in batches. The service's role drops and
-- deletes nothing of these itself: the functions here do, within bounds that it cannot move. What
-- they remove they note in the same transaction, until the ledger has been told.
SET LOCAL lock_timeout = '5s';

CREATE TABLE mc.retention_turn (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    run        uuid NOT NULL DEFAULT gen_random_uuid(),
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    next_at    timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO mc.retention_turn DEFAULT VALUES;

-- `removed` counts rows; of digests it is the planner's estimate, as to count them would cost more
-- than to drop them.
CREATE TABLE mc.retention_removed (
    id      uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    run     uuid NOT NULL,
    tenant  text NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('tasks', 'engine', 'checkpoints', 'quotations')),
    before  timestamptz NOT NULL,
    removed bigint NOT NULL CHECK (removed > 0),
    PRIMARY KEY (run, tenant, kind)
);

CREATE FUNCTION mc.note_removed(whose text, what text, older timestamptz, count bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.retention_removed AS noted (run, tenant, kind, before, removed)
    SELECT run, whose, what, older, count FROM mc.retention_turn WHERE count > 0
    ON CONFLICT (run, tenant, kind) DO UPDATE SET
        before = greatest(noted.before, excluded.before), removed = noted.removed + excluded.removed
$$;

-- Quotations: a digest is known for seven days after the week in which it was told last. By week and
-- not by day, as a look-up asks each partition that holds something: two, and not eight.
-- `told_at` and the right to delete are for the version before this one: no policy lets it delete a
-- row, so what it tries once in 15 s does nothing. Both go with a later version.
ALTER TABLE mc.quotable RENAME TO quotable_before;
ALTER TABLE mc.quotable_before RENAME CONSTRAINT quotable_pkey TO quotable_before_pkey;
ALTER INDEX mc.quotable_told RENAME TO quotable_before_told;
REVOKE ALL ON mc.quotable_before FROM mc_service, mc_recorder;

CREATE TABLE mc.quotable (
    tenant  text NOT NULL,
    digest  bigint NOT NULL,
    task_id text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    week    date NOT NULL DEFAULT date_trunc('week', now() AT TIME ZONE 'UTC')::date
) PARTITION BY RANGE (week);
CREATE UNIQUE INDEX quotable_once_a_week ON mc.quotable (digest, tenant, week);
CREATE TABLE mc.quotable_default PARTITION OF mc.quotable DEFAULT;
ALTER TABLE mc.quotable_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE mc.quotable ATTACH PARTITION mc.quotable_before
    FOR VALUES FROM (MINVALUE) TO ('2001-01-01');

ALTER TABLE mc.quotable ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON mc.quotable FOR SELECT TO mc_service
    USING (tenant = current_setting('mc.tenant', true));
CREATE POLICY read_all ON mc.quotable FOR SELECT TO mc_recorder USING (true);
CREATE POLICY append ON mc.quotable FOR INSERT TO mc_recorder WITH CHECK (true);
GRANT SELECT ON mc.quotable TO mc_service;
GRANT SELECT, INSERT, DELETE ON mc.quotable TO mc_recorder;

-- The partition of the week that begins on a Monday, for the owner only. Rows that the default partition took move over.
CREATE FUNCTION mc.make_quotable_week(monday date) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := 'quotable_' || to_char(monday, '"y"YYYY"m"MM"d"DD');
BEGIN
    IF to_regclass('mc.' || name) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE mc.%I (LIKE mc.quotable INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE mc.%I ENABLE ROW LEVEL SECURITY', name);
    LOCK TABLE ONLY mc.quotable_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM mc.quotable_default WHERE week = %L RETURNING *) '
        'INSERT INTO mc.%I SELECT * FROM moved', monday, name);
    EXECUTE format(
        'ALTER TABLE mc.quotable ATTACH PARTITION mc.%I FOR VALUES FROM (%L) TO (%L)',
        name, monday, monday + 7);
    RETURN name;
END $$;

-- The only way by which the service makes and drops weeks: it takes no argument. A week that cannot
-- be locked within half a second is left to the next call: whoever waits for a lock keeps all others
-- waiting. Returns the names of what was made and dropped.
CREATE FUNCTION mc.keep_quotable_weeks() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    last_gone date := today - 14;  -- the Monday of a week whose Sunday was seven days ago, or more
    told_before timestamptz := (today - 7)::timestamp AT TIME ZONE 'UTC';
    one record;
    made text;
    count bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7219005313404);
    FOR ahead IN 0..1 LOOP
        BEGIN
            made := mc.make_quotable_week(date_trunc('week', today)::date + 7 * ahead);
            IF made IS NOT NULL THEN
                RETURN NEXT made;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
    WITH gone AS (DELETE FROM mc.quotable_default WHERE week <= last_gone RETURNING week)
    SELECT count(*) INTO count FROM gone;
    PERFORM mc.note_removed('PLATFORM', 'quotations', told_before, count);
    FOR one IN
        SELECT c.relname, greatest(c.reltuples, 1)::bigint AS rows FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'mc.quotable'::regclass AND (
            c.relname ~ '^quotable_y\d{4}m\d{2}d\d{2}$'
            AND to_date(substr(c.relname, 10), '"y"YYYY"m"MM"d"DD') <= last_gone
            OR c.relname = 'quotable_before' AND EXISTS (SELECT FROM mc.schema_migration
                WHERE name = '0033_retention.sql' AND applied_at < now() - interval '8 days'))
        ORDER BY c.relname
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE mc.%I', one.relname);
            PERFORM mc.note_removed(
                'PLATFORM', 'quotations', told_before, one.rows);
            RETURN NEXT one.relname;
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
END $$;

-- Ended tasks of one tenant, `most` at once. A task that is open, or stuck and not resolved, is never
-- among them, and none that ended within fifteen days: longer than a quotation is known, and than any
-- operation may take.
CREATE FUNCTION mc.forget_tasks(whose text, older timestamptz, most integer) RETURNS integer
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
    DELETE FROM mc.task WHERE id = ANY (ids);
    PERFORM mc.note_removed(whose, 'tasks', older, cardinality(ids));
    RETURN cardinality(ids);
END $$;

-- Stored checkpoints of what was archived, but for the last of each day; ten thousand at once. An
-- archive has its own, and what is not archived yet keeps all: each names the one before it.
CREATE FUNCTION mc.thin_checkpoints() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    count integer;
    newest timestamptz;
BEGIN
    WITH gone AS (
        DELETE FROM mc.ledger_checkpoint AS c USING (
            SELECT old.region, old.size FROM mc.ledger_checkpoint AS old CROSS JOIN LATERAL (
                SELECT created_at FROM mc.ledger_checkpoint AS following
                WHERE following.region = old.region AND following.size > old.size
                ORDER BY following.size LIMIT 1
            ) AS next
            WHERE old.size <= (SELECT max(last_index) + 1 FROM mc.ledger_archive AS a
                               WHERE a.region = old.region)
            AND date_trunc('day', next.created_at, 'UTC')
                = date_trunc('day', old.created_at, 'UTC')
            LIMIT 10000
        ) AS old WHERE c.region = old.region AND c.size = old.size RETURNING c.created_at
    ) SELECT count(*), max(created_at) INTO count, newest FROM gone;
    PERFORM mc.note_removed('PLATFORM', 'checkpoints', newest, count);
    RETURN count;
END $$;

REVOKE ALL ON FUNCTION mc.note_removed(text, text, timestamptz, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.make_quotable_week(date) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.keep_quotable_weeks() FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.forget_tasks(text, timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.thin_checkpoints() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mc.keep_quotable_weeks(), mc.thin_checkpoints(),
    mc.forget_tasks(text, timestamptz, integer),
    mc.note_removed(text, text, timestamptz, bigint) TO mc_recorder;
GRANT SELECT, UPDATE ON mc.retention_turn TO mc_recorder;
GRANT SELECT, INSERT, UPDATE, DELETE ON mc.retention_removed TO mc_recorder;

SELECT mc.keep_quotable_weeks();
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM mc.quotable_before) THEN
        DROP TABLE mc.quotable_before;
    END IF;
END $$;
