"""How hard laws are tested: a few hundred examples, or thousands with HEADRACE_LONG=1."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

IS_LONG = os.environ.get("HEADRACE_LONG") == "1"

law = settings(
    max_examples=10_000 if IS_LONG else 200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
