"""A graph of new jobs, checked as a whole: names, needs, cycles, each job's wishes.

Pure. Everything wrong with a graph is found in one go, so that its author mends it once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildmaster.dependencies import Require
from buildmaster.matching import Needs
from buildmaster.requests import GraphRequest, JobRequest, Need, Problem, Requirements
from protocol.order import check_object
from protocol.pipeline.problems import listed, quoted, suggestion

#: Edges of one graph.
EDGE_LIMIT = 200_000
#: Problems that are told, and names that are compared with others, of one graph.
PROBLEM_LIMIT = 100
_COMPARISONS = 20
#: Names of a cycle that are told.
_CYCLE_SHOWN = 20
_CYCLES = 10
#: How deep arguments may be nested.
DEPTH_LIMIT = 50
#: Semaphores with these beginnings are the farm's own.
RESERVED = ("group:", "cap:")


@dataclass(frozen=True)
class Upstream:
    """What a member waits for: another member, or a job that exists."""

    require: Require
    member: int | None = None  #: its number in the graph
    job: int | None = None  #: its id
    weak: bool = False  #: nothing to wait for if there is no such job


@dataclass(frozen=True)
class Member:
    """One job of a graph that is in order."""

    number: int  #: its place in the request
    name: str
    request: JobRequest
    needs: Needs  #: of its worker
    ups: tuple[Upstream, ...]


@dataclass(frozen=True)
class Graph:
    """A graph that is in order, its members so that each comes after all it waits for."""

    members: tuple[Member, ...]

    @property
    def outside(self) -> set[int]:
        """The ids of all jobs that it waits for."""
        return {up.job for member in self.members for up in member.ups if up.job}


class BadGraph(Exception):
    """The graph makes no sense: its author's to mend."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"The graph has {count}; nothing was queued.")
        self.problems = tuple(problems)


@dataclass(frozen=True)
class KindRules:
    """What is the same for all jobs of a kind."""

    requirements: Requirements = field(default_factory=Requirements)  #: unless jobs differ
    performs: str | None = None  #: what performs each of them; None: the job says it


#: What goes for a kind; None if there is no such kind.
RulesOf = Callable[[str], KindRules | None]


def only_native(kind: str) -> KindRules | None:
    """`RulesOf` a farm that knows native jobs only."""
    return KindRules() if kind == "native" else None


def check(request: GraphRequest, rules_of: RulesOf = only_native) -> Graph:
    """The graph that ``request`` asks for; raises `BadGraph` with all that is wrong."""
    return _Checker(request.jobs, rules_of).check()


