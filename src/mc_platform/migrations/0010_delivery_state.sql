-- Delivery as the region sees it, and dead letters that are sent again.
--
-- `failing` is why the sink refused last; it holds while `failing_at` is later than `updated_at`,
-- the cursor's last move. So a shipper that does not know these columns ends it all the same.
-- `mc.delivery_parked` stays append-only: that a dead letter was sent again is a row of its own.

ALTER TABLE mc.delivery_cursor
    ADD COLUMN failing    text CHECK (length(failing) <= 300),
    ADD COLUMN failing_at timestamptz;

CREATE TABLE mc.dead_letter_resend (
    region     text NOT NULL,
    sink       text NOT NULL,
    index      bigint NOT NULL,
    request    text NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    taken      boolean,
    reason     text CHECK (length(reason) <= 300),
    PRIMARY KEY (region, sink, index, request),
    FOREIGN KEY (region, sink, index) REFERENCES mc.delivery_parked (region, sink, index),
    CHECK ((settled_at IS NULL) = (taken IS NULL))
);
CREATE INDEX dead_letter_resend_open ON mc.dead_letter_resend (region, sink, index)
    WHERE settled_at IS NULL;
CREATE INDEX dead_letter_resend_request ON mc.dead_letter_resend (region, request);

GRANT SELECT, INSERT ON mc.dead_letter_resend TO mc_recorder;
GRANT UPDATE (settled_at, taken, reason) ON mc.dead_letter_resend TO mc_recorder;
