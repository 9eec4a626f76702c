-- What the peer needs to end an operation whose region died (docs/explanation/replication.md): its input, the
-- results of its steps and its report, sealed for their place (`enact/sealed.py`). Written by triggers on
-- the engine's tables, in the transaction of the engine's own row, and only where `mc.begin_records` was called
-- (`mcctl replication setup`); content in clear, as earlier versions kept it, is not told.
-- Rows are only added; whoever reads them needs no order and no uniqueness.

CREATE TABLE mc.operation_record (
    region       text NOT NULL,
    tenant       text NOT NULL,
    operation_id text NOT NULL,
    step         text NOT NULL,
    sealed       text NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX operation_record_of ON mc.operation_record (operation_id, step);
ALTER TABLE mc.operation_record ENABLE ROW LEVEL SECURITY;
CREATE POLICY read_all ON mc.operation_record FOR SELECT TO mc_recorder USING (true);
GRANT SELECT ON mc.operation_record, mc.task_accepted TO mc_recorder;

-- Of what the engine keeps: `{"tenant": ..., "sealed": ...}` in its own JSON. Resolutions are not told.
CREATE FUNCTION mc.tell_operation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept text;
    step text := TG_ARGV[0];
    told jsonb;
BEGIN
    IF step = 'input' THEN
        kept := substr(NEW.inputs, 1 + length('{"namedArgs":{},"positionalArgs":['));
        kept := substr(kept, 1, length(kept) - length(']}'));
    ELSE
        kept := NEW.output;
        IF step = 'step' THEN
            step := NEW.function_name;
        END IF;
    END IF;
    IF kept IS NULL OR kept NOT LIKE '{"tenant":"%","sealed":"%'
        OR strpos(NEW.workflow_uuid, ':resolve:') > 0 THEN
        RETURN NULL;
    END IF;
    told := kept::jsonb;
    INSERT INTO mc.operation_record (region, tenant, operation_id, step, sealed)
    SELECT own, told ->> 'tenant', NEW.workflow_uuid, step, told ->> 'sealed' FROM mc.region_peer;
    RETURN NULL;
END $$;

-- What comes twice is added once; what is told in the name of another region than the peer is set aside.
CREATE FUNCTION mc.take_operation_record() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    IF NOT mc.is_of_peer(NEW.region) THEN
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, -1, 'operation', NEW.tenant, NEW.operation_id, '{}', NEW.written_at,
            'the peer told it in the name of another region');
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM mc.operation_record r WHERE r.operation_id = NEW.operation_id
               AND r.step = NEW.step AND r.region = NEW.region AND r.sealed = NEW.sealed) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;

-- Begins to tell and to take; may be repeated. The engine's schema is `dbos` (`enact/engine_database.py`).
CREATE FUNCTION mc.begin_records() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text[];
BEGIN
    GRANT SELECT, INSERT ON mc.operation_record TO mc_replicator;
    CREATE OR REPLACE TRIGGER take BEFORE INSERT ON mc.operation_record
        FOR EACH ROW EXECUTE FUNCTION mc.take_operation_record();
    ALTER TABLE mc.operation_record ENABLE REPLICA TRIGGER take;
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['workflow_input', 'input'], ['operation_outputs', 'step'], ['workflow_output', 'end']]
    LOOP
        IF to_regclass('dbos.' || one[1]) IS NOT NULL THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER tell_peer AFTER INSERT ON dbos.%I '
                'FOR EACH ROW EXECUTE FUNCTION mc.tell_operation(%L)', one[1], one[2]);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION mc.tell_operation() FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.take_operation_record() FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.begin_records() FROM PUBLIC;

-- As in 0033; and with a task go the records of its operation, whichever region wrote them.
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
    PERFORM mc.note_removed(whose, 'tasks', older, cardinality(ids));
    RETURN cardinality(ids);
END $$;
