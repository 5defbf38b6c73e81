"""What authors of job kinds import: the interface of a kind, and what it hears and says.

A kind is a plug-in of Twisted's system. Its jobs run on workers as native jobs do;
``docs/kinds.rst`` tells how to install one.
"""

# An Interface's methods have no self.
# ruff: noqa: N805

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zope.interface import Attribute, Interface

from buildmaster.requests import JobRequest, Requirements

__all__ = ["After", "EndedJob", "IJobKind", "JobRequest", "Requirements", "Statement"]


class IJobKind(Interface):
    """A kind of jobs; a Twisted plug-in."""

    name = Attribute("What jobs call it: small letters, digits and '-', 100 at most.")
    description = Attribute("What it does, as half a sentence: 'imports the heads of ...'.")
    performs = Attribute(
        "The name of the callable (`worker.native.interface.INativeJob`) or command that"
        " performs every job of the kind; None: each job says it."
    )
    requirements = Attribute(
        "What its jobs need of a worker unless they say otherwise, as `Requirements`."
    )
    sql_folder = Attribute(
        "The folder (a `pathlib.Path`) of its own numbered SQL files; None: it has none."
    )
    document = Attribute(
        "The name of an SQL function from those files, of a job's id, whose JSON stands as"
        " 'details' in the job's document; None: nothing does."
    )
    hears_ends = Attribute("Whether `ended` is called.")

    def ended(job: EndedJob) -> After | None:
        """What follows now that ``job`` is done; None: nothing.

        Called after the transaction that ended the job, in a thread of its own, so it may
        block for a while; at least once for each end, and more often where a master was
        stopped meanwhile. What it returns is written in one transaction, once. When it
        raises, or is not back in time, it is called again later, a limited number of times.
        """


@dataclass(frozen=True)
class EndedJob:
    """A job that is done."""

    id: int
    attempt: int
    kind: str
    name: str
    owner: str
    result: str  #: as in `protocol.results.Result`
    reason: str
    arguments: dict[str, Any]
    output: dict[str, Any] | None  #: what the callable returned


@dataclass(frozen=True)
class Statement:
    """SQL with ``%(name)s`` for each of ``parameters``; a per cent sign is ``%%``."""

    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class After:
    """What is to be written when a job has ended, whole or nothing."""

    statements: tuple[Statement, ...] = ()  #: on the kind's own tables
    jobs: tuple[JobRequest, ...] = ()  #: a graph, queued as a run of its own
