-- Events that a sink refused for good: set aside, so that the others go on.
--
-- A row is never changed; like the log, it is kept. `reason` holds no content.

CREATE TABLE mc.delivery_parked (
    region    text NOT NULL,
    sink      text NOT NULL,
    index     bigint NOT NULL,
    event_id  text NOT NULL,
    reason    text NOT NULL CHECK (length(reason) <= 300),
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, sink, index)
);

GRANT SELECT, INSERT ON mc.delivery_parked TO mc_recorder;
