-- Flow labels of a conversation, kept with each of its tasks; see mc_platform.model.flow.

ALTER TABLE mc.task ADD COLUMN flow json NOT NULL DEFAULT '{}';
CREATE INDEX task_conversation ON mc.task (tenant, context_id, created_at DESC, id DESC);
-- What a tenant has enacted lately, for its budget
CREATE INDEX task_enacted ON mc.task (tenant, created_at) WHERE operation IS NOT NULL;
