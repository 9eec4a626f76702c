-- A region that was restored from a backup (docs/how-to/backups.md): its peer is told that it has no whole copy
-- before it begins another, gives back what it has of the region's own, and does not miss there what the
-- restored log ended before.

-- The peer calls it, as the role that replicates: its own row in `mc.region_change` does not come before its
-- subscription is anew, and a slot without it would confirm what the peer has lost.
CREATE FUNCTION mc.copy_not_whole(of_region text, told_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.region_copy (region, whole, written_at)
    SELECT p.peer, false, told_at FROM mc.region_peer p WHERE p.peer = of_region
    ON CONFLICT (region) DO UPDATE SET whole = false, written_at = excluded.written_at
$$;

-- Gives the peer back its own switches and charges, which `tell_what_is_there` does not tell. Under
-- `told_back`, so that a version before this one sets it aside instead of taking it for this region's.
CREATE FUNCTION mc.tell_back() RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH told AS (
        INSERT INTO mc.region_change (region, kind, tenant, key, body)
        SELECT p.own, 'switch', 'PLATFORM', s.scope, jsonb_build_object('told_back', to_jsonb(s))
        FROM mc.peer_switch s JOIN mc.region_peer p ON p.peer = s.region
        UNION ALL
        SELECT p.own, 'charge', a.tenant, a.number::text, jsonb_build_object('told_back', to_jsonb(a))
        FROM mc.aggregate_charge a CROSS JOIN mc.region_peer p
        WHERE EXISTS (SELECT FROM mc.peer_charge c WHERE c.charged_at = a.charged_at)
        RETURNING 1
    )
    SELECT count(*) FROM told
$$;

-- As in 0044; its own one, which the peer gives back, is taken where nothing later is here
CREATE OR REPLACE FUNCTION mc.merge_switch(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source, at)
    SELECT s.id, s.scope, s.halted, s.reason, s.principal, s.source, s.at
    FROM jsonb_populate_record(NULL::mc.autonomy_switch, c.body -> 'told_back') AS s
    WHERE c.body ? 'told_back' AND NOT EXISTS (
        SELECT FROM mc.autonomy_switch o WHERE o.scope = s.scope AND o.at >= s.at);
    INSERT INTO mc.peer_switch AS old
        (region, scope, number, id, halted, reason, principal, source, at)
    SELECT c.region, s.scope, s.number, s.id, s.halted, s.reason, s.principal, s.source, s.at
    FROM jsonb_populate_record(NULL::mc.autonomy_switch, c.body) AS s
    WHERE NOT c.body ? 'told_back'
    ON CONFLICT (region, scope) DO UPDATE SET number = excluded.number, id = excluded.id,
        halted = excluded.halted, reason = excluded.reason, principal = excluded.principal,
        source = excluded.source, at = excluded.at
    WHERE (excluded.at, excluded.number) > (old.at, old.number)
$$;

-- As in 0044; a charge of the peer that is here already, under another number, is not added again
CREATE OR REPLACE FUNCTION mc.merge_charge(c mc.region_change) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s mc.aggregate_charge := jsonb_populate_record(NULL::mc.aggregate_charge,
        coalesce(c.body -> 'told_back', c.body));
BEGIN
    INSERT INTO mc.aggregate_turn (tenant, dataset) VALUES (c.tenant, s.dataset)
    ON CONFLICT DO NOTHING;
    IF NOT c.body ? 'told_back' THEN
        INSERT INTO mc.peer_charge (region, number, charged_at)
        VALUES (c.region, s.number, s.charged_at) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO mc.aggregate_charge (tenant, dataset, principal, micro_epsilon, charged_at)
    SELECT s.tenant, s.dataset, s.principal, s.micro_epsilon, s.charged_at
    WHERE NOT (
        EXISTS (SELECT FROM mc.aggregate_charge a WHERE a.tenant = s.tenant
            AND a.dataset = s.dataset AND a.principal = s.principal AND a.charged_at = s.charged_at)
        AND (c.body ? 'told_back' OR EXISTS (SELECT FROM mc.peer_charge p WHERE p.region = c.region
            AND p.charged_at = s.charged_at AND p.number <> s.number)));
END $$;

-- Entries of a log behind the end that its region's next epoch names: the region has lost them, the peer keeps them
CREATE FUNCTION mc.lost_entries() RETURNS TABLE (region text, index bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.region, i.index FROM (
        SELECT e.region, convert_from(e.leaf, 'UTF8')::json #> '{detail,former}' AS former
        FROM mc.ledger_event e WHERE e.index = 0 AND e.kind = 'ledger.epoch-began' AND e.region LIKE '%/e%'
    ) AS ended JOIN mc.ledger_id i
        ON i.region = ended.former ->> 'log' AND split_part(i.region, '/', 1) = split_part(ended.region, '/', 1)
        AND i.index >= (ended.former ->> 'size')::bigint
$$;

-- As in 0044, without those entries
CREATE OR REPLACE FUNCTION mc.replicated_state() RETURNS TABLE (kind text, rows bigint, digest text)
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
        WHERE NOT EXISTS (SELECT FROM mc.lost_entries() l WHERE l.region = i.region AND l.index = i.index)
    )
    SELECT s.kind, count(*), md5(string_agg(md5(concat_ws(' ', s.key, s.content)), ''
        ORDER BY s.key COLLATE "C", s.content COLLATE "C"))
    FROM state s GROUP BY s.kind ORDER BY s.kind
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOR name IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'mc'::regnamespace
        AND p.proname IN ('copy_not_whole', 'tell_back', 'lost_entries')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
