-- Witnesses (docs/how-to/witnesses.md): what they have cosigned of this region's log, and what this
-- region has cosigned of others'.
-- Each note is whole: the checkpoint, the log's signature, one witness's cosignature.
CREATE TABLE mc.ledger_cosigned (
    region      text NOT NULL,
    size        bigint NOT NULL CHECK (size > 0),
    witness     text NOT NULL,
    note        text NOT NULL,
    cosigned_at timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, size, witness)
);
CREATE INDEX ledger_cosigned_by_witness ON mc.ledger_cosigned (region, witness, size);
GRANT SELECT, INSERT ON mc.ledger_cosigned TO mc_recorder;

-- The last note that was cosigned here of each log, by the cosigning key's id. It carries that cosignature, so
-- that nobody without the key can write one.
CREATE TABLE mc.witnessed_log (
    key_id     text NOT NULL,
    origin     text NOT NULL,
    size       bigint NOT NULL,
    note       text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key_id, origin)
);
GRANT SELECT, INSERT, UPDATE ON mc.witnessed_log TO mc_recorder;

-- Cosigned notes of what was archived go as its checkpoints do: the last of each day stays, for each witness.
CREATE FUNCTION mc.thin_cosigned() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    count integer;
    newest timestamptz;
BEGIN
    WITH gone AS (
        DELETE FROM mc.ledger_cosigned AS c USING (
            SELECT old.region, old.size, old.witness FROM mc.ledger_cosigned AS old CROSS JOIN LATERAL (
                SELECT created_at FROM mc.ledger_cosigned AS following
                WHERE following.region = old.region AND following.witness = old.witness
                    AND following.size > old.size
                ORDER BY following.size LIMIT 1
            ) AS next
            WHERE old.size <= (SELECT max(last_index) + 1 FROM mc.ledger_archive AS a
                               WHERE a.region = old.region)
            AND date_trunc('day', next.created_at, 'UTC')
                = date_trunc('day', old.created_at, 'UTC')
            LIMIT 10000
        ) AS old
        WHERE c.region = old.region AND c.size = old.size AND c.witness = old.witness
        RETURNING c.created_at
    ) SELECT count(*), max(created_at) INTO count, newest FROM gone;
    PERFORM mc.note_removed('PLATFORM', 'checkpoints', newest, count);
    RETURN count;
END $$;
REVOKE ALL ON FUNCTION mc.thin_cosigned() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mc.thin_cosigned() TO mc_recorder;
