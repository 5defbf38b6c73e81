"""What authors of native jobs import: the interface of a callable, and what it is given.

A native job runs on a worker without any isolation, as the account of the worker: it is
for code that the operator trusts. ``docs/native-jobs.rst`` tells how to install one.
"""

# An Interface's methods have no self.
# ruff: noqa: N805

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zope.interface import Attribute, Interface

from worker.native.storing import Store


class INativeJob(Interface):
    """A Python callable that jobs of the kind ``native`` name; a Twisted plug-in."""

    name = Attribute(
        "The name that jobs call it by: letters, digits, '.', '_' and '-', 100 at most."
    )
    is_quick = Attribute(
        "True: it never waits (no file, no socket, no sleep) and takes well under a "
        "millisecond. It then runs in the worker daemon itself, between two messages. "
        "False: it runs in a process of its own, and may take its time."
    )

    def run(arguments: dict[str, Any], context: Context) -> dict[str, Any] | None:
        """Do the work and return a JSON object of at most 64 KiB, or nothing.

        What it raises makes the job a failure, with the exception's text as its reason;
        `InfrastructureError` makes it an error, which the farm tries again.

        It may block, use threads, start processes and print: standard output and errors
        are the job's log. It must not count on what an earlier job left in memory, and
        what it has started does not outlive it. When the job is cancelled, or takes
        longer than it may, its processes are killed without a warning.
        """


class InfrastructureError(Exception):
    """Not the job's fault: something that it needs was not there. Worth another try."""


@dataclass(frozen=True)
class Context:
    """What a callable may know of the attempt that it performs."""

    job: int
    attempt: int
    log: Callable[[str], object]  #: adds a line to the job's log, as ``print`` does
    #: Puts files among the farm's, if whoever asked for the job said that it stores some.
    store: Store = field(default_factory=lambda: Store(None, print))
