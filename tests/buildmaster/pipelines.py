"""Pipelines for tests of the planner, written short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from buildmaster.series import Series
from protocol.pipeline.model import Pipeline, PipelineJob

ARCHITECTURES = ("amd64", "arm64", "riscv64", "s390x")
SERIES = (
    Series("focal", "20.04"),
    Series("jammy", "22.04", frozenset({"amd64", "arm64"})),
    Series("noble", "24.04", frozenset({"amd64"})),
)


def job(series: str, *architectures: str) -> PipelineJob:
    """A concrete job."""
    return PipelineJob(series=series, architectures=architectures, run="true")


def pipeline(
    stages: Sequence[Sequence[str] | str], jobs: Mapping[str, Sequence[PipelineJob]]
) -> Pipeline:
    """A pipeline; a stage may be a single name."""
    return Pipeline(
        stages=tuple((one,) if isinstance(one, str) else tuple(one) for one in stages),
        jobs={name: tuple(concrete) for name, concrete in jobs.items()},
    )


def simple(**architectures: Sequence[str]) -> Pipeline:
    """One job a stage, in the order given, all in focal."""
    return pipeline(
        list(architectures),
        {name: [job("focal", *own)] for name, own in architectures.items()},
    )


_concrete = st.builds(
    lambda series, architectures: job(series, *architectures),
    st.sampled_from(("focal", "jammy", "noble", "potato")),
    st.lists(st.sampled_from(ARCHITECTURES), max_size=5),
)
_names = ("aa", "bb", "cc", "dd", "ee")
#: Any pipeline of few jobs, also with names that come twice and stages without jobs.
pipelines = st.builds(
    pipeline,
    st.lists(st.lists(st.sampled_from(_names), max_size=3), min_size=1, max_size=6),
    st.fixed_dictionaries(
        {name: st.lists(_concrete, min_size=1, max_size=3) for name in _names}
    ),
).filter(lambda one: any(one.stages))