@dataclass
class _Checker:
    jobs: Sequence[JobRequest]
    rules_of: RulesOf
    problems: list[Problem] = field(default_factory=list)
    comparisons: int = 0

    def check(self) -> Graph:
        names = [job.name or job.performs or job.kind for job in self.jobs]
        numbers = self._numbers(names)
        self._check_keys()
        self._check_groups()
        if sum(len(job.needs) for job in self.jobs) > EDGE_LIMIT:
            self._problem("jobs", f"the jobs have more than {EDGE_LIMIT} needs together")
            raise BadGraph(self.problems)
        members = [
            Member(
                number,
                names[number],
                job,
                self._needs(number, job),
                tuple(self._ups(number, job, numbers)),
            )
            for number, job in enumerate(self.jobs)
        ]
        order = self._order(members)
        if self.problems:
            raise BadGraph(self.problems)
        return Graph(tuple(members[number] for number in order))

    def _problem(self, where: str, message: str) -> None:
        if len(self.problems) < PROBLEM_LIMIT:
            self.problems.append(Problem(where=where, line=None, message=message))
        elif len(self.problems) == PROBLEM_LIMIT:
            more = f"there are more than these {PROBLEM_LIMIT} problems"
            self.problems.append(Problem(where="", line=None, message=more))

    def _numbers(self, names: Sequence[str]) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for number, name in enumerate(names):
            first = numbers.setdefault(name, number)
            if first != number:
                self._problem(
                    f"jobs.{number}.name",
                    f"jobs {first} and {number} of the list are both named {quoted(name)}:"
                    f" give one of them another name",
                )
        return numbers

    def _check_keys(self) -> None:
        first: dict[tuple[str, str], int] = {}
        for number, job in enumerate(self.jobs):
            if job.key is not None:
                other = first.setdefault((job.kind, job.key), number)
                if other != number:
                    self._problem(
                        f"jobs.{number}.key",
                        f"jobs {other} and {number} of the list have the same key, and"
                        f" would be one: leave one of them out",
                    )

    def _check_groups(self) -> None:
        first: dict[str, tuple[int, str]] = {}
        for number, job in enumerate(self.jobs):
            if job.concurrency is not None:
                policy = job.concurrency.policy
                other = first.setdefault(job.concurrency.group, (number, policy))
                if other[1] != policy:
                    self._problem(
                        f"jobs.{number}.concurrency",
                        f"jobs {other[0]} and {number} of the list are of one group and"
                        f" have two policies: give them the same",
                    )

    # What one job asks for.

    def _needs(self, number: int, job: JobRequest) -> Needs:
        where = f"jobs.{number}"
        rules = self.rules_of(job.kind)
        if rules is None or job.kind == "build":
            self._problem(
                f"{where}.kind",
                f"this farm has no kind of job named {quoted(job.kind)}, or it cannot be"
                f" asked for here",
            )
            return Needs()
        performs = rules.performs or job.performs or ""
        needs = needs_of(job.requirements, rules.requirements, performs)
        self._check_native(where, job, needs, rules)
        for name in job.semaphores:
            if name.startswith(RESERVED):
                self._problem(
                    f"{where}.semaphores",
                    f"semaphores whose names begin with {listed(RESERVED)} are the farm's"
                    f" own, and cannot be named: {quoted(name)}",
                )
        if len(set(job.semaphores)) < len(job.semaphores):
            self._problem(f"{where}.semaphores", "a semaphore is named twice")
        return needs

    def _check_native(
        self, where: str, job: JobRequest, needs: Needs, rules: KindRules
    ) -> None:
        if job.performs not in (None, needs.performs):
            self._problem(
                f"{where}.performs",
                f"jobs of the kind {job.kind} perform {quoted(needs.performs)} and nothing"
                f" else: leave 'performs' out",
            )
        if not needs.performs:
            self._problem(
                f"{where}.performs",
                "a native job says what it performs: the name of a callable or a command"
                " that workers have",
            )
        if needs.isolation != "native":
            self._problem(
                f"{where}.requirements.isolation",
                f"a native job runs without isolation, and cannot ask for"
                f" {needs.isolation}",
            )
        if job.arguments:
            self._check_arguments(where, job.arguments)

    def _check_arguments(self, where: str, arguments: dict[str, Any]) -> None:
        problem = _unstorable(arguments)
        if problem is None:
            try:
                check_object(arguments)
            except ValueError as error:
                problem = str(error)
        if problem is not None:
            self._problem(
                f"{where}.arguments", f"the arguments cannot be handed on: {problem}"
            )

    # What it waits for.

    def _ups(
        self, number: int, job: JobRequest, numbers: dict[str, int]
    ) -> Iterator[Upstream]:
        seen: set[str | int] = set()
        for place, given in enumerate(job.needs):
            need = given if isinstance(given, Need) else Need(job=given)
            where = f"jobs.{number}.needs.{place}"
            if need.job in seen:
                self._problem(where, f"it needs {_shown(need.job)} twice")
                continue
            seen.add(need.job)
            require = Require(need.require)
            if isinstance(need.job, int):
                yield Upstream(require, job=need.job, weak=need.weak)
            elif need.job in numbers:
                yield Upstream(require, member=numbers[need.job])
            elif not need.weak:
                self._problem(
                    where,
                    f"it needs {quoted(need.job)}, and no job of this graph has that name"
                    f"{self._suggestion(need.job, numbers)}; a need that may be missing is"
                    f" weak, and a job that exists is named by its number",
                )

    def _suggestion(self, name: str, numbers: dict[str, int]) -> str:
        self.comparisons += 1
        return suggestion(name, numbers) if self.comparisons <= _COMPARISONS else ""

    # Who comes first.

    def _order(self, members: Sequence[Member]) -> list[int]:
        """Each after all it waits for, else as in the request."""
        ups = [{up.member for up in each.ups if up.member is not None} for each in members]
        downs: list[list[int]] = [[] for _ in members]
        for down, of in enumerate(ups):
            for up in of:
                downs[up].append(down)
        left = [len(of) for of in ups]
        free = deque(number for number, count in enumerate(left) if not count)
        order: list[int] = []
        cycles = 0
        while len(order) < len(members):
            while free:
                number = free.popleft()
                order.append(number)
                for down in downs[number]:
                    left[down] -= 1
                    if not left[down]:
                        free.append(down)
            if len(order) < len(members):
                if cycles == _CYCLES:
                    break
                cycles += 1
                cycle = _cycle(ups, left)
                self._problem(f"jobs.{cycle[0]}.needs", _told(cycle, members))
                # Without its first one the rest may be looked at.
                left[cycle[0]] = 0
                free.append(cycle[0])
        return order


