-- outside a transaction
-- What ListTasks and GraphQL ask for (`adapters/postgres/task_pages.py`), each by an index in the
-- order of its pages; one without a filter has `task_newest`. Made without locking writers out; a run
-- that was cut short leaves an invalid index, which the next one drops first.

DROP INDEX CONCURRENTLY IF EXISTS mc.task_by_principal;
CREATE INDEX CONCURRENTLY task_by_principal ON mc.task (tenant, principal, updated_at, id);

DROP INDEX CONCURRENTLY IF EXISTS mc.task_by_principal_and_state;
CREATE INDEX CONCURRENTLY task_by_principal_and_state
    ON mc.task (tenant, principal, state, updated_at, id);

DROP INDEX CONCURRENTLY IF EXISTS mc.task_by_context;
CREATE INDEX CONCURRENTLY task_by_context ON mc.task (tenant, context_id, updated_at, id);

DROP INDEX CONCURRENTLY IF EXISTS mc.task_by_state;
CREATE INDEX CONCURRENTLY task_by_state ON mc.task (tenant, state, updated_at, id);
