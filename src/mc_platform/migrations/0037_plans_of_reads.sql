-- A session that planned these while the table was empty, and known to be by ANALYZE, read all of it at each call
-- until it was analysed again.

-- By ids: planned anew each time, as it was already wherever there are rows: an array's length decides
ALTER FUNCTION mc.tasks_of(text, text[]) SET plan_cache_mode = force_custom_plan;

-- A conversation's: planned once for a session, by the index that is made for it
ALTER FUNCTION mc.conversation_of(text, text, integer) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION mc.conversation_of(text, text, integer) SET enable_seqscan = off;
