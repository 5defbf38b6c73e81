"""What can be asked of a farm's status, in the same words however it is asked.

Each method takes one question (`buildmaster.status.questions`) and fires with one document
(`buildmaster.status.documents`) in a `Told`: the JSON as PostgreSQL made it, typed by
`Told.read`. Every list is bounded by its ``limit`` and goes on where ``next`` says.
Documents carry a ``cursor``: what they do not show yet is told by `events` since it.

`StatusProblem` says why there is no answer: 400 for a question that makes no sense, 401 and
403 for who may not ask, 404 for what there is not, 503 for a farm that cannot now, for
example because the database took too long.
"""

# An Interface's methods have no self.
# ruff: noqa: N805

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Protocol

from zope.interface import Interface

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.news import News
from buildmaster.status.told import Told

__all__ = ["BoundedStatus", "IFollow", "IStatus"]


class IFollow(Protocol):
    """A following, as ``async for`` takes it."""

    def __aiter__(self) -> AsyncIterator[News]: ...
    async def __anext__(self) -> News: ...
    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""


class BoundedStatus(Protocol):
    """An `IStatus` that can be narrowed."""

    def within(self, projects: tuple[str, ...] | None) -> IStatus:
        """The status as somebody sees it who may see these projects only; None: all.

        Lists and events are filtered. What is about one run or job has to be checked
        before, and what is about the whole farm is not for them.
        """


