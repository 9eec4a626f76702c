-- Of an operation's records the newest is that of the latest term of its tenant's home (0048), not of the later
-- clock: the clocks of two regions tell nothing of which wrote later.

-- A peer of the version before has no such column, and would take nothing any more: it is not sent before this
-- region's next `replication setup`.
DO $$
DECLARE
    own text := (SELECT p.own FROM mc.region_peer p);
BEGIN
    IF EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'mc_region'
        AND schemaname = 'mc' AND tablename = 'operation_record')
    THEN
        ALTER PUBLICATION mc_region DROP TABLE mc.operation_record;
        EXECUTE format('ALTER PUBLICATION mc_region ADD TABLE mc.operation_record '
            '(region, tenant, operation_id, step, sealed, written_at) WHERE (region = %L)', own);
    END IF;
END $$;
ALTER TABLE mc.operation_record ADD COLUMN term bigint NOT NULL DEFAULT 0;

-- As in 0050, with the term under which the engine's row was written: it stands beside the input
CREATE OR REPLACE FUNCTION mc.tell_operation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept text;
    step text := TG_ARGV[0];
    inputs text;
    told jsonb;
BEGIN
    IF step = 'input' THEN
        inputs := NEW.inputs;
        kept := substr(inputs, 1 + length('{"namedArgs":{},"positionalArgs":['));
        kept := substr(kept, 1, length(kept) - length(']}'));
    ELSE
        SELECT i.inputs INTO inputs FROM dbos.workflow_input i WHERE i.workflow_uuid = NEW.workflow_uuid;
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
    INSERT INTO mc.operation_record (region, tenant, operation_id, step, sealed, term)
    SELECT own, told ->> 'tenant', NEW.workflow_uuid, step, told ->> 'sealed', coalesce(substring(inputs
        FROM '^{"namedArgs":{},"positionalArgs":\[{"tenant":"[^"]+","sealed":"[^"]+","home":(\d+)[,}]')::bigint, 0)
    FROM mc.region_peer;
    RETURN NULL;
END $$;

-- As in 0050; the same under another term is another record
CREATE OR REPLACE FUNCTION mc.take_operation_record() RETURNS trigger
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
    IF EXISTS (SELECT FROM mc.operation_record r WHERE r.operation_id = NEW.operation_id AND r.step = NEW.step
               AND r.region = NEW.region AND r.sealed = NEW.sealed AND r.term = NEW.term) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
