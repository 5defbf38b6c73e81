-- A step is many short statements: to plan each of them anew, for arrays of just this length,
-- took longer than to run them. Their tables are as good as empty when they are first looked
-- at and never when it matters, so that the way over an index is always the right one; what
-- has none is small. (The cost of a way that is not wanted would call for compilation.)
ALTER FUNCTION step SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION step SET enable_seqscan = off;
ALTER FUNCTION step SET jit = off;
