"""The supervisor: one process for each attempt, which outlives the worker daemon."""
