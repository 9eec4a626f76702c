-- What the peer tells is merged, and not kept as well: the row that came was stored, compressed and indexed, and read
-- again to be merged, only to be removed a day later. What cannot be merged is set aside with its body as before.

-- Resolved when they are made, so that they need no setting of their own each time that they are called
CREATE OR REPLACE FUNCTION mc.is_of_peer(name text) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM mc.region_peer p WHERE name = p.peer OR name LIKE p.peer || '/e%');

CREATE OR REPLACE FUNCTION mc.task_stage(state text) RETURNS int LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN state IN ('TASK_STATE_COMPLETED', 'TASK_STATE_FAILED', 'TASK_STATE_CANCELED', 'TASK_STATE_REJECTED') THEN 3
    WHEN state = 'TASK_STATE_SUBMITTED' THEN 1 ELSE 2 END;

-- As in 0067. Of a log that this session knows as the peer's, the first entry of a transaction is new where neither an
-- id nor an entry of its place or behind is here; only if there is one, `mc.look_up_known` is asked. Of the ids that
-- follow each is looked for.
CREATE OR REPLACE FUNCTION mc.skip_known() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kind text := TG_ARGV[0];
    newest bigint;
    found record;
BEGIN
    IF kind = 'event' AND NEW.region = current_setting('mc.log_of_peer', true) THEN
        SELECT i.index INTO newest FROM mc.ledger_id i
        WHERE i.region = NEW.region ORDER BY i.index DESC LIMIT 1;
        IF NEW.index > newest AND NOT EXISTS (
            SELECT FROM mc.ledger_event e WHERE e.region = NEW.region AND e.index >= NEW.index)
        THEN
            PERFORM set_config('mc.new_in', NEW.region, true),
                set_config('mc.new_from', NEW.index::text, true);
            RETURN NEW;
        END IF;
    ELSIF kind = 'id' THEN
        IF NEW.region = current_setting('mc.new_in', true)
            AND NEW.index >= current_setting('mc.new_from', true)::bigint
            AND NOT EXISTS (
                SELECT FROM mc.ledger_id i WHERE i.region = NEW.region AND i.event_id = NEW.event_id)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    found := mc.look_up_known(kind, to_jsonb(NEW));
    IF NOT found.is_new THEN
        RETURN NULL;
    END IF;
    IF found.behind_all THEN
        PERFORM set_config('mc.log_of_peer', NEW.region, false),
            -- Planned once for a session, maybe while the tables are empty: each id is looked up all the same
            set_config('plan_cache_mode', 'force_generic_plan', false),
            set_config('enable_seqscan', 'off', false);
    END IF;
    RETURN NEW;
END $$;

-- As in 0054; what is told is read once where all of it is new. What it changes is found by its ids: a plan that is made
-- while the tables are empty, and kept, else reads every task for each set.
CREATE OR REPLACE FUNCTION mc.merge_tasks(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    taken text[];
    known int;
    back text[];
BEGIN
    WITH new AS MATERIALIZED (
        SELECT t.* FROM jsonb_to_recordset(c.body) AS t (id text, tenant text, context_id text, principal text,
            message_id text, request_digest text, state text, parts text, status_text text,
            governance text, flow text, accepted_at timestamptz, updated_at timestamptz, accepted_in text)
    ), added AS (
        INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts,
            status_text, governance, flow, created_at, updated_at)
        SELECT n.id, n.context_id, n.tenant, n.principal, n.message_id, n.request_digest, n.state,
            n.parts::json, n.status_text, n.governance::json, n.flow::json, n.accepted_at, n.updated_at
        FROM new n
        ON CONFLICT (id) DO NOTHING RETURNING id
    ), accepted AS (
        INSERT INTO mc.task_accepted (id, region)
        SELECT n.id, n.accepted_in FROM added JOIN new n USING (id) WHERE n.accepted_in <> of_own
        ON CONFLICT (id) DO UPDATE SET region = excluded.region
        WHERE task_accepted.region <> excluded.region
    )
    SELECT coalesce(array_agg(id), '{}') INTO taken FROM added;
    IF cardinality(taken) = jsonb_array_length(c.body) THEN
        RETURN;
    END IF;
    WITH new AS MATERIALIZED (
        SELECT t.*, coalesce((SELECT a.region FROM mc.task_accepted a WHERE a.id = t.id), of_own) AS known_in
        FROM jsonb_to_recordset(c.body) AS t (id text, tenant text, context_id text, principal text,
            message_id text, request_digest text, state text, parts text, status_text text,
            governance text, flow text, accepted_at timestamptz, updated_at timestamptz, accepted_in text)
        CROSS JOIN LATERAL (SELECT old.tenant FROM mc.task old WHERE old.id = t.id OFFSET 0) AS here
        WHERE t.id <> ALL (taken) AND here.tenant = t.tenant
    ), changed AS (
        UPDATE mc.task old SET context_id = new.context_id, principal = new.principal,
            request_digest = new.request_digest, state = new.state, parts = new.parts::json,
            status_text = new.status_text, governance = new.governance::json,
            flow = new.flow::json, created_at = new.accepted_at, updated_at = new.updated_at
        FROM new
        WHERE old.id = new.id AND old.id = ANY (ARRAY(SELECT id FROM new))
            AND ROW (mc.task_stage(new.state) = 3, old.created_at,
                     new.known_in COLLATE "C", mc.task_stage(new.state), new.updated_at,
                     md5(concat_ws(' ', new.parts, new.status_text, new.governance, new.flow,
                         new.context_id, new.principal, new.request_digest)) COLLATE "C")
              > ROW (mc.task_stage(old.state) = 3, new.accepted_at,
                     new.accepted_in COLLATE "C", mc.task_stage(old.state), old.updated_at,
                     md5(concat_ws(' ', old.parts::text, old.status_text, old.governance::text,
                         old.flow::text, old.context_id, old.principal, old.request_digest)) COLLATE "C")
        RETURNING old.id, new.accepted_in, new.known_in
    ), accepted AS (
        INSERT INTO mc.task_accepted (id, region)
        SELECT n.id, n.accepted_in FROM changed n WHERE n.accepted_in NOT IN (of_own, n.known_in)
        ON CONFLICT (id) DO UPDATE SET region = excluded.region
    )
    SELECT (SELECT count(*) FROM new), array_agg(id) FILTER (WHERE accepted_in = of_own AND known_in <> of_own)
    INTO known, back FROM changed;
    IF cardinality(taken) + known < jsonb_array_length(c.body) THEN
        RAISE EXCEPTION 'a task of this id is another tenant''s here';
    END IF;
    IF back IS NOT NULL THEN
        DELETE FROM mc.task_accepted a WHERE a.id = ANY (back);
    END IF;
