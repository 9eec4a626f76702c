-- What a region says of its copy counts for the slot that the copy began with, and for no other: another slot's
-- position says nothing of what was written before it. Each slot that is made anew has a name of its own
-- (`adapters/postgres/replication.py`), and what comes late, or from a clock that was set back, counts no more.

ALTER TABLE mc.region_copy
    ADD COLUMN slot text,  -- NULL: of a version before this one, which has one name for all of them
    ADD COLUMN number bigint NOT NULL DEFAULT 0;  -- of the peer's change: its own order, whatever its clock says
-- The heartbeat says it anew, now with the slot
DELETE FROM mc.region_copy c USING mc.region_peer p WHERE c.region = p.own;

CREATE OR REPLACE FUNCTION mc.tell_copy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_own text := (SELECT p.own FROM mc.region_peer p);
    is_whole boolean;
    of_slot text;
BEGIN
    SELECT coalesce(bool_and(r.srsubstate = 'r'), false), min(s.subslotname) INTO is_whole, of_slot
    FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
    WHERE s.subname = 'mc_' || replace(of_own, '-', '_')
      AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    -- Again after some hours: the peer's copy of what was told may be a new one
    IF of_own IS NULL OR EXISTS (SELECT FROM mc.region_copy c WHERE c.region = of_own
        AND c.whole = is_whole AND coalesce(c.slot = of_slot, of_slot IS NULL)
        AND c.written_at > clock_timestamp() - interval '6 hours')
    THEN
        RETURN NULL;
    END IF;
    -- The last slot's name stays: where there was one, only a repair makes another
    INSERT INTO mc.region_copy AS c (region, whole, reads_sets, slot, written_at)
    VALUES (of_own, is_whole, true, of_slot, clock_timestamp())
    ON CONFLICT (region) DO UPDATE SET whole = excluded.whole, reads_sets = excluded.reads_sets,
        slot = coalesce(excluded.slot, c.slot), written_at = excluded.written_at;
    INSERT INTO mc.region_change (region, kind, tenant, key, body)
    VALUES (of_own, 'copy', 'PLATFORM', of_own,
        jsonb_build_object('whole', is_whole, 'reads_sets', true, 'slot', of_slot));
    RETURN NULL;
END $$;

CREATE FUNCTION mc.merge_copy(c mc.region_change) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.region_copy AS old (region, whole, reads_sets, slot, number, written_at)
    VALUES (c.region, (c.body ->> 'whole')::boolean, coalesce((c.body ->> 'reads_sets')::boolean, false),
        c.body ->> 'slot', c.number, c.written_at)
    ON CONFLICT (region) DO UPDATE SET whole = excluded.whole, reads_sets = excluded.reads_sets,
        slot = excluded.slot, number = excluded.number, written_at = excluded.written_at
    WHERE old.number < excluded.number
$$;
REVOKE ALL ON FUNCTION mc.merge_copy(mc.region_change) FROM PUBLIC;

-- As in 0060; a restored region numbers its changes from the backup's on
CREATE OR REPLACE FUNCTION mc.copy_not_whole(of_region text, told_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO mc.region_copy (region, whole, written_at)
    SELECT p.peer, false, told_at FROM mc.region_peer p WHERE p.peer = of_region
    ON CONFLICT (region) DO UPDATE SET whole = false, number = 0, written_at = excluded.written_at
$$;

-- As in 0055
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
        WHEN 'resolution' THEN
            INSERT INTO mc.operation_resolved (id) SELECT id FROM mc.task WHERE id = c.key
            ON CONFLICT DO NOTHING;
        ELSE RAISE EXCEPTION 'this version does not know the kind';
    END CASE;
END $$;

-- The peer's slot here: the one of which it spoke last, else whichever it uses
CREATE FUNCTION mc.slot_of_peer() RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.slot_name FROM mc.region_peer p LEFT JOIN mc.region_copy c ON c.region = p.peer
    JOIN pg_replication_slots s
        ON s.slot_name ~ ('^mc_' || replace(p.peer, '-', '_') || '(_[0-9a-f]{8})?$')
    WHERE s.slot_type = 'logical' AND s.database = current_database()
    ORDER BY s.slot_name = c.slot DESC NULLS LAST, s.active DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION mc.slot_of_peer() FROM PUBLIC;

-- What told the peer something stays until the peer has it, and for a day at least: a slot that is lost takes its WAL
-- along, and the copy that the next one begins with must have all of it.
ALTER TABLE mc.region_peer
    ADD COLUMN had_until timestamptz,  -- the peer has what was committed before
    ADD COLUMN mark pg_lsn,            -- it will have what was before `mark_at` when it is here
    ADD COLUMN mark_at timestamptz;

CREATE FUNCTION mc.forget_told() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE mc.region_peer AS p SET
        had_until = CASE WHEN s.confirmed_flush_lsn >= p.mark THEN p.mark_at ELSE p.had_until END,
        mark = pg_current_wal_insert_lsn(), mark_at = clock_timestamp()
    FROM mc.region_copy c JOIN pg_replication_slots s ON s.database = current_database()
    WHERE c.region = p.peer AND c.whole
        AND s.slot_name = coalesce(c.slot, 'mc_' || replace(p.peer, '-', '_'))
        AND (p.mark IS NULL OR s.confirmed_flush_lsn >= p.mark);
    -- A transaction may commit an hour after it has written
    DELETE FROM mc.region_change WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM mc.region_change c JOIN mc.region_peer p
            ON c.region <> p.own OR c.written_at < p.had_until - interval '1 hour'
        WHERE c.written_at < clock_timestamp() - interval '1 day' LIMIT 20000));
$$;
REVOKE ALL ON FUNCTION mc.forget_told() FROM PUBLIC;

-- As in 0044, with those two
CREATE OR REPLACE FUNCTION mc.beat(OUT peer text, OUT lag_s float8, OUT retained_bytes bigint,
    OUT refused bigint, OUT told_bytes_behind bigint)
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
            PERFORM mc.forget_told();
        END IF;
    END IF;
    SELECT greatest(extract(epoch FROM h.received_at - h.at),
            extract(epoch FROM clock_timestamp() - h.at) - 1.5, 0)
    INTO lag_s FROM mc.region_heartbeat h WHERE h.region = beat.peer ORDER BY h.at DESC LIMIT 1;
    lag_s := coalesce(lag_s, extract(epoch FROM clock_timestamp() - since));
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn),
        pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)
    INTO retained_bytes, told_bytes_behind
    FROM pg_replication_slots s WHERE s.slot_name = mc.slot_of_peer();
    SELECT count(*) INTO refused FROM mc.region_change_refused;
    RETURN NEXT;
END $$;
