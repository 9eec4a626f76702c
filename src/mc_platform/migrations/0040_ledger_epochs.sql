-- Epochs of a region's log (docs/explanation/ledger.md, Epochs). A database that was restored goes on under
-- a new name, `REGION/eN`: under the old one another history was signed. An administrator adds the rows
-- (`python -m mc_platform begin-epoch`); epoch 1 has none, its log bears the region's name.

CREATE TABLE mc.ledger_epoch (
    region   text NOT NULL,
    epoch    integer NOT NULL CHECK (epoch > 1),
    log      text NOT NULL UNIQUE,
    restore  text NOT NULL UNIQUE,  -- the restore's id: a repeat of it begins nothing anew
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (region, epoch)
);
GRANT SELECT ON mc.ledger_epoch TO mc_service, mc_recorder;

-- A log that has ended takes no entry more, from a replica that was not restarted neither.
ALTER TABLE mc.ledger_head ADD COLUMN ended_at timestamptz;
CREATE FUNCTION mc.refuse_ended_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the log % has ended', OLD.region
        USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER ended_log BEFORE UPDATE OR DELETE ON mc.ledger_head
    FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION mc.refuse_ended_log();