def needs_of(asked: Requirements, defaults: Requirements, performs: str) -> Needs:
    """What a worker must have for a job that asks for so much; its kind says the rest."""

    def chosen(name: str, otherwise: Any) -> Any:
        for each in (asked, defaults):
            if (value := getattr(each, name)) is not None:
                return value
        return otherwise

    return Needs(
        architecture=chosen("architecture", ""),
        isolation=chosen("isolation", "native"),
        tags=tuple(sorted(set(chosen("tags", ())))),
        performs=performs,
        worker=chosen("worker", ""),
        slots=chosen("slots", 1),
        cpu=round(100 * chosen("cpu", 0)),
        memory=chosen("memory", 0),
        disk=chosen("disk", 0),
    )


def _cycle(ups: Sequence[set[int]], left: Sequence[int]) -> list[int]:
    """Members that wait for each other, each for the next; some of ``left`` are above 0."""
    at = next(number for number, count in enumerate(left) if count > 0)
    path: list[int] = []
    places: dict[int, int] = {}
    while at not in places:
        places[at] = len(path)
        path.append(at)
        # Whoever still waits does so for somebody who still waits.
        at = min(up for up in ups[at] if left[up] > 0)
    return path[places[at] :]


def _told(cycle: Sequence[int], members: Sequence[Member]) -> str:
    names = [quoted(members[number].name) for number in cycle]
    if len(names) == 1:
        return f"{names[0]} needs itself"
    shown = names[:_CYCLE_SHOWN]
    if len(names) > _CYCLE_SHOWN:
        shown.append(f"({len(names) - _CYCLE_SHOWN} more)")
    return f"jobs wait for each other: {' -> '.join([*shown, names[0]])}"


def _shown(job: str | int) -> str:
    return f"job {job}" if isinstance(job, int) else quoted(job)


def _unstorable(value: object) -> str | None:
    """Why ``value`` cannot be kept or sent as JSON can, in half a sentence."""
    level: list[object] = [value]
    for _ in range(DEPTH_LIMIT):
        below: list[object] = []
        for each in level:
            if isinstance(each, str) and "\0" in each:
                return "a text in it holds the character NUL"
            # An order is sent as msgpack, which has no larger ones.
            if isinstance(each, int) and not -(2**63) <= each < 2**63:
                return "a whole number in it takes more than 64 bits"
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return None
        level = below
    return f"they are nested deeper than {DEPTH_LIMIT}"
