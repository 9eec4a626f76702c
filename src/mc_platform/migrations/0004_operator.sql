-- The operator's plane: roles of credentials, the autonomy switch, operations as columns of tasks.

ALTER TABLE mc.credential
    ADD COLUMN role text NOT NULL DEFAULT 'agent'
        CHECK (role IN ('agent', 'operator', 'auditor', 'alertmanager')),
    -- A role that sees all tenants never hangs on one of them, and no agent on the platform.
    ADD CONSTRAINT role_belongs_to_the_platform
        CHECK ((role = 'agent') = (tenant <> 'PLATFORM'));

-- What the reply's metadata says of an operation, where it can be searched and counted.
-- `compensated`: an effect was undone, or still stands, without anybody having asked for a cancel.
ALTER TABLE mc.task
    ADD COLUMN operation text GENERATED ALWAYS AS (governance ->> 'operation') STORED,
    ADD COLUMN outcome text GENERATED ALWAYS AS (governance ->> 'outcome') STORED,
    ADD COLUMN compensated boolean GENERATED ALWAYS AS (
        coalesce(governance ->> 'canceled', 'false') <> 'true'
        AND (governance ->> 'outcome' = 'stuck'
             OR coalesce((governance ->> 'effects_undone')::integer, 0) > 0)
    ) STORED;
CREATE INDEX task_ended ON mc.task (tenant, updated_at) INCLUDE (outcome, compensated)
    WHERE outcome IS NOT NULL;
CREATE INDEX task_operations ON mc.task (created_at DESC, id DESC) WHERE operation IS NOT NULL;
CREATE INDEX task_stuck ON mc.task (tenant, created_at DESC, id DESC) WHERE outcome = 'stuck';

-- Append-only; of each scope (a tenant, or '*' for all) the row with the highest number holds.
-- Writers of a scope take turns, so numbers are in the order of commits.
CREATE TABLE mc.autonomy_switch (
    id        uuid PRIMARY KEY,
    number    bigint GENERATED ALWAYS AS IDENTITY,
    scope     text NOT NULL CHECK (scope <> ''),
    halted    boolean NOT NULL,
    reason    text NOT NULL CHECK (reason <> ''),
    principal text NOT NULL,
    source    text NOT NULL CHECK (source IN ('operator', 'alertmanager', 'breaker')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX autonomy_switch_newest ON mc.autonomy_switch (scope, number DESC);

-- Switches whose event is in the ledger; what is missing here is recorded (again: it is harmless).
CREATE TABLE mc.autonomy_switch_recorded (
    id uuid PRIMARY KEY REFERENCES mc.autonomy_switch (id)
);

-- Stuck operations of which the ledger tells that somebody has resolved them. Derived from it, but
-- kept: the ledger's old partitions leave, and these must not be stuck again then.
CREATE TABLE mc.operation_resolved (
    id text PRIMARY KEY REFERENCES mc.task (id)
);

GRANT SELECT ON mc.autonomy_switch TO mc_service;
GRANT SELECT, INSERT ON mc.autonomy_switch, mc.autonomy_switch_recorded, mc.operation_resolved
    TO mc_recorder;
