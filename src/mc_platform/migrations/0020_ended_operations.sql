-- What the breaker counts leaves out operations that were canceled (model.operation.Ending); the state
-- tells them, so the index holds it: the breaker goes on reading the index alone.
SET LOCAL lock_timeout = '5s';
CREATE INDEX task_ended_by_state ON mc.task (tenant, updated_at) INCLUDE (outcome, compensated, state)
    WHERE outcome IS NOT NULL;
DROP INDEX mc.task_ended;
