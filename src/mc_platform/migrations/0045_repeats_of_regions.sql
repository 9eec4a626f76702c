-- A message that the peer has accepted is a repeat here: `mc.record_batch` looks its events' ids up in the
-- peer's log as well, where there is one. All else of it is as in 0030, which says what it takes.

-- The logs of which there are ids here, without a region's own; two look-ups in the index for each.
CREATE FUNCTION mc.other_logs(own text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE each AS (
        (SELECT region FROM mc.ledger_id ORDER BY region LIMIT 1)
        UNION ALL
        SELECT (SELECT i.region FROM mc.ledger_id i WHERE i.region > each.region ORDER BY i.region LIMIT 1)
        FROM each WHERE each.region IS NOT NULL
    )
    SELECT coalesce(array_agg(region), '{}') FROM each WHERE region <> own
$$;
REVOKE ALL ON FUNCTION mc.other_logs(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mc.other_logs(text) TO mc_recorder;

CREATE OR REPLACE FUNCTION mc.record_batch(
    of_region text, committed bytea, answer_lost boolean,
    ids text[], tenants text[], kinds text[], subjects text[], times timestamptz[],
    leaves bytea[], hashes bytea[], task_numbers int[],
    task_ids text[], contexts text[], task_tenants text[], principals text[], messages text[],
    digests text[], states text[], task_times timestamptz[], replies text[], texts text[],
    governances text[], flows text[],
    quoted_numbers int[], quoted_tenants text[], quoted_digests bigint[], quoted_tasks text[],
    OUT written boolean, OUT head_size bigint, OUT head_frontier bytea,
    OUT known_ids text[], OUT known_indices bigint[], OUT known_own boolean[]
) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Planned once for a session, maybe while the tables are small: each id is looked up all the same
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    moment   timestamptz;
    not_own  text[];
    left_out int[] := '{}';  -- tasks of which every event was in the log before
BEGIN
    written := false;
    SELECT h.size, h.frontier, h.updated_at INTO head_size, head_frontier, moment
    FROM mc.ledger_head h WHERE h.region = of_region FOR UPDATE;
    IF NOT FOUND OR head_size < 0 OR substr(head_frontier, 1, 8) <> int8send(head_size)
        OR octet_length(head_frontier) <> 8 + 32 * bit_count(head_size::bit(64))
        OR substr(head_frontier, 1, 8) < substr(committed, 1, 8)
        OR (substr(head_frontier, 1, 8) = substr(committed, 1, 8) AND head_frontier <> committed)
    THEN
        RETURN;
    END IF;

    -- A statement after the lock sees all that was committed before it. An id's event may be in a file
    -- by now; then its leaf is NULL. OFFSET 0 keeps the planner from joining the whole log.
    SELECT array_agg(known.event_id), array_agg(known.index),
        array_agg(coalesce(entry.leaf = leaves[wanted.number], false))
    INTO known_ids, known_indices, known_own
    FROM unnest(ids) WITH ORDINALITY AS wanted (event_id, number)
    CROSS JOIN LATERAL (
        SELECT * FROM mc.ledger_id i WHERE i.region = of_region AND i.event_id = wanted.event_id OFFSET 0
    ) AS known
    LEFT JOIN LATERAL (
        SELECT e.leaf FROM mc.ledger_event e WHERE answer_lost AND e.region = of_region
            AND e.index = known.index AND e.recorded_at = known.recorded_at OFFSET 0
    ) AS entry ON true;

    -- What a peer recorded first is known as well, and not this caller's own
    IF EXISTS (SELECT FROM mc.region_peer) THEN
        SELECT known_ids || array_agg(known.event_id), known_indices || array_agg(known.index),
            known_own || array_agg(false)
        INTO known_ids, known_indices, known_own
        FROM unnest(ids) AS wanted (event_id) CROSS JOIN LATERAL (
            SELECT i.event_id, i.index FROM unnest(mc.other_logs(of_region)) AS other (region)
            JOIN mc.ledger_id i ON i.region = other.region AND i.event_id = wanted.event_id LIMIT 1
        ) AS known
        WHERE wanted.event_id <> ALL (coalesce(known_ids, '{}'));
    END IF;

    IF known_ids IS NOT NULL THEN
        not_own := ARRAY(SELECT k.id FROM unnest(known_ids, known_own) AS k (id, own) WHERE NOT k.own);
        left_out := ARRAY(
            SELECT w.task FROM unnest(ids, task_numbers) AS w (id, task)
            GROUP BY w.task HAVING bool_and(w.id = ANY (not_own)));
        SELECT array_agg(w.id ORDER BY n), array_agg(w.tenant ORDER BY n), array_agg(w.kind ORDER BY n),
            array_agg(w.subject ORDER BY n), array_agg(w.at ORDER BY n),
            array_agg(w.leaf ORDER BY n), array_agg(w.hash ORDER BY n)
        INTO ids, tenants, kinds, subjects, times, leaves, hashes
        FROM unnest(ids, tenants, kinds, subjects, times, leaves, hashes) WITH ORDINALITY
            AS w (id, tenant, kind, subject, at, leaf, hash, n)
        WHERE NOT w.id = ANY (known_ids);
    END IF;

    IF cardinality(ids) > 0 THEN
        moment := greatest(clock_timestamp(), moment);
        INSERT INTO mc.ledger_event
            (region, recorded_at, index, event_id, tenant, kind, subject, occurred_at, leaf, leaf_hash)
        SELECT of_region, moment, head_size + w.n - 1,
            w.id, w.tenant, w.kind, w.subject, w.at, w.leaf, w.hash
        FROM unnest(ids, tenants, kinds, subjects, times, leaves, hashes) WITH ORDINALITY
            AS w (id, tenant, kind, subject, at, leaf, hash, n);
        INSERT INTO mc.ledger_id (region, recorded_at, index, event_id)
        SELECT of_region, moment, head_size + w.n - 1, w.id
        FROM unnest(ids) WITH ORDINALITY AS w (id, n);
        head_size := head_size + cardinality(ids);
        head_frontier := mc.extend_frontier(head_frontier, hashes);
        UPDATE mc.ledger_head h
        SET size = head_size, frontier = head_frontier, updated_at = moment
        WHERE h.region = of_region;
    END IF;
    IF cardinality(task_ids) > 0 THEN
        INSERT INTO mc.task AS old
            (id, context_id, tenant, principal, message_id, request_digest, state,
             updated_at, parts, status_text, governance, flow)
        SELECT t.id, t.context_id, t.tenant, t.principal, t.message_id, t.request_digest, t.state,
            t.updated_at, t.parts::json, t.status_text, t.governance::json, t.flow::json
        FROM unnest(task_ids, contexts, task_tenants, principals, messages, digests, states, task_times,
                    replies, texts, governances, flows) WITH ORDINALITY
            AS t (id, context_id, tenant, principal, message_id, request_digest, state, updated_at,
                  parts, status_text, governance, flow, n)
        WHERE NOT t.n = ANY (left_out)
        ON CONFLICT (id) DO UPDATE SET
            state = excluded.state, updated_at = excluded.updated_at, parts = excluded.parts,
            status_text = excluded.status_text, governance = excluded.governance
        WHERE old.state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING');
    END IF;
    IF cardinality(quoted_tasks) > 0 THEN
        INSERT INTO mc.quotable (tenant, digest, task_id)
        SELECT q.tenant, q.digest, q.task
        FROM unnest(quoted_numbers, quoted_tenants, quoted_digests, quoted_tasks)
            AS q (number, tenant, digest, task)
        WHERE NOT q.number = ANY (left_out)
        ON CONFLICT DO NOTHING;
    END IF;
    written := true;
END $$;