class IStatus(Interface):
    """The status of one farm. Nothing here changes anything, and nothing blocks."""

    def follow(method: str, asked: q.Question, since: str | None = None) -> IFollow:
        """What happens to the answer of the method of this name, from now on.

        An asynchronous iterator of `News`: at first the answer itself (``snapshot``), then
        the events that concern it, and nothing falls between. With ``since``, the
        ``cursor`` of earlier news, there is no snapshot, and what came meanwhile is told.
        The filters of the question hold for events, too, as far as they are about what
        never changes: an event that takes a job out of a list concerns the list.

        To `queue` and `explain` almost every event makes a little difference: their news
        are further snapshots, once a second and every two seconds at most.

        Of `forecast`, `rules`, `tokens`, `stays`, `audit`, `schedules` and
        `workflow_history` no event tells: their news are further snapshots, too, a few
        seconds after they have changed.

        `StatusProblem` comes out of the iterator: 503 ``too_slow`` for who does not keep
        up. Close it in the end.
        """

    def overview(asked: q.Nothing) -> Awaitable[Told[d.Overview]]:
        """The whole farm in a few numbers.

        Jobs by architecture, kind, state and result, and by owner; how the newest failures
        are classified; the job that waits for longest; workers by state and duty. It
        comes from counters, however many jobs there are.
        """

    def runs(asked: q.Runs) -> Awaitable[Told[d.RunPage]]:
        """A page of runs, each with its first 20 jobs in short.

        Newest first, unless ``order`` says otherwise.
        """

    def run(asked: q.OneRun) -> Awaitable[Told[d.Run]]:
        """One run with its first 1000 jobs, what was left out of it, and notes."""

    def jobs(asked: q.Jobs) -> Awaitable[Told[d.JobPage]]:
        """A page of jobs, builds and others together.

        Newest first, unless ``order`` says otherwise. ``kind`` tells builds from others.
        """

    def job(asked: q.OneJob) -> Awaitable[Told[d.Job]]:
        """Everything about one job.

        Its stages and limits, the pipeline jobs of its current attempt with their files,
        its attempts, what it needs and what needs it.
        """

    def explain(asked: q.OneJob) -> Awaitable[Told[d.Explanation]]:
        """Why a job waits and when it should start, or why it ended."""

    def forecast(asked: q.Forecasts) -> Awaitable[Told[d.ForecastPage]]:
        """How many forecasts of `explain` came true, by class of jobs."""

    def holds(asked: q.Nothing) -> Awaitable[Told[d.HoldList]]:
        """What operators keep from starting."""

    def workers(asked: q.Workers) -> Awaitable[Told[d.WorkerPage]]:
        """A page of workers, with what each of them runs."""

    def worker(asked: q.OneWorker) -> Awaitable[Told[d.Worker]]:
        """One worker."""

    def semaphores(asked: q.Semaphores) -> Awaitable[Told[d.SemaphorePage]]:
        """A page of semaphores: who holds them, and how many stand aside."""

    def workflows(asked: q.Workflows) -> Awaitable[Told[d.WorkflowPage]]:
        """A page of workflows, with what each of them waits for."""

    def workflow(asked: q.OneWorkflow) -> Awaitable[Told[d.Workflow]]:
        """One workflow: what it waits for, since when and until when, or how it ended."""

    def workflow_history(
        asked: q.WorkflowTimeline,
    ) -> Awaitable[Told[d.WorkflowHistory]]:
        """A page of a workflow's history: what reached it, and what it asked for then."""

    def schedules(asked: q.Schedules) -> Awaitable[Told[d.SchedulePage]]:
        """A page of schedules: when they come next, and what became of the last times."""

    def rules(asked: q.Rules) -> Awaitable[Told[d.RulePage]]:
        """A page of the rules that say from its log what a failure is."""

    def tokens(asked: q.Tokens) -> Awaitable[Told[d.TokenPage]]:
        """A page of clients' tokens, for admins: nothing in it opens a door."""

    def grid(asked: q.Grid) -> Awaitable[Told[d.Grid]]:
        """Runs against what they run: rows are runs, newest first, cells are jobs.

        Or pipeline jobs, each of its job's current attempt. Cells are arrays, described at
        `Cell`, and name their columns by place. ``limit`` counts runs; a page with 20,000
        cells has fewer, and ``next`` goes on. For ``architecture`` and ``kind`` 10,000
        runs are looked at for one page: it may be short, or empty, and have a ``next``.
        """

    def graph(asked: q.OneRun) -> Awaitable[Told[d.RunGraph]]:
        """One run as a graph: its jobs, and which of them waits for which.

        What they wait for outside of the run is not shown: `job` does.
        """

    def build(asked: q.OneBuild) -> Awaitable[Told[d.Build]]:
        """One build, or another job, whole: all that a page about it shows.

        The job and its explanation; the end of a log; the last attempts of the same job
        in other runs, and how long they took. A log that grows is no event: read on
        ``from`` where this one ends.
        """

    def queue(asked: q.Queue) -> Awaitable[Told[d.Queue]]:
        """Who stands in the line, by class and one by one, and when each should start.

        Jobs that stand aside for a semaphore are shown at their places. 20,000 places are
        looked at for one page: with filters that few jobs pass a page may be short, or
        empty, and still have a ``next``.
        """

    def timeline(asked: q.Timeline) -> Awaitable[Told[d.Timeline]]:
        """What each worker did in a while: a bar for each attempt.

        Bars are arrays, described at `Bar`. 31 days at most. What went on for a day or
        longer after the end of the while is not shown.
        """

    def history(asked: q.History) -> Awaitable[Told[d.History]]:
        """Attempts that ended: what ended last comes first; and durations by day.

        With a ``name`` the newest job comes first. 10,000 attempts, or jobs of the name,
        are looked at for one page: with filters that few pass it may be short, or empty,
        and still have a ``next``. The trend is of those that were looked at.
        """

    def stays(asked: q.Stays) -> Awaitable[Told[d.StayPage]]:
        """A page of people who are logged in, for admins."""

    def audit(asked: q.Audit) -> Awaitable[Told[d.ActPage]]:
        """A page of what was done, by whom, from where and on what, for admins.

        Newest first, unless ``order`` says otherwise. What was refused is there, too.
        """

    def events(asked: q.Events) -> Awaitable[Told[d.EventPage]]:
        """What happened since a place in the log, or since its beginning.

        Every reader gets the same events in the same order. Asking again ``since`` the
        ``cursor`` goes on without a gap and tells nothing twice.
        """
