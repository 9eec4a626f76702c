-- The ledger by time: partitions, a register of ids, tiles, an index of what was archived.
--
-- `mc.ledger_event` is partitioned by recorded_at, which never falls as the index grows: each
-- partition holds one run of indices, and may leave as a file (docs/explanation/ledger.md). A partition of
-- its own can't be read at all: rights are on the parent, where row-level security is.
-- `mc.ledger_id` stays when partitions leave. It keeps an event id, and an index, to one use for
-- good, which no constraint over a partitioned table can.

ALTER TABLE mc.ledger_event RENAME TO ledger_event_whole;
ALTER INDEX mc.ledger_event_by_tenant RENAME TO ledger_event_whole_by_tenant;
ALTER TABLE mc.ledger_event_whole RENAME CONSTRAINT ledger_event_pkey TO ledger_event_whole_pkey;

CREATE TABLE mc.ledger_event (
    region      text NOT NULL,
    index       bigint NOT NULL,
    event_id    text NOT NULL,
    tenant      text NOT NULL,
    kind        text NOT NULL,
    subject     text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    leaf        bytea NOT NULL,
    leaf_hash   bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    PRIMARY KEY (region, index, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ledger_event_by_tenant ON mc.ledger_event (tenant, region, index DESC);
CREATE INDEX ledger_event_by_subject ON mc.ledger_event (tenant, subject, index);
CREATE TABLE mc.ledger_event_default PARTITION OF mc.ledger_event DEFAULT;

CREATE TABLE mc.ledger_id (
    region      text NOT NULL,
    event_id    text NOT NULL,
    index       bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (region, event_id),
    UNIQUE (region, index)
);

-- Derived data: 256 hashes each, level 0 of leaves, level n of the roots of tiles of level n - 1.
CREATE TABLE mc.ledger_tile (
    region text NOT NULL,
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index  bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    root   bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (region, level, index)
);
ALTER TABLE mc.ledger_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes don't compress

CREATE TABLE mc.ledger_archive (
    region          text NOT NULL,
    first_index     bigint NOT NULL,
    last_index      bigint NOT NULL CHECK (last_index >= first_index),
    partition       text NOT NULL,
    file            text NOT NULL,
    sha256          bytea NOT NULL CHECK (octet_length(sha256) = 32),
    frontier_before bytea NOT NULL,
    frontier_after  bytea NOT NULL,
    checkpoint      text NOT NULL,
    archived_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, first_index)
);

-- One month's partition, for the owner only. Rows that the default partition took move over.
CREATE FUNCTION mc.make_ledger_partition(month timestamptz) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    utc    timestamp := date_trunc('month', month AT TIME ZONE 'UTC');
    begins timestamptz := utc AT TIME ZONE 'UTC';
    ends   timestamptz := (utc + interval '1 month') AT TIME ZONE 'UTC';
    name   text := 'ledger_event_' || to_char(utc, '"y"YYYY"m"MM');
BEGIN
    PERFORM pg_advisory_xact_lock(7219005313402);
    IF to_regclass('mc.' || name) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    -- Made apart and then attached: that does not lock writers of other partitions out.
    EXECUTE format('CREATE TABLE mc.%I (LIKE mc.ledger_event INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE mc.%I ENABLE ROW LEVEL SECURITY', name);
    LOCK TABLE ONLY mc.ledger_event_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM mc.ledger_event_default WHERE recorded_at >= %L '
        'AND recorded_at < %L RETURNING *) INSERT INTO mc.%I SELECT * FROM moved',
        begins, ends, name);
    EXECUTE format(
        'ALTER TABLE mc.ledger_event ATTACH PARTITION mc.%I FOR VALUES FROM (%L) TO (%L)',
        name, begins, ends);
    RETURN name;
END $$;

-- The only way by which the service makes partitions: it takes no argument.
CREATE FUNCTION mc.ensure_ledger_partitions() RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT made FROM (
        SELECT mc.make_ledger_partition(now() + step) AS made
        FROM unnest(ARRAY['0 months', '1 month']::interval[]) AS step
    ) AS each WHERE made IS NOT NULL
$$;
REVOKE ALL ON FUNCTION mc.make_ledger_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION mc.ensure_ledger_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mc.ensure_ledger_partitions() TO mc_recorder;

-- What is there already, with times that never fall.
CREATE TEMPORARY TABLE ledger_before ON COMMIT DROP AS
    SELECT region, index, event_id, tenant, kind,
           coalesce(nullif(body ->> 'operation_id', ''), body ->> 'subject', '') AS subject, occurred_at,
           max(recorded_at) OVER (PARTITION BY region ORDER BY index) AS recorded_at,
           leaf, leaf_hash
    FROM (SELECT *, convert_from(leaf, 'UTF8')::json -> 'detail' AS body
          FROM mc.ledger_event_whole) AS old;
SELECT mc.make_ledger_partition(month)
FROM (SELECT DISTINCT date_trunc('month', recorded_at, 'UTC') AS month FROM ledger_before) AS old;
SELECT mc.ensure_ledger_partitions();
INSERT INTO mc.ledger_event
    (region, index, event_id, tenant, kind, subject, occurred_at, recorded_at, leaf, leaf_hash)
SELECT region, index, event_id, tenant, kind, subject, occurred_at, recorded_at, leaf, leaf_hash
FROM ledger_before;
INSERT INTO mc.ledger_id (region, event_id, index, recorded_at)
SELECT region, event_id, index, recorded_at FROM ledger_before;
UPDATE mc.ledger_head h SET updated_at = greatest(
    updated_at, (SELECT max(recorded_at) FROM ledger_before b WHERE b.region = h.region));
DROP TABLE mc.ledger_event_whole;

ALTER TABLE mc.ledger_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE mc.ledger_event_default ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON mc.ledger_event FOR SELECT TO mc_service
    USING (tenant = current_setting('mc.tenant', true));
CREATE POLICY read_all ON mc.ledger_event FOR SELECT TO mc_recorder USING (true);
CREATE POLICY append ON mc.ledger_event FOR INSERT TO mc_recorder WITH CHECK (true);

GRANT SELECT ON mc.ledger_event TO mc_service;
GRANT SELECT, INSERT ON mc.ledger_event, mc.ledger_id, mc.ledger_tile TO mc_recorder;
GRANT SELECT ON mc.ledger_archive TO mc_recorder;
