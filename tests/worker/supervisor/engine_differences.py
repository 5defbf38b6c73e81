"""What tells two engines apart that ran the same pipeline: lines for people to read."""

from __future__ import annotations

from collections.abc import Iterator

from tests.worker.supervisor.attempts import Told


def differences(name: str, ours: Told, theirs: Told) -> list[str]:
    """Of the pipeline ``name``, every difference between two engines; [] if they agree.

    Logs are compared by what the jobs themselves said: both engines add lines of their own.
    """
    return [
        f"{name}: {cell}: {what}: own engine {mine!r}, lpci {other!r}"
        for cell, what, mine, other in _pairs(ours, theirs)
        if mine != other
    ]


def _pairs(ours: Told, theirs: Told) -> Iterator[tuple[str, str, object, object]]:
    yield "attempt", "result", ours.end.result.value, theirs.end.result.value
    for cell in sorted({*ours.jobs, *theirs.jobs}):
        mine, other = ours.jobs.get(cell), theirs.jobs.get(cell)
        for what in ("result", "exit_status", "properties", "files", "reason"):
            yield cell, what, _told(mine, what), _told(other, what)
        name = cell.rpartition(":")[0]
        yield cell, "log", _said(ours, name), _said(theirs, name)


def _told(body: object, what: str) -> object:
    found = getattr(body, what, None)
    if what == "files" and found is not None:
        return sorted((file.path, file.sha256[:12]) for file in found)
    return getattr(found, "value", found)


def _said(told: Told, name: str) -> list[str]:
    """What a job's commands wrote, without the lines of the engine."""
    lines = told.log(name).splitlines()
    own = ("== ", "-- ", "Launched environment", "Job ")
    return [line for line in lines if not line.startswith(own)]
