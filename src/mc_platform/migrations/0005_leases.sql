-- Which replicas may run operations now.
--
-- A row is a lease on the operations that a replica (`executor_id`, the engine's word) has begun.
-- Times are the database's alone, so clocks of replicas need not agree. `lost` is set by whoever
-- finds the lease lapsed, before it takes the operations over: a holder that wakes up finds it.

CREATE TABLE mc.operation_lease (
    executor_id         text PRIMARY KEY,
    instance            text NOT NULL,
    application_version text NOT NULL,
    expires_at          timestamptz NOT NULL,
    lost                boolean NOT NULL DEFAULT false
);

GRANT SELECT, INSERT, UPDATE, DELETE ON mc.operation_lease TO mc_service;
