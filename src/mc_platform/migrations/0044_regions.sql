-- Two active regions (docs/explanation/replication.md). What a region must tell its peer beside its log is
-- a row of `mc.region_change`: written by triggers, in the transaction of the thing itself. The triggers
-- stand only where `mc.begin_replication` was called (`mcctl replication setup`), so one region pays
-- for none of this. Rows are only added; whoever merges them needs no order and no uniqueness, so
-- nothing here can stall a subscription.

CREATE TABLE mc.region_peer (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    own      text NOT NULL CHECK (own ~ '^[a-z][a-z0-9-]{0,30}$'),
    peer     text NOT NULL CHECK (peer ~ '^[a-z][a-z0-9-]{0,30}$' AND peer <> own),
    added_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE mc.region_change (
    region     text NOT NULL,
    number     bigint GENERATED ALWAYS AS IDENTITY,
    kind       text NOT NULL,
    tenant     text NOT NULL,
    key        text NOT NULL,
    body       jsonb NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX region_change_written ON mc.region_change (written_at);

-- What of the peer's could not be merged here, and why; `error` names no value.
CREATE TABLE mc.region_change_refused (
    region     text NOT NULL,
    number     bigint NOT NULL,
    kind       text NOT NULL,
    tenant     text NOT NULL,
    key        text NOT NULL,
    body       jsonb NOT NULL,
    written_at timestamptz NOT NULL,
    error      text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Only (region, at) travels: `received_at` is the time of whoever has the row.
CREATE TABLE mc.region_heartbeat (
    region      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX region_heartbeat_newest ON mc.region_heartbeat (region, at DESC);

-- Where a task was accepted, if not here; when, is its `created_at`.
CREATE TABLE mc.task_accepted (
    id     text PRIMARY KEY,
    region text NOT NULL
);

-- The newest switch of each scope of the peer: what either region has halted is halted.
CREATE TABLE mc.peer_switch (
    region    text NOT NULL,
    scope     text NOT NULL,
    number    bigint NOT NULL,
    id        uuid NOT NULL,
    halted    boolean NOT NULL,
    reason    text NOT NULL,
    principal text NOT NULL,
    source    text NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (region, scope)
);

-- Which change of a credential holds: the later, then that of the region whose name is greater.
CREATE TABLE mc.credential_version (
    key_id text PRIMARY KEY,
    at     timestamptz NOT NULL,
    region text NOT NULL
);

-- Charges of the peer that were added here: each once, whatever comes twice.
CREATE TABLE mc.peer_charge (
    region     text NOT NULL,
    number     bigint NOT NULL,
    charged_at timestamptz NOT NULL,
    PRIMARY KEY (region, number, charged_at)
);

GRANT SELECT ON mc.region_peer, mc.peer_switch TO mc_service, mc_recorder;

-- ---------------------------------------------------------------------------------------------
-- What is told

-- Each column by itself and as text: `parts` may hold what jsonb cannot (\u0000).
CREATE FUNCTION mc.task_told(t mc.task, own text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'context_id', t.context_id, 'principal', t.principal, 'message_id', t.message_id,
        'request_digest', t.request_digest, 'state', t.state, 'parts', t.parts::text,
        'status_text', t.status_text, 'governance', t.governance::text, 'flow', t.flow::text,
        'accepted_at', t.created_at, 'updated_at', t.updated_at,
        'accepted_in', coalesce((SELECT a.region FROM mc.task_accepted a WHERE a.id = t.id), own))
$$;

CREATE FUNCTION mc.tell_tasks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT p.own, 'task', t.tenant, t.id, mc.task_told(ROW(t.*)::mc.task, p.own)
    FROM written AS t CROSS JOIN mc.region_peer AS p;
    RETURN NULL;
END $$;

CREATE FUNCTION mc.tell_quotations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT p.own, 'quotation', q.tenant, q.task_id,
        jsonb_build_object('week', q.week, 'digests', jsonb_agg(q.digest ORDER BY q.digest))
    FROM written AS q CROSS JOIN mc.region_peer AS p
    GROUP BY p.own, q.tenant, q.task_id, q.week;
    RETURN NULL;
END $$;

-- A row of any other table, as it is: the kind, and the column that is its key, are arguments.
CREATE FUNCTION mc.tell_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    body jsonb := to_jsonb(NEW);
BEGIN
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT own, TG_ARGV[0], coalesce(body ->> 'tenant', 'PLATFORM'), body ->> TG_ARGV[1], body
    FROM mc.region_peer;
    RETURN NULL;
END $$;

-- A change here is later than all that is known here, whatever the clocks say.
CREATE FUNCTION mc.tell_credential_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    version mc.credential_version;
BEGIN
    INSERT INTO mc.credential_version AS held (key_id, at, region)
    SELECT NEW.key_id, clock_timestamp(), own FROM mc.region_peer
    ON CONFLICT (key_id) DO UPDATE SET
        at = greatest(excluded.at, held.at + interval '1 microsecond'), region = excluded.region
    RETURNING * INTO version;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT own, 'credential', NEW.tenant, NEW.key_id,
        to_jsonb(NEW) || jsonb_build_object('changed_at', version.at, 'changed_in', version.region)
    FROM mc.region_peer;
    RETURN NULL;
END $$;

-- ---------------------------------------------------------------------------------------------
-- How it is merged: by rules that do not depend on the order, and are the same in both regions.
-- Each keeps the greater of what it has and what comes (a join), so changes may come late, twice, and
-- in any order. docs/explanation/replication.md says each rule in words.

CREATE FUNCTION mc.task_stage(state text) RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN state IN ('TASK_STATE_COMPLETED', 'TASK_STATE_FAILED', 'TASK_STATE_CANCELED',
                               'TASK_STATE_REJECTED') THEN 3
        WHEN state = 'TASK_STATE_SUBMITTED' THEN 1 ELSE 2 END
$$;

CREATE FUNCTION mc.merge_task(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own  text := (SELECT p.own FROM mc.region_peer p);
    old  mc.task;
    new  jsonb := c.body;
    in_  text := c.body ->> 'accepted_in';
    at   timestamptz := c.body ->> 'accepted_at';
    seen timestamptz := c.body ->> 'updated_at';
    old_in text;
BEGIN
    INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts,
        status_text, governance, flow, created_at, updated_at)
    VALUES (c.key, new ->> 'context_id', c.tenant, new ->> 'principal', new ->> 'message_id',
        new ->> 'request_digest', new ->> 'state', (new ->> 'parts')::json, new ->> 'status_text',
        (new ->> 'governance')::json, (new ->> 'flow')::json, at, seen)
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO STRICT old FROM mc.task t WHERE t.id = c.key AND t.tenant = c.tenant FOR UPDATE;
        old_in := coalesce((SELECT a.region FROM mc.task_accepted a WHERE a.id = c.key), own);
        -- An ended task before an open one; the acceptance that was earlier; what came of it later.
        IF NOT ROW (mc.task_stage(new ->> 'state') = 3, old.created_at, old_in COLLATE "C",
                    mc.task_stage(new ->> 'state'), seen,
                    md5(concat_ws(' ', new ->> 'parts', new ->> 'status_text', new ->> 'governance',
                        new ->> 'flow', new ->> 'context_id', new ->> 'principal',
                        new ->> 'request_digest')) COLLATE "C")
            > ROW (mc.task_stage(old.state) = 3, at, in_ COLLATE "C",
                   mc.task_stage(old.state), old.updated_at,
                   md5(concat_ws(' ', old.parts::text, old.status_text, old.governance::text,
                       old.flow::text, old.context_id, old.principal, old.request_digest)) COLLATE "C")
        THEN
            RETURN;
        END IF;
        UPDATE mc.task SET context_id = new ->> 'context_id', principal = new ->> 'principal',
            request_digest = new ->> 'request_digest', state = new ->> 'state',
            parts = (new ->> 'parts')::json, status_text = new ->> 'status_text',
            governance = (new ->> 'governance')::json, flow = (new ->> 'flow')::json,
            created_at = at, updated_at = seen
        WHERE id = c.key;
    END IF;
    IF in_ = own THEN
        DELETE FROM mc.task_accepted WHERE id = c.key;
    ELSE
        INSERT INTO mc.task_accepted (id, region) VALUES (c.key, in_)
        ON CONFLICT (id) DO UPDATE SET region = excluded.region;
    END IF;
END $$;

CREATE FUNCTION mc.merge_quotation(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.quotable AS old (tenant, digest, task_id, week)
    SELECT c.tenant, digest::bigint, c.key, (c.body ->> 'week')::date
    FROM jsonb_array_elements_text(c.body -> 'digests') AS digest
    ON CONFLICT (digest, tenant, week) DO UPDATE SET task_id = excluded.task_id
    WHERE old.task_id COLLATE "C" > excluded.task_id COLLATE "C"
$$;

CREATE FUNCTION mc.merge_switch(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.peer_switch AS old
        (region, scope, number, id, halted, reason, principal, source, at)
    SELECT c.region, s.scope, s.number, s.id, s.halted, s.reason, s.principal, s.source, s.at
    FROM jsonb_populate_record(NULL::mc.autonomy_switch, c.body) AS s
    ON CONFLICT (region, scope) DO UPDATE SET number = excluded.number, id = excluded.id,
        halted = excluded.halted, reason = excluded.reason, principal = excluded.principal,
        source = excluded.source, at = excluded.at
    WHERE (excluded.at, excluded.number) > (old.at, old.number)
$$;

-- Who an administrator has revoked stays so, an end that came earlier holds; of all else the later change.
CREATE FUNCTION mc.merge_credential(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new mc.credential := jsonb_populate_record(NULL::mc.credential, c.body);
    old mc.credential;
    version mc.credential_version;
    later mc.credential;
BEGIN
    version := ROW (new.key_id, c.body ->> 'changed_at', c.body ->> 'changed_in');
    INSERT INTO mc.credential SELECT new.* ON CONFLICT (key_id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO STRICT old FROM mc.credential o WHERE o.key_id = new.key_id FOR UPDATE;
        IF old.secret_sha256 <> new.secret_sha256 THEN
            RAISE EXCEPTION 'a credential of this key id has another secret here';
        END IF;
        later := CASE WHEN EXISTS (SELECT FROM mc.credential_version v WHERE v.key_id = new.key_id
                AND (v.at, v.region COLLATE "C") >= (version.at, version.region COLLATE "C"))
            THEN old ELSE new END;
        UPDATE mc.credential SET tenant = later.tenant, principal = later.principal,
            role = later.role, scopes = later.scopes, origin = later.origin,
            created_at = least(old.created_at, new.created_at),
            expires_at = least(old.expires_at, new.expires_at),
            (revoked_at, revoked_by) = (
                SELECT ended.revoked_at, ended.revoked_by FROM (
                    VALUES (old.revoked_at, old.revoked_by, 1), (new.revoked_at, new.revoked_by, 1),
                        (later.revoked_at, NULL, 2)
                ) AS ended (revoked_at, revoked_by, preference)
                WHERE ended.revoked_by IS NOT NULL OR ended.preference = 2
                ORDER BY ended.preference, ended.revoked_at, ended.revoked_by COLLATE "C" LIMIT 1)
        WHERE key_id = new.key_id;
        IF later IS NOT DISTINCT FROM old THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO mc.credential_version AS v SELECT version.*
    ON CONFLICT (key_id) DO UPDATE SET at = excluded.at, region = excluded.region
    WHERE (v.at, v.region COLLATE "C") < (excluded.at, excluded.region COLLATE "C");
END $$;

-- Of two approvals the earlier holds, and of two ends; whatever is not said yet is taken.
CREATE FUNCTION mc.merge_grant(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.break_glass AS old
    SELECT * FROM jsonb_populate_record(NULL::mc.break_glass, c.body)
    ON CONFLICT (id) DO UPDATE SET
        (approved_at, approved_by, expires_at) = (
            SELECT a.at, a.by, a.until FROM (VALUES (old.approved_at, old.approved_by, old.expires_at),
                (excluded.approved_at, excluded.approved_by, excluded.expires_at)) AS a (at, by, until)
            ORDER BY a.at NULLS LAST, a.by COLLATE "C" LIMIT 1),
        (ended_at, ended_by) = (
            SELECT e.at, e.by FROM (VALUES (old.ended_at, old.ended_by),
                (excluded.ended_at, excluded.ended_by)) AS e (at, by)
            ORDER BY e.at NULLS LAST, e.by COLLATE "C" LIMIT 1)
$$;

CREATE FUNCTION mc.merge_charge(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.aggregate_turn (tenant, dataset) SELECT c.tenant, c.body ->> 'dataset'
    ON CONFLICT DO NOTHING;
    WITH fresh AS (
        INSERT INTO mc.peer_charge (region, number, charged_at)
        SELECT c.region, s.number, s.charged_at
        FROM jsonb_populate_record(NULL::mc.aggregate_charge, c.body) AS s
        ON CONFLICT DO NOTHING RETURNING number
    )
    INSERT INTO mc.aggregate_charge (tenant, dataset, principal, micro_epsilon, charged_at)
    SELECT s.tenant, s.dataset, s.principal, s.micro_epsilon, s.charged_at
    FROM jsonb_populate_record(NULL::mc.aggregate_charge, c.body) AS s JOIN fresh USING (number)
$$;

-- Only the region that was asked writes a query's row, so what comes of it later is further on.
CREATE FUNCTION mc.merge_query(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.aggregate_turn (tenant, dataset) SELECT c.tenant, c.body ->> 'dataset'
    ON CONFLICT DO NOTHING;
    INSERT INTO mc.aggregate_query AS old (id, tenant, dataset, principal, fingerprint, condition,
        state, selection, answer, asked_at, ended_at)
    SELECT s.id, s.tenant, s.dataset, s.principal, s.fingerprint, s.condition, s.state, s.selection,
        s.answer, s.asked_at, s.ended_at
    FROM jsonb_populate_record(NULL::mc.aggregate_query, c.body) AS s
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, selection = excluded.selection,
        answer = excluded.answer, ended_at = excluded.ended_at
    WHERE old.state = 'pending'
$$;

CREATE FUNCTION mc.merge_change(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE c.kind
        WHEN 'task' THEN PERFORM mc.merge_task(c);
        WHEN 'quotation' THEN PERFORM mc.merge_quotation(c);
        WHEN 'switch' THEN PERFORM mc.merge_switch(c);
        WHEN 'credential' THEN PERFORM mc.merge_credential(c);
        WHEN 'grant' THEN PERFORM mc.merge_grant(c);
        WHEN 'charge' THEN PERFORM mc.merge_charge(c);
        WHEN 'query' THEN PERFORM mc.merge_query(c);
        WHEN 'resolution' THEN
            INSERT INTO mc.operation_resolved (id) SELECT id FROM mc.task WHERE id = c.key
            ON CONFLICT DO NOTHING;
        ELSE RAISE EXCEPTION 'this version does not know the kind';
    END CASE;
END $$;

-- What is about the moment is tried again by the subscription; what is about the row is set aside.
CREATE FUNCTION mc.take_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A subscription's session plans once, maybe while the tables are empty: each row is looked up all the same
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    place text;
BEGIN
    PERFORM mc.merge_change(NEW);
    RETURN NULL;
EXCEPTION
    WHEN deadlock_detected OR serialization_failure OR lock_not_available OR insufficient_resources
        OR operator_intervention OR system_error THEN
        RAISE;
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS place = CONSTRAINT_NAME;
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, NEW.number, NEW.kind, NEW.tenant, NEW.key, NEW.body, NEW.written_at,
            concat_ws(' ', SQLSTATE, nullif(place, ''),
                CASE WHEN SQLSTATE = 'P0001' THEN SQLERRM END));
        RETURN NULL;
END $$;

-- A row of the peer's log that is here already is not added twice; one that is here with other
-- content is another history under the same name, and is set aside.
CREATE FUNCTION mc.skip_known() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    same boolean;
    number bigint;
BEGIN
    IF TG_ARGV[0] = 'event' THEN
        SELECT e.leaf_hash = NEW.leaf_hash INTO same FROM mc.ledger_event e
        WHERE e.region = NEW.region AND e.index = NEW.index LIMIT 1;
        number := NEW.index;
    ELSIF TG_ARGV[0] = 'id' THEN
        SELECT i.event_id = NEW.event_id AND i.index = NEW.index INTO same FROM mc.ledger_id i
        WHERE i.region = NEW.region AND (i.event_id = NEW.event_id OR i.index = NEW.index) LIMIT 1;
        number := NEW.index;
    ELSE
        SELECT k.note = NEW.note INTO same FROM mc.ledger_checkpoint k
        WHERE k.region = NEW.region AND k.size = NEW.size;
        number := NEW.size;
    END IF;
    IF same IS NULL THEN
        RETURN NEW;
    END IF;
    IF NOT same THEN
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, number, TG_ARGV[0], 'PLATFORM', number::text, to_jsonb(NEW), now(),
            'another history of this region is here');
    END IF;
    RETURN NULL;
END $$;

-- ---------------------------------------------------------------------------------------------
-- What an administrator calls

-- As in 0002; and what carries the peer's rows, which needs the right on each partition, gets it.
CREATE OR REPLACE FUNCTION mc.ensure_ledger_partitions() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made text;
BEGIN
    FOR ahead IN 0..1 LOOP
        made := mc.make_ledger_partition(now() + make_interval(months => ahead));
        IF made IS NOT NULL THEN
            IF to_regrole('mc_replicator') IS NOT NULL THEN
                EXECUTE format('GRANT INSERT ON mc.%I TO mc_replicator', made);
            END IF;
            RETURN NEXT made;
        END IF;
    END LOOP;
END $$;

-- What carries the peer's rows may add to what is published, and to no other table.
CREATE FUNCTION mc.admit_replicator() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name regclass;
BEGIN
    GRANT USAGE ON SCHEMA mc TO mc_replicator;
    GRANT SELECT, INSERT ON mc.ledger_event, mc.ledger_id, mc.ledger_checkpoint, mc.region_change,
        mc.region_heartbeat TO mc_replicator;
    FOR name IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'mc.ledger_event'::regclass LOOP
        EXECUTE format('GRANT INSERT ON %s TO mc_replicator', name);
    END LOOP;
END $$;

-- Begins to tell, and to take. Triggers that tell fire for what this region writes, those that take only
-- for what a subscription brings: so nothing goes round.
CREATE FUNCTION mc.begin_replication(of_own text, of_peer text) RETURNS void
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

    CREATE OR REPLACE TRIGGER take AFTER INSERT ON mc.region_change
        FOR EACH ROW EXECUTE FUNCTION mc.take_change();
    ALTER TABLE mc.region_change ENABLE REPLICA TRIGGER take;
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['ledger_event', 'event'], ['ledger_id', 'id'], ['ledger_checkpoint', 'checkpoint']]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER skip_known BEFORE INSERT ON mc.%I '
            'FOR EACH ROW EXECUTE FUNCTION mc.skip_known(%L)', one[1], one[2]);
        EXECUTE format('ALTER TABLE mc.%I ENABLE REPLICA TRIGGER skip_known', one[1]);
    END LOOP;
END $$;

-- Tells what is there, as if it had just been written: what was before the peer, or what a lost slot
-- took along. Merging twice is harmless. Tasks in batches by id, all else at the first call; returns
-- the last task's id, NULL when all are told.
CREATE FUNCTION mc.tell_what_is_there(behind text, most int) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own text := (SELECT p.own FROM mc.region_peer p);
    ids text[];
BEGIN
    IF behind = '' THEN
        INSERT INTO mc.credential_version (key_id, at, region)
        SELECT key_id, created_at, own FROM mc.credential ON CONFLICT DO NOTHING;
        INSERT INTO mc.region_change (region, kind, tenant, key, body)
        SELECT own, 'credential', c.tenant, c.key_id, to_jsonb(c)
            || jsonb_build_object('changed_at', v.at, 'changed_in', v.region)
        FROM mc.credential c JOIN mc.credential_version v USING (key_id)
        UNION ALL
        SELECT own, 'switch', 'PLATFORM', s.scope, to_jsonb(s) FROM (
            SELECT DISTINCT ON (scope) * FROM mc.autonomy_switch ORDER BY scope, number DESC) AS s
        UNION ALL SELECT own, 'grant', g.tenant, g.id::text, to_jsonb(g) FROM mc.break_glass g
        UNION ALL
        -- Not the peer's own, which stand here under other numbers
        SELECT own, 'charge', a.tenant, a.number::text, to_jsonb(a) FROM mc.aggregate_charge a
        WHERE NOT EXISTS (SELECT FROM mc.peer_charge p WHERE p.charged_at = a.charged_at)
        UNION ALL SELECT own, 'query', q.tenant, q.id::text, to_jsonb(q) FROM mc.aggregate_query q
        UNION ALL
        SELECT own, 'quotation', q.tenant, q.task_id,
            jsonb_build_object('week', q.week, 'digests', jsonb_agg(q.digest))
        FROM mc.quotable q GROUP BY q.tenant, q.task_id, q.week;
    END IF;
    ids := ARRAY(SELECT t.id FROM mc.task t WHERE t.id > behind ORDER BY t.id LIMIT most);
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    SELECT own, 'task', t.tenant, t.id, mc.task_told(t, own) FROM mc.task t WHERE t.id = ANY (ids)
    UNION ALL
    SELECT own, 'resolution', 'PLATFORM', r.id, to_jsonb(r) FROM mc.operation_resolved r
    WHERE r.id = ANY (ids);
    RETURN ids[most];
END $$;

-- Tries what was refused again; returns how many are left.
CREATE FUNCTION mc.merge_refused() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT ctid AS place, * FROM mc.region_change_refused
        WHERE kind NOT IN ('event', 'id', 'checkpoint') ORDER BY refused_at FOR UPDATE
    LOOP
        BEGIN
            PERFORM mc.merge_change(ROW (one.region, one.number, one.kind, one.tenant, one.key,
                one.body, one.written_at)::mc.region_change);
            DELETE FROM mc.region_change_refused WHERE ctid = one.place;
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN (SELECT count(*) FROM mc.region_change_refused);
END $$;

-- One digest of each kind of state that both regions have: equal when they have converged.
CREATE FUNCTION mc.replicated_state() RETURNS TABLE (kind text, rows bigint, digest text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH peer AS (SELECT own FROM mc.region_peer), state (kind, key, content) AS (
        SELECT 'task', t.id, mc.task_told(t, own)::text FROM mc.task t CROSS JOIN peer
        UNION ALL SELECT 'quotation', concat_ws(' ', q.tenant, q.digest, q.week), q.task_id
        FROM mc.quotable q
        UNION ALL SELECT 'credential', c.key_id, to_jsonb(c)::text FROM mc.credential c
        UNION ALL SELECT 'grant', g.id::text, to_jsonb(g)::text FROM mc.break_glass g
        UNION ALL
        SELECT 'charge', concat_ws(' ', a.tenant, a.dataset, extract(epoch FROM a.charged_at)),
            concat_ws(' ', a.principal, a.micro_epsilon) FROM mc.aggregate_charge a
        UNION ALL SELECT 'query', q.id::text, (to_jsonb(q) - 'number')::text FROM mc.aggregate_query q
        UNION ALL SELECT 'resolution', r.id, '' FROM mc.operation_resolved r
        UNION ALL
        SELECT 'switch', concat_ws(' ', own, s.scope), concat_ws(' ', s.id, s.halted) FROM peer CROSS JOIN (
            SELECT DISTINCT ON (scope) * FROM mc.autonomy_switch ORDER BY scope, number DESC) AS s
        UNION ALL
        SELECT 'switch', concat_ws(' ', s.region, s.scope), concat_ws(' ', s.id, s.halted)
        FROM mc.peer_switch s
        UNION ALL SELECT 'ledger', concat_ws(' ', i.region, i.index), i.event_id FROM mc.ledger_id i
    )
    SELECT s.kind, count(*), md5(string_agg(md5(concat_ws(' ', s.key, s.content)), ''
        ORDER BY s.key COLLATE "C", s.content COLLATE "C"))
    FROM state s GROUP BY s.kind ORDER BY s.kind
$$;

-- ---------------------------------------------------------------------------------------------
-- What the service calls

-- A heartbeat of this region, if the last is a second old, and how far the peer is behind and ahead:
-- `lag_s` is how long the newest heartbeat of the peer took to come here, or by how much the next is late.
-- No row: there is no peer. Rows that are of no use any more go now and then, a few thousand at once.
CREATE FUNCTION mc.beat(OUT peer text, OUT lag_s float8, OUT retained_bytes bigint, OUT refused bigint,
    OUT told_bytes_behind bigint)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own text;
    since timestamptz;
BEGIN
    SELECT p.own, p.peer, p.added_at INTO own, peer, since FROM mc.region_peer p;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF pg_try_advisory_xact_lock(7219005313406) THEN
        INSERT INTO mc.region_heartbeat (region)
        SELECT own WHERE NOT EXISTS (SELECT FROM mc.region_heartbeat h
            WHERE h.region = own AND h.at > clock_timestamp() - interval '900 milliseconds');
        IF random() < 0.02 THEN
            DELETE FROM mc.region_heartbeat WHERE at < clock_timestamp() - interval '1 hour';
            DELETE FROM mc.region_change WHERE ctid = ANY (ARRAY(SELECT ctid FROM mc.region_change
                WHERE written_at < clock_timestamp() - interval '1 day' LIMIT 20000));
        END IF;
    END IF;
    SELECT greatest(extract(epoch FROM h.received_at - h.at),
            extract(epoch FROM clock_timestamp() - h.at) - 1.5, 0)
    INTO lag_s FROM mc.region_heartbeat h WHERE h.region = beat.peer ORDER BY h.at DESC LIMIT 1;
    lag_s := coalesce(lag_s, extract(epoch FROM clock_timestamp() - since));
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn),
        pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)
    INTO retained_bytes, told_bytes_behind
    FROM pg_replication_slots s WHERE s.slot_name = 'mc_' || replace(beat.peer, '-', '_');
    SELECT count(*) INTO refused FROM mc.region_change_refused;
    RETURN NEXT;
END $$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOR name IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'mc'::regnamespace AND p.proname IN (
        'task_told', 'tell_tasks', 'tell_quotations', 'tell_row', 'tell_credential_row', 'task_stage',
        'merge_task', 'merge_quotation', 'merge_switch', 'merge_credential', 'merge_grant',
        'merge_charge', 'merge_query', 'merge_change', 'take_change', 'skip_known',
        'begin_replication', 'admit_replicator', 'tell_what_is_there', 'merge_refused', 'replicated_state', 'beat')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
    GRANT EXECUTE ON FUNCTION mc.beat() TO mc_recorder;
END $$;
