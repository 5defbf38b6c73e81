"""Metrics in Prometheus' text format, from an overview and a few counters. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import datetime

from buildmaster.status.documents import Overview

#: Upper ends of the parts of a histogram, in seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = Mapping[str, str]


class Histogram:
    """How many times something took how long."""

    def __init__(self) -> None:
        self._parts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._parts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, meaning: str) -> Iterator[str]:
        """As Prometheus reads it."""
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} histogram"
        count = 0
        for bound, part in zip((*BOUNDS, None), self._parts, strict=True):
            count += part
            end = "+Inf" if bound is None else f"{bound:g}"
            yield f'{name}_bucket{{le="{end}"}} {count}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {count}"


def metric(name: str, kind: str, meaning: str, values: list[tuple[Labels, float]]) -> str:
    """One metric with all its values."""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    for labels, value in values:
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{told}}} {value:g}" if told else f"{name} {value:g}")
    return "\n".join(lines)


def of_overview(overview: Overview, event_lag: float) -> str:
    """What a farm's counters say."""
    oldest = 0.0
    if overview.oldest_ready is not None and overview.oldest_ready.ready_at is not None:
        began = datetime.fromisoformat(overview.oldest_ready.ready_at)
        oldest = max(0.0, (datetime.fromisoformat(overview.at) - began).total_seconds())
    sorts = [({"state": each.state, "duty": each.duty}, each) for each in overview.workers]
    parts = (
        metric(
            "headrace_jobs",
            "gauge",
            "Jobs there are, by architecture, kind, state and result.",
            [
                (
                    {
                        "architecture": each.architecture,
                        "kind": each.kind,
                        "state": each.state,
                        "result": each.result or "",
                    },
                    each.jobs,
                )
                for each in overview.jobs
            ],
        ),
        metric(
            "headrace_oldest_ready_seconds",
            "gauge",
            "How long the job with the lowest number in the line has waited.",
            [({}, oldest)],
        ),
        metric(
            "headrace_workers",
            "gauge",
            "Workers there are.",
            [(labels, each.workers) for labels, each in sorts],
        ),
        metric(
            "headrace_worker_slots",
            "gauge",
            "Jobs that they take at a time.",
            [(labels, each.slots) for labels, each in sorts],
        ),
        metric(
            "headrace_workers_quarantined",
            "gauge",
            "Workers that failed different jobs.",
            [({}, sum(each.quarantined for _, each in sorts))],
        ),
        metric("headrace_jobs_leased", "gauge", "Slots in use.", [({}, overview.running)]),
        metric("headrace_holds", "gauge", "Holds of operators.", [({}, overview.held)]),
        metric(
            "headrace_event_lag_seconds",
            "gauge",
            "How long the oldest event that followers cannot have yet has waited.",
            [({}, event_lag)],
        ),
    )
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
