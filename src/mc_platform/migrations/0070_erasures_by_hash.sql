-- Where a subscription's rows are taken plans are generic, and no list of ids is hashed in one (0054): each row of the
-- tenant was compared with every id of an erasure, up to 10,000, and nothing else of the peer's came meanwhile.
ALTER FUNCTION mc.merge_erasure(mc.region_change) SET plan_cache_mode = force_custom_plan;
ALTER FUNCTION mc.merge_erasure(mc.region_change) SET enable_seqscan = on;
