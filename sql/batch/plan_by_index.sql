-- A publish asks every table for hours, by an index. Fresh and temporary tables have no statistics that say so, and a
-- plan that was made for another hour may not fit this one.
set local enable_seqscan = off;
set local plan_cache_mode = force_custom_plan;
set local jit = off;
set local work_mem = '32MB'
