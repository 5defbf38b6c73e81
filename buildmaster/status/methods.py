"""The table from which the routes, the OpenAPI document, PB and the commands are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from buildmaster.grants import Scope
from buildmaster.status import documents, questions
from buildmaster.status.interface import IStatus
from buildmaster.status.questions import Question


@dataclass(frozen=True)
class Method:
    """One method of `IStatus`, as the ways to it see it."""

    name: str
    question: type[Question]
    document: type[Any]
    path: str  #: in HTTP; parts in braces are parameters, the others go into the query
    scope: Scope = Scope.READ
    #: With a ``repository`` nothing but what is of it is shown.
    is_of_repository: bool = False

    @property
    def meaning(self) -> str:
        """The docstring in the interface."""
        return _unindented(IStatus[self.name].getDoc())

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return self.meaning.partition("\n")[0]

    @property
    def in_path(self) -> tuple[str, ...]:
        """The parameters that are parts of the path."""
        parts = self.path.split("/")
        return tuple(part[1:-1] for part in parts if part.startswith("{"))

    @property
    def fields(self) -> tuple[msgspec.structs.FieldInfo, ...]:
        """All parameters."""
        return msgspec.structs.fields(self.question)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("overview", questions.Nothing, documents.Overview, "/api/v1/overview"),
        Method(
            "runs",
            questions.Runs,
            documents.RunPage,
            "/api/v1/runs",
            is_of_repository=True,
        ),
        Method("run", questions.OneRun, documents.Run, "/api/v1/runs/{run}"),
        Method(
            "jobs",
            questions.Jobs,
            documents.JobPage,
            "/api/v1/jobs",
            is_of_repository=True,
        ),
        Method("job", questions.OneJob, documents.Job, "/api/v1/jobs/{job}"),
        Method(
            "explain",
            questions.OneJob,
            documents.Explanation,
            "/api/v1/jobs/{job}/explain",
        ),
        Method("forecast", questions.Forecasts, documents.ForecastPage, "/api/v1/forecast"),
        Method("holds", questions.Nothing, documents.HoldList, "/api/v1/holds"),
        Method("workers", questions.Workers, documents.WorkerPage, "/api/v1/workers"),
        Method("worker", questions.OneWorker, documents.Worker, "/api/v1/workers/{worker}"),
        Method(
            "semaphores",
            questions.Semaphores,
            documents.SemaphorePage,
            "/api/v1/semaphores",
        ),
        Method(
            "workflows", questions.Workflows, documents.WorkflowPage, "/api/v1/workflows"
        ),
        Method(
            "workflow",
            questions.OneWorkflow,
            documents.Workflow,
            "/api/v1/workflows/{workflow}",
        ),
        Method(
            "workflow_history",
            questions.WorkflowTimeline,
            documents.WorkflowHistory,
            "/api/v1/workflows/{workflow}/history",
        ),
        Method(
            "schedules", questions.Schedules, documents.SchedulePage, "/api/v1/schedules"
        ),
        Method("rules", questions.Rules, documents.RulePage, "/api/v1/rules"),
        Method(
            "tokens", questions.Tokens, documents.TokenPage, "/api/v1/tokens", Scope.ADMIN
        ),
        Method(
            "grid",
            questions.Grid,
            documents.Grid,
            "/api/v1/grid",
            is_of_repository=True,
        ),
        Method("graph", questions.OneRun, documents.RunGraph, "/api/v1/runs/{run}/graph"),
        Method("build", questions.OneBuild, documents.Build, "/api/v1/jobs/{job}/whole"),
        Method("queue", questions.Queue, documents.Queue, "/api/v1/queue"),
        Method("timeline", questions.Timeline, documents.Timeline, "/api/v1/timeline"),
        Method(
            "history",
            questions.History,
            documents.History,
            "/api/v1/history",
            is_of_repository=True,
        ),
        Method("stays", questions.Stays, documents.StayPage, "/api/v1/stays", Scope.ADMIN),
        Method("audit", questions.Audit, documents.ActPage, "/api/v1/audit", Scope.ADMIN),
        Method("events", questions.Events, documents.EventPage, "/api/v1/events"),
    )
}


#: What can be answered for some projects only; of the rest of the farm nothing is in it.
FILTERED = frozenset({"runs", "jobs", "events"})


def _unindented(doc: str) -> str:
    lines = doc.strip().splitlines()
    return "\n".join([lines[0], *(line.strip() for line in lines[1:])]) if lines else ""
