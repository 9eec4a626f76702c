-- Homes without an arbiter: each region keeps them in its own `mc_home` (0048), and tells its peer each change as
-- it tells all else (0044). A person decides; no region takes a home by itself. A region makes terms of its own
-- parity alone, so no term is of two homes, and of what both know the highest holds, in whatever order it comes.

-- What the peer told is written by its subscription, for which ordinary triggers do not fire
ALTER TABLE mc_home.home ENABLE ALWAYS TRIGGER keep_term;
ALTER TABLE mc_home.home ENABLE ALWAYS TRIGGER note_move;
CREATE TRIGGER tell_peer AFTER INSERT OR UPDATE ON mc_home.home
    FOR EACH ROW EXECUTE FUNCTION mc.tell_row('home', 'tenant');

-- Odd terms are of the region whose name is the lesser
CREATE FUNCTION mc_home.parity(of_region text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN of_region COLLATE "C" = least(p.own COLLATE "C", p.peer COLLATE "C") THEN 1 ELSE 0 END
    FROM mc.region_peer p WHERE of_region IN (p.own, p.peer)
$$;

-- This region and its peer, each with the time in seconds since it was last heard; none: there is no peer
CREATE FUNCTION mc_home.regions_here() RETURNS TABLE (region text, age_s float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.own, extract(epoch FROM clock_timestamp() - coalesce(l.renewed_at, p.added_at))::float8
    FROM mc.region_peer p LEFT JOIN mc_home.lease l ON l.region = p.own
    UNION ALL
    SELECT p.peer, extract(epoch FROM clock_timestamp() - coalesce((SELECT h.received_at
        FROM mc.region_heartbeat h WHERE h.region = p.peer ORDER BY h.at DESC LIMIT 1), p.added_at))::float8
    FROM mc.region_peer p ORDER BY 1
$$;

-- Gives a home up for the peer, for good: the peer may have it before whoever asks again knows of that
CREATE FUNCTION mc_home.give_up(of_tenant text, held_term bigint, target text, who text, why text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mc_home.home SET bound_for = target, principal = who, reason = why
    FROM mc.region_peer p
    WHERE tenant = of_tenant AND term = held_term AND bound_for IS NULL AND region = p.own AND target = p.peer;
    RETURN FOUND;
END $$;

-- Makes this region the home, whatever the other one does; `known_term` 0: no home is known
CREATE FUNCTION mc_home.seize(of_tenant text, by_region text, known_term bigint, who text, why text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next_term bigint := known_term + CASE WHEN (known_term + 1) % 2 = mc_home.parity(by_region) THEN 1 ELSE 2 END;
BEGIN
    INSERT INTO mc_home.home AS h (tenant, region, term, principal, reason)
    SELECT of_tenant, p.own, next_term, who, why FROM mc.region_peer p WHERE p.own = by_region
    ON CONFLICT (tenant) DO UPDATE SET region = excluded.region, term = excluded.term, bound_for = NULL,
        principal = excluded.principal, reason = excluded.reason, moved_at = clock_timestamp()
    WHERE h.term = known_term;
    RETURN FOUND;
END $$;

-- The higher term holds; in one term a home that was given up stays so
CREATE FUNCTION mc_home.merge_home(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told mc_home.home := jsonb_populate_record(NULL::mc_home.home, c.body);
    known bigint := coalesce((SELECT h.term FROM mc_home.home h WHERE h.tenant = c.tenant), 0);
BEGIN
    IF told.tenant IS DISTINCT FROM c.tenant OR told.tenant IS DISTINCT FROM c.key
        OR mc_home.parity(told.region) IS NULL
        OR (told.bound_for IS NOT NULL AND (told.bound_for = told.region OR mc_home.parity(told.bound_for) IS NULL))
    THEN
        RAISE EXCEPTION 'the home is of neither region';
    ELSIF told.term % 2 IS DISTINCT FROM mc_home.parity(told.region) THEN
        RAISE EXCEPTION 'the term is none of that region';
    ELSIF told.term > known + 1000000 THEN  -- terms must not run out
        RAISE EXCEPTION 'the term is too far ahead';
    END IF;
    INSERT INTO mc_home.home AS h SELECT told.*
    ON CONFLICT (tenant) DO UPDATE SET region = excluded.region, term = excluded.term,
        bound_for = excluded.bound_for, principal = excluded.principal, reason = excluded.reason,
        moved_at = excluded.moved_at
    WHERE (excluded.term, excluded.bound_for IS NOT NULL) > (h.term, h.bound_for IS NOT NULL);
END $$;

-- Tells the homes that are here as if they had just been written
CREATE FUNCTION mc_home.tell_homes() RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH told AS (
        INSERT INTO mc.region_change (region, kind, tenant, key, body)
        SELECT p.own, 'home', h.tenant, h.tenant, to_jsonb(h) FROM mc_home.home h CROSS JOIN mc.region_peer p
        RETURNING 1
    )
    SELECT count(*) FROM told
$$;

-- As in 0065, with homes
CREATE OR REPLACE FUNCTION mc.merge_change(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT mc.is_of_peer(c.region) THEN
        RAISE EXCEPTION 'the peer told it in the name of another region';
    END IF;
    CASE c.kind
        WHEN 'task' THEN PERFORM mc.merge_task(c);
        WHEN 'tasks' THEN PERFORM mc.merge_tasks(c);
        WHEN 'quotation' THEN PERFORM mc.merge_quotation(c);
        WHEN 'quotations' THEN PERFORM mc.merge_quotations(c);
        WHEN 'erasure' THEN PERFORM mc.merge_erasure(c);
        WHEN 'switch' THEN PERFORM mc.merge_switch(c);
        WHEN 'credential' THEN PERFORM mc.merge_credential(c);
        WHEN 'grant' THEN PERFORM mc.merge_grant(c);
        WHEN 'charge' THEN PERFORM mc.merge_charge(c);
        WHEN 'query' THEN PERFORM mc.merge_query(c);
        WHEN 'copy' THEN PERFORM mc.merge_copy(c);
        WHEN 'home' THEN PERFORM mc_home.merge_home(c);
        WHEN 'resolution' THEN
            INSERT INTO mc.operation_resolved (id) SELECT id FROM mc.task WHERE id = c.key
            ON CONFLICT DO NOTHING;
        ELSE RAISE EXCEPTION 'this version does not know the kind';
    END CASE;
END $$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOR name IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'mc_home'::regnamespace LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA mc_home TO mc_service;
GRANT EXECUTE ON FUNCTION mc_home.look, mc_home.renew, mc_home.claim, mc_home.give_up, mc_home.seize,
    mc_home.regions_here TO mc_service;
