-- What comes of the peer's log is looked up once for a transaction if it is behind all that is here: of the rows
-- that follow in it only an event's id is. The trigger is called for each row and so is plain: a function that
-- has settings or its owner's rights costs more to enter than what it does.

-- Whether a row is to be added, and whether all behind it in the log are new here; as 0054's `skip_known` before.
CREATE FUNCTION mc.look_up_known(kind text, told jsonb, OUT is_new boolean, OUT behind_all boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    of_region text := told ->> 'region';
    of_number bigint := coalesce(told ->> 'index', told ->> 'size')::bigint;
    newest bigint;
    same boolean;
    why text := 'another history of this region is here';
BEGIN
    IF NOT mc.is_of_peer(of_region) THEN
        same := false;
        why := 'the peer told it in the name of another region';
    ELSIF kind = 'event' THEN
        SELECT e.index INTO newest FROM mc.ledger_event e
        WHERE e.region = of_region ORDER BY e.index DESC LIMIT 1;
        IF of_number <= newest THEN
            SELECT e.leaf_hash = (told ->> 'leaf_hash')::bytea INTO same FROM mc.ledger_event e
            WHERE e.region = of_region AND e.index = of_number LIMIT 1;
        END IF;
    ELSIF kind = 'id' THEN
        SELECT i.index INTO newest FROM mc.ledger_id i
        WHERE i.region = of_region ORDER BY i.index DESC LIMIT 1;
        SELECT i.index = of_number INTO same FROM mc.ledger_id i
        WHERE i.region = of_region AND i.event_id = told ->> 'event_id';
        IF same IS NULL AND of_number <= newest THEN
            SELECT false INTO same FROM mc.ledger_id i
            WHERE i.region = of_region AND i.index = of_number;
        END IF;
    ELSE
        SELECT k.note = told ->> 'note' INTO same FROM mc.ledger_checkpoint k
        WHERE k.region = of_region AND k.size = of_number;
    END IF;
    is_new := same IS NULL;
    behind_all := is_new AND kind <> 'checkpoint' AND (of_number <= newest) IS NOT TRUE;
    IF NOT same THEN
        INSERT INTO mc.region_change_refused (region, number, kind, tenant, key, body, written_at, error)
        SELECT of_region, CASE WHEN own THEN of_number ELSE -1 END, look_up_known.kind, 'PLATFORM',
            CASE WHEN own THEN of_number::text ELSE of_region END, told, now(), why
        FROM mc.is_of_peer(of_region) AS own;
    END IF;
END $$;
REVOKE ALL ON FUNCTION mc.look_up_known(text, jsonb) FROM PUBLIC;
DO $$ BEGIN
    IF to_regrole('mc_replicator') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION mc.look_up_known(text, jsonb) TO mc_replicator;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION mc.skip_known() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    IF TG_ARGV[0] = 'event' THEN
        IF NEW.region = current_setting('mc.new_events_of', true)
            AND NEW.index > current_setting('mc.new_events_from', true)::bigint
        THEN
            RETURN NEW;
        END IF;
    ELSIF TG_ARGV[0] = 'id' THEN
        IF NEW.region = current_setting('mc.new_ids_of', true)
            AND NEW.index > current_setting('mc.new_ids_from', true)::bigint
            AND NOT EXISTS (SELECT FROM mc.ledger_id i WHERE i.region = NEW.region AND i.event_id = NEW.event_id)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    found := mc.look_up_known(TG_ARGV[0], to_jsonb(NEW));
    IF NOT found.is_new THEN
        RETURN NULL;
    END IF;
    IF found.behind_all THEN
        PERFORM set_config('mc.new_' || TG_ARGV[0] || 's_of', NEW.region, true),
            set_config('mc.new_' || TG_ARGV[0] || 's_from', NEW.index::text, true),
            -- Planned once for a session, maybe while the tables are empty: each id is looked up all the same
            set_config('plan_cache_mode', 'force_generic_plan', true),
            set_config('enable_seqscan', 'off', true);
    END IF;
    RETURN NEW;
END $$;
