-- Append-only ledger, tasks, credentials, delivery cursors.
--
-- Roles: mc_service is what the workbench logs in as; it may read tenants' rows only through
-- row-level security. mc_recorder is what it becomes (SET ROLE) to append to the log and to
-- deliver it. Neither may UPDATE or DELETE what the log holds; neither owns anything.

CREATE TABLE mc.credential (
    key_id        text PRIMARY KEY,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    tenant        text NOT NULL,
    principal     text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz
);

CREATE TABLE mc.ledger_head (
    region     text PRIMARY KEY,
    size       bigint NOT NULL,
    frontier   bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE mc.ledger_event (
    region      text NOT NULL,
    index       bigint NOT NULL,
    event_id    text NOT NULL,
    tenant      text NOT NULL,
    kind        text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    leaf        bytea NOT NULL,
    leaf_hash   bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    PRIMARY KEY (region, index),
    UNIQUE (region, event_id)
);
CREATE INDEX ledger_event_by_tenant ON mc.ledger_event (tenant, region, index DESC);

CREATE TABLE mc.ledger_checkpoint (
    region     text NOT NULL,
    size       bigint NOT NULL,
    note       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, size)
);

-- json, not jsonb: an agent's reply may hold \u0000, which jsonb refuses.
CREATE TABLE mc.task (
    id             text PRIMARY KEY,
    context_id     text NOT NULL,
    tenant         text NOT NULL,
    principal      text NOT NULL,
    message_id     text NOT NULL,
    request_digest text NOT NULL,
    state          text NOT NULL,
    parts          json NOT NULL,
    status_text    text NOT NULL,
    governance     json NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL,
    UNIQUE (tenant, message_id)
);
CREATE INDEX task_newest ON mc.task (tenant, updated_at DESC, id);
CREATE INDEX task_open ON mc.task (updated_at)
    WHERE state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING');

CREATE TABLE mc.delivery_cursor (
    region     text NOT NULL,
    sink       text NOT NULL,
    next_index bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, sink)
);

ALTER TABLE mc.task ENABLE ROW LEVEL SECURITY;
ALTER TABLE mc.ledger_event ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON mc.task FOR SELECT TO mc_service
    USING (tenant = current_setting('mc.tenant', true));
CREATE POLICY own_tenant ON mc.ledger_event FOR SELECT TO mc_service
    USING (tenant = current_setting('mc.tenant', true));
CREATE POLICY record_all ON mc.task TO mc_recorder USING (true) WITH CHECK (true);
CREATE POLICY record_all ON mc.ledger_event TO mc_recorder USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA mc TO mc_service, mc_recorder;
GRANT SELECT ON mc.credential, mc.task, mc.ledger_event, mc.ledger_head, mc.ledger_checkpoint
    TO mc_service;
GRANT SELECT, INSERT ON mc.ledger_event, mc.ledger_checkpoint TO mc_recorder;
GRANT SELECT, INSERT, UPDATE ON mc.ledger_head, mc.task, mc.delivery_cursor TO mc_recorder;
