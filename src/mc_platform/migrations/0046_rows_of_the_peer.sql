-- A peer tells of itself alone. What it publishes is for it to choose, so whoever owns its database could
-- publish rows in this region's name: entries of this region's log, which it signs, and changes that no one
-- here made. Such rows are set aside as others are that cannot be merged; all else is as in 0044.

-- Of one of its logs, too: an epoch's is PEER/eN
CREATE FUNCTION mc.is_of_peer(name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM mc.region_peer p WHERE name = p.peer OR name LIKE p.peer || '/e%')
$$;
REVOKE ALL ON FUNCTION mc.is_of_peer(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION mc.merge_change(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT mc.is_of_peer(c.region) THEN
        RAISE EXCEPTION 'the peer told it in the name of another region';
    END IF;
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

CREATE OR REPLACE FUNCTION mc.skip_known() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    same boolean;
    number bigint;
BEGIN
    IF NOT mc.is_of_peer(NEW.region) THEN
        INSERT INTO mc.region_change_refused
            (region, number, kind, tenant, key, body, written_at, error)
        VALUES (NEW.region, -1, TG_ARGV[0], 'PLATFORM', NEW.region, to_jsonb(NEW), now(),
            'the peer told it in the name of another region');
        RETURN NULL;
    END IF;
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
