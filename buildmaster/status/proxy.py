"""The status of a farm elsewhere: `IStatus` over whatever carries questions and answers."""

from __future__ import annotations

from typing import TypeVar

from zope.interface import implementer

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.interface import IFollow, IStatus
from buildmaster.status.told import Told

T = TypeVar("T")


@implementer(IStatus)
class StatusProxy:
    """The methods of `IStatus`, typed, for whoever implements `ask`."""

    async def ask(self, name: str, asked: q.Question) -> bytes:
        """The document with which the farm answers, or `StatusProblem`."""
        raise NotImplementedError

    def follow(self, method: str, asked: q.Question, since: str | None = None) -> IFollow:
        """What happens to an answer; see `IStatus.follow`."""
        raise NotImplementedError

    async def overview(self, asked: q.Nothing) -> Told[d.Overview]:
        return await self._told("overview", asked, d.Overview)

    async def runs(self, asked: q.Runs) -> Told[d.RunPage]:
        return await self._told("runs", asked, d.RunPage)

    async def run(self, asked: q.OneRun) -> Told[d.Run]:
        return await self._told("run", asked, d.Run)

    async def jobs(self, asked: q.Jobs) -> Told[d.JobPage]:
        return await self._told("jobs", asked, d.JobPage)

    async def job(self, asked: q.OneJob) -> Told[d.Job]:
        return await self._told("job", asked, d.Job)

    async def explain(self, asked: q.OneJob) -> Told[d.Explanation]:
        return await self._told("explain", asked, d.Explanation)

    async def forecast(self, asked: q.Forecasts) -> Told[d.ForecastPage]:
        return await self._told("forecast", asked, d.ForecastPage)

    async def holds(self, asked: q.Nothing) -> Told[d.HoldList]:
        return await self._told("holds", asked, d.HoldList)

    async def workers(self, asked: q.Workers) -> Told[d.WorkerPage]:
        return await self._told("workers", asked, d.WorkerPage)

    async def worker(self, asked: q.OneWorker) -> Told[d.Worker]:
        return await self._told("worker", asked, d.Worker)

    async def semaphores(self, asked: q.Semaphores) -> Told[d.SemaphorePage]:
        return await self._told("semaphores", asked, d.SemaphorePage)

    async def workflows(self, asked: q.Workflows) -> Told[d.WorkflowPage]:
        return await self._told("workflows", asked, d.WorkflowPage)

    async def workflow(self, asked: q.OneWorkflow) -> Told[d.Workflow]:
        return await self._told("workflow", asked, d.Workflow)

    async def workflow_history(self, asked: q.WorkflowTimeline) -> Told[d.WorkflowHistory]:
        return await self._told("workflow_history", asked, d.WorkflowHistory)

    async def schedules(self, asked: q.Schedules) -> Told[d.SchedulePage]:
        return await self._told("schedules", asked, d.SchedulePage)

    async def rules(self, asked: q.Rules) -> Told[d.RulePage]:
        return await self._told("rules", asked, d.RulePage)

    async def tokens(self, asked: q.Tokens) -> Told[d.TokenPage]:
        return await self._told("tokens", asked, d.TokenPage)

    async def grid(self, asked: q.Grid) -> Told[d.Grid]:
        return await self._told("grid", asked, d.Grid)

    async def graph(self, asked: q.OneRun) -> Told[d.RunGraph]:
        return await self._told("graph", asked, d.RunGraph)

    async def build(self, asked: q.OneBuild) -> Told[d.Build]:
        return await self._told("build", asked, d.Build)

    async def queue(self, asked: q.Queue) -> Told[d.Queue]:
        return await self._told("queue", asked, d.Queue)

    async def timeline(self, asked: q.Timeline) -> Told[d.Timeline]:
        return await self._told("timeline", asked, d.Timeline)

    async def history(self, asked: q.History) -> Told[d.History]:
        return await self._told("history", asked, d.History)

    async def stays(self, asked: q.Stays) -> Told[d.StayPage]:
        return await self._told("stays", asked, d.StayPage)

    async def audit(self, asked: q.Audit) -> Told[d.ActPage]:
        return await self._told("audit", asked, d.ActPage)

    async def events(self, asked: q.Events) -> Told[d.EventPage]:
        return await self._told("events", asked, d.EventPage)

    async def _told(self, name: str, asked: q.Question, kind: type[T]) -> Told[T]:
        return Told(await self.ask(name, asked), kind)
