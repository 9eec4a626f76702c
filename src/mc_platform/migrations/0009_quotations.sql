-- Digests of what was released to each tenant from outside, so that a message that quotes it is
-- known to, whatever conversation it claims to open; see mc_platform.record.fingerprints.

CREATE TABLE mc.quotable (
    tenant  text NOT NULL,
    digest  bigint NOT NULL,
    task_id text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, digest)
);
CREATE INDEX quotable_told ON mc.quotable (told_at);

ALTER TABLE mc.quotable ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON mc.quotable FOR SELECT TO mc_service
    USING (tenant = current_setting('mc.tenant', true));
CREATE POLICY record_all ON mc.quotable TO mc_recorder USING (true) WITH CHECK (true);
GRANT SELECT ON mc.quotable TO mc_service;
-- Old ones are forgotten; none is changed.
GRANT SELECT, INSERT, DELETE ON mc.quotable TO mc_recorder;
