-- What follows, in a transaction of the peer's log, one entry that was behind all that is here is taken by less. The ids of
-- what was recorded at once are looked for at once, where each was by itself; a trigger with a WHEN, which PostgreSQL
-- parses anew for each row, took more than the function; and a set is merged by one function that has settings, not three.

-- Of a log that this session knows as the peer's, the first entry of a transaction is new where neither an id nor an
-- entry of its place or behind is here, and so are those that follow; only else `mc.look_up_known` is asked.
CREATE FUNCTION mc.skip_known_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
    behind boolean;
    found record;
    said text;
BEGIN
    IF NEW.region = current_setting('mc.new_in', true) AND NEW.index > current_setting('mc.new_from', true)::bigint THEN
        RETURN NEW;
    END IF;
    IF NEW.region = current_setting('mc.log_of_peer', true) THEN
        SELECT i.index, EXISTS (SELECT FROM mc.ledger_event e WHERE e.region = NEW.region AND e.index >= NEW.index)
        INTO newest, behind FROM mc.ledger_id i
        WHERE i.region = NEW.region ORDER BY i.index DESC LIMIT 1;
        IF NEW.index > newest AND NOT behind THEN
            said := set_config('mc.new_in', NEW.region, true);
            said := set_config('mc.new_from', NEW.index::text, true);
            said := set_config('mc.new_ids', '', true);
            RETURN NEW;
        END IF;
    END IF;
    found := mc.look_up_known('event', to_jsonb(NEW));
    IF NOT found.is_new THEN
        RETURN NULL;
    END IF;
    IF found.behind_all THEN
        said := set_config('mc.log_of_peer', NEW.region, false);
        -- Planned once for a session, maybe while the tables are empty: each id is looked up all the same
        said := set_config('plan_cache_mode', 'force_generic_plan', false);
        said := set_config('enable_seqscan', 'off', false);
    END IF;
    RETURN NEW;
END $$;

-- Of the entries that were recorded with an id's, which came before their ids, none of the ids may be here
CREATE FUNCTION mc.skip_known_id() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text;
    here bigint;
BEGIN
    IF NEW.region = current_setting('mc.new_in', true)
        AND NEW.index >= current_setting('mc.new_from', true)::bigint
    THEN
        IF strpos(current_setting('mc.new_ids', true), E'\n' || NEW.event_id || E'\n') > 0 THEN
            RETURN NEW;
        END IF;
        SELECT E'\n' || string_agg(e.event_id, E'\n') || E'\n', count(i.index) INTO ids, here
        FROM mc.ledger_event e LEFT JOIN LATERAL (
            SELECT known.index FROM mc.ledger_id known
            WHERE known.region = e.region AND known.event_id = e.event_id OFFSET 0
        ) AS i ON true
        WHERE e.region = NEW.region AND e.index >= NEW.index AND e.recorded_at = NEW.recorded_at;
        IF here = 0 AND strpos(ids, E'\n' || NEW.event_id || E'\n') > 0 THEN
            ids := set_config('mc.new_ids', ids, true);
            RETURN NEW;
        END IF;
    END IF;
    IF (mc.look_up_known('id', to_jsonb(NEW))).is_new THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION mc.skip_known_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (mc.look_up_known('checkpoint', to_jsonb(NEW))).is_new THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION mc.skip_known_entry(), mc.skip_known_id(), mc.skip_known_checkpoint() FROM PUBLIC;

-- As in 0054, with what `mc.take_set` did: a set that cannot be merged is taken one by one, so that one bad row sets no
-- other aside
CREATE OR REPLACE FUNCTION mc.take_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A subscription's session plans once, maybe while the tables are empty: each row is looked up all the same
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    one jsonb;
BEGIN
    IF NEW.kind NOT IN ('tasks', 'quotations') OR jsonb_typeof(NEW.body) <> 'array'
        OR NOT (NEW.region = current_setting('mc.log_of_peer', true) OR mc.is_of_peer(NEW.region))
    THEN
        PERFORM mc.take_one(NEW);
        RETURN NULL;
    END IF;
    BEGIN
        IF NEW.kind = 'tasks' THEN
            PERFORM mc.merge_tasks(NEW);
        ELSE
            PERFORM mc.merge_quotations(NEW);
        END IF;
    EXCEPTION
        WHEN deadlock_detected OR serialization_failure OR lock_not_available OR insufficient_resources
            OR operator_intervention OR system_error THEN
            RAISE;
        WHEN OTHERS THEN
            FOR one IN SELECT e FROM jsonb_array_elements(NEW.body) AS e LOOP
                PERFORM mc.take_one(ROW (NEW.region, NEW.number, rtrim(NEW.kind, 's'), one ->> 'tenant',
                    one ->> 'id', one, NEW.written_at)::mc.region_change);
            END LOOP;
    END;
    RETURN NULL;
END $$;
-- The settings are those of whoever calls them
ALTER FUNCTION mc.merge_tasks(mc.region_change) RESET ALL;
ALTER FUNCTION mc.merge_quotations(mc.region_change) RESET ALL;

-- As in 0080
CREATE OR REPLACE FUNCTION mc.begin_taking() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text[];
BEGIN
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['region_change', 'take', 'take_change'], ['ledger_event', 'skip_known', 'skip_known_entry'],
        ['ledger_id', 'skip_known', 'skip_known_id'], ['ledger_checkpoint', 'skip_known', 'skip_known_checkpoint']]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER %I BEFORE INSERT ON mc.%I '
            'FOR EACH ROW EXECUTE FUNCTION mc.%I()', one[2], one[1], one[3]);
        EXECUTE format('ALTER TABLE mc.%I ENABLE REPLICA TRIGGER %I', one[1], one[2]);
    END LOOP;
END $$;

DO $$ BEGIN
    IF EXISTS (SELECT FROM mc.region_peer) THEN
        PERFORM mc.begin_taking();
    END IF;
END $$;
-- `mc.take_change` alone called it
-- squawk-ignore ban-drop-function
DROP FUNCTION mc.take_set(mc.region_change);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = 'mc.skip_known'::regproc) THEN
        DROP FUNCTION mc.skip_known();
    END IF;
END $$;
