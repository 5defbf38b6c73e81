"""What a node finds when it runs: files of those it waited for, and who it is."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from buildmaster.database import Cursor
from buildmaster.store import nodes as store
from protocol.order import HandedOver, KeptFile, variable_part


async def handed_over(
    cursor: Cursor, job: int, node: Mapping[str, Any]
) -> tuple[HandedOver, ...]:
    """The files that the upstreams of ``job`` made for it, by the job that made them.

    A folder is there also for a job that made none, so that a command finds it empty; and
    for a package's own job, though the package may depend on none. Two files that would
    have one path are both told, for the worker to refuse: none is silently the other.
    """
    names = await store.handed_jobs(cursor, job)
    if node["scope"] in ("each", "top"):
        names = sorted({*names, node["job_name"]})
    files: dict[str, dict[KeptFile, None]] = {name: {} for name in names}
    for row in await store.handed_rows(cursor, job):
        patterns = row.handed.get("patterns")
        folders = [row.handed.get("folder", "")]
        # Edges of earlier versions do not say it themselves.
        if row.handed.get("whole") or row.is_whole_pipeline:
            folders += [row.name, str(row.index)]
        for file in row.files:
            path = file["path"]
            if patterns is not None and not any(fnmatchcase(path, one) for one in patterns):
                continue
            whole = "/".join([*(folder for folder in folders if folder), path])
            files[row.handed["job"]][KeptFile(**{**file, "path": whole})] = None
    return tuple(
        HandedOver(job=name, files=tuple(of_job)) for name, of_job in files.items()
    )


def variables_of(node: Mapping[str, Any]) -> dict[str, str]:
    """What tells a command for which node it runs."""
    found = {"CI_JOB": node["job_name"]}
    if node["package"] is not None:
        found["CI_PACKAGE"] = node["package"]
    if node["covers"]:
        content = node["content"]
        changed = node["covers"] if content is None else content["changed"]
        found["CI_PACKAGES"] = " ".join(changed)
    for pair in node["cell"].split(",") if node["cell"] else ():
        axis, _, value = pair.partition("=")
        found[f"CI_CELL_{variable_part(axis)}"] = value
    return found