END $$;

-- One task is a set of one
CREATE OR REPLACE FUNCTION mc.merge_task(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    c.body := jsonb_build_array(c.body || jsonb_build_object('id', c.key, 'tenant', c.tenant));
    PERFORM mc.merge_tasks(c);
END $$;

CREATE FUNCTION mc.begin_taking() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text[];
BEGIN
    CREATE OR REPLACE TRIGGER take BEFORE INSERT ON mc.region_change
        FOR EACH ROW EXECUTE FUNCTION mc.take_change();
    ALTER TABLE mc.region_change ENABLE REPLICA TRIGGER take;
    -- No function is entered for what follows, in a transaction, one entry that was behind all that is here
    CREATE OR REPLACE TRIGGER skip_known BEFORE INSERT ON mc.ledger_event FOR EACH ROW
        WHEN (CASE WHEN NEW.region = current_setting('mc.new_in', true)
            THEN NEW.index <= current_setting('mc.new_from', true)::bigint ELSE true END)
        EXECUTE FUNCTION mc.skip_known('event');
    ALTER TABLE mc.ledger_event ENABLE REPLICA TRIGGER skip_known;
    FOREACH one SLICE 1 IN ARRAY ARRAY[['ledger_id', 'id'], ['ledger_checkpoint', 'checkpoint']] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER skip_known BEFORE INSERT ON mc.%I '
            'FOR EACH ROW EXECUTE FUNCTION mc.skip_known(%L)', one[1], one[2]);
        EXECUTE format('ALTER TABLE mc.%I ENABLE REPLICA TRIGGER skip_known', one[1]);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION mc.begin_taking() FROM PUBLIC;

-- As in 0044
CREATE OR REPLACE FUNCTION mc.begin_replication(of_own text, of_peer text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text[];
BEGIN
    INSERT INTO mc.region_peer (own, peer) VALUES (of_own, of_peer)
    ON CONFLICT (single) DO UPDATE SET own = excluded.own, peer = excluded.peer;

    CREATE OR REPLACE TRIGGER tell_added AFTER INSERT ON mc.task
        REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mc.tell_tasks();
    CREATE OR REPLACE TRIGGER tell_changed AFTER UPDATE ON mc.task
        REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mc.tell_tasks();
    CREATE OR REPLACE TRIGGER tell_added AFTER INSERT ON mc.quotable
        REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mc.tell_quotations();
    CREATE OR REPLACE TRIGGER tell_peer AFTER INSERT OR UPDATE ON mc.credential
        FOR EACH ROW EXECUTE FUNCTION mc.tell_credential_row();
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['autonomy_switch', 'switch', 'scope'], ['break_glass', 'grant', 'id'],
        ['aggregate_charge', 'charge', 'number'], ['aggregate_query', 'query', 'id'],
        ['operation_resolved', 'resolution', 'id']]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER tell_peer AFTER INSERT OR UPDATE ON mc.%I '
            'FOR EACH ROW EXECUTE FUNCTION mc.tell_row(%L, %L)', one[1], one[2], one[3]);
    END LOOP;

    PERFORM mc.begin_taking();
END $$;

DO $$ BEGIN
    IF EXISTS (SELECT FROM mc.region_peer) THEN
        PERFORM mc.begin_taking();
    END IF;
END $$;
