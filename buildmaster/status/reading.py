"""The status in-process: each question is one statement, or few, on the readers' pool."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import copy
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec
from zope.interface import implementer

from buildmaster.database import Database, DatabaseAway, StatementCancelled
from buildmaster.feed import EventFeed
from buildmaster.forecasting import Forecaster
from buildmaster.kinds.details import Details
from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status import whole
from buildmaster.status.following import RENEWED, Following
from buildmaster.status.interface import IStatus
from buildmaster.status.keys import AskedKeys, KnownKeys
from buildmaster.status.methods import METHODS
from buildmaster.status.problems import StatusProblem, not_there
from buildmaster.status.remembering import Remembering
from buildmaster.status.sharing import Sharing
from buildmaster.status.told import Told
from buildmaster.store.documents.acts import act_list
from buildmaster.store.documents.graphs import run_graph
from buildmaster.store.documents.grid import grid
from buildmaster.store.documents.history import history
from buildmaster.store.documents.jobs import job_document, job_list
from buildmaster.store.documents.keys import known_keys
from buildmaster.store.documents.known import Known
from buildmaster.store.documents.overview import overview
from buildmaster.store.documents.rules import rule_list
from buildmaster.store.documents.runs import run_document, run_list
from buildmaster.store.documents.schedules import schedule_list
from buildmaster.store.documents.semaphores import semaphore_list
from buildmaster.store.documents.stays import stay_list
from buildmaster.store.documents.timeline import timeline
from buildmaster.store.documents.tokens import token_list
from buildmaster.store.documents.workers import worker_document, worker_list
from buildmaster.store.documents.workflows import (
    workflow_document,
    workflow_history,
    workflow_list,
)
from buildmaster.store.events import START, BadEventId, EventId, events_after
from buildmaster.store.forecasts import score_list
from buildmaster.store.operating import hold_list
from buildmaster.submission import TRUSTED

#: Seconds after which a follower hears that there is nothing new.
PATIENCE = 15.0

P = ParamSpec("P")
T = TypeVar("T")


def _explained(
    method: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """``method``, with what stands in its way told as `StatusProblem`."""

    @wraps(method)
    async def explained(*args: P.args, **keywords: P.kwargs) -> T:
        try:
            return await method(*args, **keywords)
        except BadEventId as error:
            raise StatusProblem(400, "bad_event_id", str(error)) from error
        except DatabaseAway as error:
            raise StatusProblem(503, "not_now", str(error)) from error
        except StatementCancelled as error:
            raise StatusProblem(
                503,
                "too_slow",
                "the database took too long over this; ask for less, or later",
            ) from error

    return explained


@implementer(IStatus)
class Status:
    """Answers from the database. For whoever may see everything: it asks for no token."""

    def __init__(
        self,
        database: Database,
        details: Details,
        forecaster: Forecaster,
        feed: EventFeed,
        isolation: str = "native",
    ) -> None:
        """``database`` should be a pool of the readers' own, with a statement timeout.

        ``isolation`` is where jobs run that do not say.
        """
        self._isolation = isolation
        self._within: tuple[str, ...] | None = None
        self._database = database
        self._details = details
        self._forecaster = forecaster
        self._feed = feed
        self._known = Known()
        self._memory = Remembering(Sharing(self, feed.clock), feed, feed.clock)

    def within(self, projects: tuple[str, ...] | None) -> Status:
        """The status as somebody sees it who may see these projects only; None: all."""
        if projects is None:
            return self
        narrow = copy(self)
        narrow._within = projects
        return narrow

    def follow(self, method: str, asked: q.Question, since: str | None = None) -> Following:
        # Who is told the whole answer again gets what others at this moment get, unless
        # he may see some projects only.
        is_shared = method in RENEWED and self._within is None
        status = self._memory if is_shared else self
        ask = getattr(status, METHODS[method].name)
        return Following(
            self._feed, ask, method, asked, since, PATIENCE, within=self._within
        )

    @_explained
    async def overview(self, asked: q.Nothing) -> Told[d.Overview]:
        return Told((await overview(self._database)).encode(), d.Overview)

    @_explained
    async def runs(self, asked: q.Runs) -> Told[d.RunPage]:
        page = await run_list(self._database, asked, self._within)
        return Told(page.document("runs"), d.RunPage)

    @_explained
    async def run(self, asked: q.OneRun) -> Told[d.Run]:
        text = await run_document(self._database, asked.run)
        return _told(text, d.Run, f"run {asked.run}")

    @_explained
    async def jobs(self, asked: q.Jobs) -> Told[d.JobPage]:
        page = await job_list(self._database, asked, self._known, self._within)
        return Told(page.document("jobs"), d.JobPage, page.version)

    @_explained
    async def job(self, asked: q.OneJob) -> Told[d.Job]:
        details = await self._details.of(asked.job)
        text = await job_document(self._database, asked.job, details)
        return _told(text, d.Job, f"job {asked.job}")

    @_explained
    async def explain(self, asked: q.OneJob) -> Told[d.Explanation]:
        found = await self._forecaster.explain(asked.job)
        text = None if found is None else msgspec.json.encode(found).decode()
        return _told(text, d.Explanation, f"job {asked.job}")

    @_explained
    async def forecast(self, asked: q.Forecasts) -> Told[d.ForecastPage]:
        page = await score_list(self._database, after=asked.after or 0, limit=asked.limit)
        return Told(page.document("forecast"), d.ForecastPage)

    @_explained
    async def holds(self, asked: q.Nothing) -> Told[d.HoldList]:
        page = await hold_list(self._database)
        return Told(page.document("holds"), d.HoldList)

    @_explained
    async def workers(self, asked: q.Workers) -> Told[d.WorkerPage]:
        page = await worker_list(self._database, asked)
        return Told(page.document("workers"), d.WorkerPage)

    @_explained
    async def worker(self, asked: q.OneWorker) -> Told[d.Worker]:
        text = await worker_document(self._database, asked.worker)
        return _told(text, d.Worker, "worker of this name")

    @_explained
    async def semaphores(self, asked: q.Semaphores) -> Told[d.SemaphorePage]:
        page = await semaphore_list(self._database, asked)
        return Told(page.document("semaphores"), d.SemaphorePage)

    @_explained
    async def workflows(self, asked: q.Workflows) -> Told[d.WorkflowPage]:
        page = await workflow_list(self._database, asked)
        return Told(page.document("workflows"), d.WorkflowPage)

    @_explained
    async def workflow(self, asked: q.OneWorkflow) -> Told[d.Workflow]:
        text = await workflow_document(self._database, asked.workflow)
        return _told(text, d.Workflow, "workflow of this name")

    @_explained
    async def workflow_history(self, asked: q.WorkflowTimeline) -> Told[d.WorkflowHistory]:
        text = await workflow_history(self._database, asked)
        return _told(text, d.WorkflowHistory, "workflow of this name")

    @_explained
    async def schedules(self, asked: q.Schedules) -> Told[d.SchedulePage]:
        page = await schedule_list(self._database, asked)
        return Told(page.document("schedules"), d.SchedulePage)

    @_explained
    async def rules(self, asked: q.Rules) -> Told[d.RulePage]:
        page = await rule_list(self._database, asked)
        return Told(page.document("rules"), d.RulePage)

    @_explained
    async def tokens(self, asked: q.Tokens) -> Told[d.TokenPage]:
        page = await token_list(self._database, asked)
        return Told(page.document("tokens"), d.TokenPage)

    @_explained
    async def grid(self, asked: q.Grid) -> Told[d.Grid]:
        return Told(await grid(self._database, asked), d.Grid)

    @_explained
    async def graph(self, asked: q.OneRun) -> Told[d.RunGraph]:
        found = await run_graph(self._database, asked.run)
        if found is None:
            raise not_there(f"run {asked.run}")
        return Told(found, d.RunGraph)

    @_explained
    async def build(self, asked: q.OneBuild) -> Told[d.Build]:
        details = await self._details.of(asked.job)
        text = await job_document(self._database, asked.job, details)
        found = None if text is None else await self._forecaster.explain(asked.job)
        if text is None or found is None:
            raise not_there(f"job {asked.job}")
        return Told(await whole.build(self._database, asked, text, found), d.Build)

    @_explained
    async def queue(self, asked: q.Queue) -> Told[d.Queue]:
        found = await whole.queue(self._database, self._forecaster, asked)
        return Told(found, d.Queue)

    @_explained
    async def timeline(self, asked: q.Timeline) -> Told[d.Timeline]:
        since, until = whole.window(asked)
        found = await timeline(self._database, since, until, asked.worker, asked.limit)
        return Told(found, d.Timeline)

    @_explained
    async def history(self, asked: q.History) -> Told[d.History]:
        return Told(await history(self._database, asked), d.History)

    async def stays(self, asked: q.Stays) -> Told[d.StayPage]:
        page = await stay_list(self._database, asked)
        return Told(page.document("stays"), d.StayPage)

    @_explained
    async def audit(self, asked: q.Audit) -> Told[d.ActPage]:
        page = await act_list(self._database, asked)
        return Told(page.document("audit"), d.ActPage)

    @_explained
    async def keys(self, asked: AskedKeys) -> Told[KnownKeys]:
        """What the farm knows of the keys of nodes that somebody plans."""
        # Whatever is submitted is of this domain, and takes results of no other.
        domains = (TRUSTED,)
        found = await known_keys(
            self._database, asked, self._within, domains, self._isolation
        )
        return Told(found, KnownKeys)

    @_explained
    async def events(self, asked: q.Events) -> Told[d.EventPage]:
        since = START if asked.since is None else EventId.parse(asked.since)
        reading = await events_after(
            self._database,
            since,
            run=asked.run,
            job=asked.job,
            limit=asked.limit,
            within=self._within,
        )
        return Told(reading.document(), d.EventPage)


def _told(text: str | None, kind: type[T], what: str) -> Told[T]:
    if text is None:
        raise not_there(what)
    return Told(text.encode(), kind)
