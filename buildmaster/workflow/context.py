"""What a workflow's code works with: everything that it may ask for, and wait for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar
from uuid import UUID

import msgspec

from buildmaster.requests import JobRequest, SubmissionRequest
from buildmaster.workflow.actions import Retry, is_local, name_of
from buildmaster.workflow.definition import definition_of
from buildmaster.workflow.ends import BuildEnd, CollectionEnd, GraphEnd, JobEnd
from buildmaster.workflow.failures import BadWorkflow, ContinueAsNew, TimedOut
from buildmaster.workflow.history import WARNED_EVENTS, CommandKind, Wait
from buildmaster.workflow.naming import name_problem
from buildmaster.workflow.payload import plain
from buildmaster.workflow.tasks import Future, Task, first_of, gathered

if TYPE_CHECKING:
    from buildmaster.workflow.execution import Execution

T = TypeVar("T")
Policy = Literal["cancel", "abandon"]
Span = float | timedelta

#: Members of a collection that one wait may name.
_MOST_MEMBERS = 100


def seconds(span: Span) -> float:
    """A time as seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


class Context:
    """Given to ``run`` as ``ctx``; handlers of signals have it as ``self.ctx``."""

    def __init__(self, execution: Execution, name: str, generation: int, seed: str) -> None:
        self.name = name  #: of the workflow, as people call it
        self.generation = generation  #: 1, and one more for each continue_as_new
        self._execution = execution
        self.random = Random(f"{seed}/{generation}")  #: the same numbers at each replay
        self._ids = Random(f"{seed}/{generation}/ids")

    # What is the same at each replay.

    def now(self) -> datetime:
        """The time of the event that is being dealt with, by the database's clock."""
        return datetime.fromtimestamp(self._execution.now / 1e6, UTC)

    def uuid(self) -> UUID:
        """A new id, the same at each replay."""
        return UUID(int=self._ids.getrandbits(128), version=4)

    @property
    def history_length(self) -> int:
        """How many events this generation has."""
        return self._execution.event + 1

    @property
    def should_continue(self) -> bool:
        """Whether the history is so long that ``continue_as_new`` should be called."""
        return self.history_length >= WARNED_EVENTS

    def patched(self, change: str) -> bool:
        """Whether this workflow runs with the change: False where it began without."""
        return self._execution.patched(change)

    # Local actions, jobs, children.

    def start_local(
        self,
        action: Callable[..., Any],
        *arguments: object,
        timeout: Span = 60.0,
        total_timeout: Span | None = None,
        retry: Retry = Retry(),  # noqa: B008
    ) -> Future[Any]:
        """Have the master call a `local` function, in a thread, when this step is written.

        ``timeout`` is for one try, ``total_timeout`` for all. What fails in the end
        raises `LocalFailed`.
        """
        if not is_local(action):
            raise BadWorkflow(f"{action!r} is no local action: put @local before it")
        options = {
            "timeout": seconds(timeout),
            "total": None if total_timeout is None else seconds(total_timeout),
            "retry": msgspec.to_builtins(retry),
        }
        return self._command("local", name_of(action), list(arguments), options)

    async def execute_local(
        self, action: Callable[..., Any], *arguments: object, **options: Any
    ) -> Any:
        """The same, and wait for what it returns."""
        return await self.start_local(action, *arguments, **options)

    def start_job(
        self, performs: str | JobRequest, *, policy: Policy = "cancel", **fields: Any
    ) -> Future[JobEnd]:
        """Queue a native job, or one of a kind (``kind=...``), with this step.

        ``fields`` are those of `buildmaster.requests.JobRequest`. With ``policy`` "cancel"
        it is cancelled when nobody here waits for it any more.
        """
        if isinstance(performs, JobRequest):
            request = msgspec.structs.replace(performs, **fields)
        else:
            chosen = {"performs": performs, **fields} if performs else fields
            request = _request(chosen, JobRequest)
        return self._command(
            "job",
            request.name or request.performs or request.kind,
            msgspec.to_builtins(request),
            {"policy": policy},
            JobEnd,
        )

    async def execute_job(self, performs: str | JobRequest, **fields: Any) -> JobEnd:
        """The same, and wait for its end; a job that ended badly raises nothing."""
        return await self.start_job(performs, **fields)

    def start_build(
        self, source: Any, *, policy: Policy = "cancel", **fields: Any
    ) -> Future[BuildEnd]:
        """Submit the pipeline of a source, as ``headrace submit`` does.

        ``source`` and ``fields`` are those of `buildmaster.requests.SubmissionRequest`.
        """
        request = _submission(source, fields)
        given = msgspec.to_builtins(request)
        options = {"policy": policy}
        return self._command("build", _title(request), given, options, BuildEnd)

    async def execute_build(self, source: Any, **fields: Any) -> BuildEnd:
        """The same, and wait until all its builds have ended."""
        return await self.start_build(source, **fields)

    def start_graph(
        self, source: Any, *, policy: Policy = "cancel", **fields: Any
    ) -> Future[GraphEnd]:
        """Run the graph, or pipeline, of a source: as ``start_build``, node by node."""
        request = _submission(source, fields)
        given = msgspec.to_builtins(request)
        options = {"policy": policy, "nodes": True}
        return self._command("build", _title(request), given, options, GraphEnd)

    async def run_graph(self, source: Any, **fields: Any) -> GraphEnd:
        """The same, and wait for the end of the run; a bad end raises nothing."""
        return await self.start_graph(source, **fields)

    async def ensure_job(
        self,
        job: str,
        *,
        source: Any = None,
        run: int | None = None,
        package: str | None = None,
        cell: Mapping[str, str] | None = None,
        again: bool = False,
        policy: Policy = "cancel",
        timeout: Span | None = None,
        **fields: Any,
    ) -> JobEnd:
        """The end of a job of a ``.headrace.yaml``, which is started only if it must be.

        ``job`` is its identifier, ``cell`` as much of its cell as tells it from others.
        Its file is that of ``source``, or of the source of an earlier ``run``. If the job
        is there, in whichever run, it is that one; if one with its key has passed, that
        stands for it; else it is started, and what it needs and is not there. With
        ``again`` a job that ended badly has another attempt. `JobRefused` where there is
        no such job, or more than one; `TimedOut` after ``timeout``.
        """
        if (source is None) == (run is None):
            raise BadWorkflow("ensure_job() is of a source or of a run: give it one")
        given: dict[str, Any] = {
            "job": job,
            "package": package,
            "cell": dict(cell or {}),
            "again": again,
        }
        if run is not None:
            given |= {"run": run, "fields": msgspec.to_builtins(_fields(fields))}
        else:
            given["submission"] = msgspec.to_builtins(_submission(source, fields))
        options = {"policy": policy}
        ensured = self._command("ensure", job, given, options, JobEnd)
        return await self._within(ensured, f"the job {job}", timeout)

    async def wait_collection(
        self,
        collection: str,
        contains: Iterable[str],
        *,
        cell: Mapping[str, str] | None = None,
        timeout: Span | None = None,
    ) -> CollectionEnd:
        """Wait until all are in a collection, whoever puts them there; who they are then.

        ``cell`` has values that members must have: ``{"series": "noble"}``. `TimedOut`
        after ``timeout``.
        """
        wanted = sorted({str(each) for each in contains})
        if not 1 <= len(wanted) <= _MOST_MEMBERS:
            raise BadWorkflow(f"a collection is waited for with 1 to {_MOST_MEMBERS} names")
        given = {"collection": collection, "contains": wanted, "cell": dict(cell or {})}
        name = f"{collection}: {', '.join(wanted)}"[:500]
        found = self._command("collection", name, given, {}, CollectionEnd)
        return await self._within(found, f"the collection {name}", timeout)

    def start_child(
        self,
        cls: type[Any],
        *arguments: object,
        id: str | None = None,
        policy: Policy = "cancel",
        execution_timeout: Span | None = None,
    ) -> Future[Any]:
        """Start another workflow, which knows this one as its parent.

        When this one is cancelled, or ends, a child with ``policy`` "cancel" is cancelled.
        """
        child = definition_of(cls)
        given = plain(list(arguments), f"what {child.name} is given")
        child.run.arguments(given)
        if id is not None and (problem := name_problem(id)) is not None:
            raise BadWorkflow(f"a child cannot be named {id[:50]!r}: {problem}")
        options = {
            "policy": policy,
            "id": id,
            "timeout": None if execution_timeout is None else seconds(execution_timeout),
            "version": child.version,
        }
        return self._command("child", child.name, given, options)

    async def execute_child(
        self, cls: type[Any], *arguments: object, **options: Any
    ) -> Any:
        """The same, and wait for what it returns; `ChildFailed` if it does not."""
        return await self.start_child(cls, *arguments, **options)

    # Waiting.

    async def sleep(self, span: Span, name: str = "sleep") -> None:
        """Wait so long; restarts of masters make no difference."""
        await self._timer(span, Wait(what="sleep", name=name, since=self._execution.now))

    async def wait_condition(
        self, holds: Callable[[], bool], *, name: str, timeout: Span | None = None
    ) -> None:
        """Wait until ``holds`` says so, which is asked again after each event.

        ``name`` is what people are shown. `TimedOut` after ``timeout``.
        """
        execution = self._execution
        who = f"the condition of {name!r}"

        def asked() -> bool:
            return execution.holds(holds, who)

        if asked():
            return
        now = execution.now
        until = None if timeout is None else now + round(seconds(timeout) * 1e6)
        condition: Future[bool] = Future(
            Wait(what="condition", name=name, since=now, until=until)
        )
        execution.tasks.add_condition(asked, condition)
        await self._within(condition, name, timeout)

    def start(self, coroutine: Coroutine[Any, Any, T], name: str = "task") -> Task[T]:
        """Run a coroutine of the workflow beside this one; await it, or let it run."""
        return self._execution.tasks.start(coroutine, name)

    async def gather(self, *what: Any) -> list[Any]:
        """What all of them give, in this order; the first failure cancels the others."""
        return await gathered([self._future(each) for each in what])

    async def first(self, *what: Any) -> tuple[int, Any]:
        """The place and the value of the first that is there; the others go on.

        Cancel those with ``cancel()`` if nobody needs them.
        """
        futures = [self._future(each) for each in what]
        place = await first_of(futures)
        return place, futures[place].result()

    @contextmanager
    def shielded(self, timeout: Span | None = None) -> Iterator[None]:
        """Let no cancel interrupt what stands within, for clean-up; `TimedOut` after it."""
        task = self._execution.tasks.current
        if task is None:
            raise BadWorkflow("shielded() is for code that runs in a task")
        timer = None
        if timeout is not None:
            timer = self._timer(timeout, None, "shielded")
            span = seconds(timeout)

            def late() -> None:
                if timer is not None and timer.error is None and task.shields:
                    task.interrupt_with(TimedOut(f"the clean-up took more than {span:g} s"))

            timer.call_when_done(late)
        task.shields += 1
        try:
            yield
        finally:
            task.shields -= 1
            if timer is not None:
                timer.cancel()

    def continue_as_new(self, *arguments: object) -> NoReturn:
        """Go on as a workflow of the same name with a history of its own.

        Signals that have not been dealt with go to the new one.
        """
        definition = self._execution.definition
        definition.run.arguments(plain(list(arguments), "what run is given"))
        raise ContinueAsNew(arguments)

    # How it is done.

    async def _within(self, awaited: Future[T], name: str, timeout: Span | None) -> T:
        """What is awaited; `TimedOut` after ``timeout``, and nobody needs it any more."""
        if timeout is None:
            return await awaited
        timer = self._timer(timeout, None, f"until {name}")
        if awaited.wait is not None:
            due = self._execution.now + round(seconds(timeout) * 1e6)
            awaited.wait = msgspec.structs.replace(awaited.wait, until=due)
        drop = awaited.given_up

        def late() -> None:
            if timer.error is None and not awaited.is_done:
                awaited.fail(TimedOut(f"{name}: not within {seconds(timeout):g} s"))
                if drop is not None:
                    drop()

        def given_up() -> None:
            timer.cancel()
            if drop is not None:
                drop()

        timer.call_when_done(late)
        awaited.call_when_done(timer.cancel)
        awaited.given_up = given_up
        return await awaited

    def _future(self, what: Any) -> Future[Any]:
        if isinstance(what, Future):
            return what
        return self.start(what, getattr(what, "__name__", "task"))

    def _timer(
        self, span: Span, wait: Wait | None, name: str | None = None
    ) -> Future[None]:
        due = self._execution.now + max(0, round(seconds(span) * 1e6))
        if wait is not None:
            name = wait.name
            wait = msgspec.structs.replace(wait, until=due)
        return self._execution.command("timer", name or "sleep", None, {"due": due}, wait)

    def _command(
        self,
        kind: CommandKind,
        name: str,
        arguments: Any,
        options: dict[str, Any],
        returns: Any = Any,
    ) -> Future[Any]:
        is_new = not self._execution.is_replaying
        given = plain(arguments, f"what {name} is given", limited=is_new)
        wait = Wait(what=kind, name=name, since=self._execution.now)
        # At a replay nobody looks at options.
        kept = plain(options, f"the options of {name}") if is_new else {}
        return self._execution.command(kind, name, given, kept, wait, returns)


def _submission(source: Any, fields: dict[str, Any]) -> SubmissionRequest:
    return _request({"source": plain(source, "the source"), **fields}, SubmissionRequest)


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What may stand beside the source of an earlier run."""
    checked = _submission({"kind": "git", "repository": "any"}, fields)
    given: dict[str, Any] = msgspec.to_builtins(checked)
    return {name: given[name] for name in fields}


def _title(request: SubmissionRequest) -> str:
    source = request.source
    return str(getattr(source, "repository", None) or source.name)  # type: ignore[union-attr]


def _request(fields: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(plain(fields, "the request"), kind)
    except msgspec.ValidationError as error:
        raise BadWorkflow(f"the farm takes no such request: {error}") from error
