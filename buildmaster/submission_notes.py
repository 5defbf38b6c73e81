"""What a submission tells whoever asked, besides the numbers of the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildmaster.farm_series import HOW_TO_MAP
from buildmaster.lifecycle import JobState
from buildmaster.store.submissions import Stored
from protocol.stages import Cell, title


def about_images(architecture: str, hopeless: Mapping[Cell, str]) -> str:
    """That these jobs, each with its series, will end with an error."""
    jobs = some([title(*cell) for cell in hopeless])
    return (
        f"{jobs} on {architecture} will end with an error: no worker has an image of "
        f"{some(sorted(set(hopeless.values())))}. {HOW_TO_MAP}"
    )


def about_merged(architecture: str, job: Stored, isolation: str, force: bool) -> str:
    """That a job was there before, in what state, and what happens to it now.

    ``isolation`` is where it is asked for now.
    """
    is_other = job.isolation != isolation
    before = f", in {job.isolation}," if is_other else ""
    now = f" in {isolation}" if is_other else ""
    note = f"job {job.id} for {architecture} was asked for before{before}"
    note += f" and is {job.result or job.state}"
    if job.state != JobState.DONE.value:
        return note
    again = "it gets another attempt" if force else "--force runs it again"
    return f"{note}; {again}{now}"


def some(words: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(words[:5]) + (" ..." if len(words) > 5 else "")
