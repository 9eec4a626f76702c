-- Whether the peer has all of what this region published, or copies whole tables still: then its slot's
-- position tells nothing of them, and a tenant that waits for the peer must not be answered by it. Each region
-- tells it of itself, with its heartbeat, when it changes.

CREATE TABLE mc.region_copy (
    region     text PRIMARY KEY,
    whole      boolean NOT NULL,
    written_at timestamptz NOT NULL
);
GRANT SELECT ON mc.region_copy TO mc_recorder;

-- Fires for heartbeats of this region alone: those of the peer come by the subscription
CREATE FUNCTION mc.tell_copy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    is_whole boolean := (
        SELECT coalesce(bool_and(r.srsubstate = 'r'), false)
        FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
        WHERE s.subname = 'mc_' || replace(of_own, '-', '_')
          AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
BEGIN
    -- Again after some hours: the peer's copy of what was told may be a new one
    IF of_own IS NULL OR EXISTS (SELECT FROM mc.region_copy c WHERE c.region = of_own
        AND c.whole = is_whole AND c.written_at > clock_timestamp() - interval '6 hours')
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO mc.region_copy AS c (region, whole, written_at)
    VALUES (of_own, is_whole, clock_timestamp())
    ON CONFLICT (region) DO UPDATE SET whole = excluded.whole, written_at = excluded.written_at;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    VALUES (of_own, 'copy', 'PLATFORM', of_own, jsonb_build_object('whole', is_whole));
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION mc.tell_copy() FROM PUBLIC;
CREATE TRIGGER tell_copy AFTER INSERT ON mc.region_heartbeat
    FOR EACH STATEMENT EXECUTE FUNCTION mc.tell_copy();

-- As in 0046, with the kind `copy`
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
        WHEN 'copy' THEN
            INSERT INTO mc.region_copy AS old (region, whole, written_at)
            VALUES (c.region, (c.body ->> 'whole')::boolean, c.written_at)
            ON CONFLICT (region) DO UPDATE SET whole = excluded.whole, written_at = excluded.written_at
            WHERE old.written_at < excluded.written_at;
        ELSE RAISE EXCEPTION 'this version does not know the kind';
    END CASE;
END $$;
