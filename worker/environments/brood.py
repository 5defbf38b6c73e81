"""A brood: commands and their offspring, where the kernel allows no namespaces.

This process adopts every orphan among its descendants, so that daemons stay in its
family, and at the end kills the family member by member until there is none.  If it is
itself killed, its commands die with it but their daemons don't; a sweep finds those by a
mark in their environment, or by their working directory.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from subprocess import Popen
from uuid import uuid4

from worker.environments import syscalls, traces
from worker.environments.interface import EnvironmentFault


class Brood:
    """All that descends from this process from here on."""

    def __init__(self) -> None:
        syscalls.adopt_orphans(True)
        self.mark = uuid4().hex
        self._older = set(_children(os.getpid()))

    def join(self) -> None:
        """Whatever this process starts is of the brood already; it must not outlive it."""
        syscalls.die_with_parent()

    def stop(self, commands: list[Popen[bytes]]) -> None:
        """Kill the family; ``commands`` are the children that others wait for, too."""
        waited_for = {command.pid: command for command in commands}
        # A process can fork faster than it is found: repeat until nobody is left.
        while family := self._members():
            killed = [process for process in family if traces.kill(process)]
            for process in killed:
                if process in waited_for:
                    waited_for[process].wait()
                else:
                    # Only children can be waited for; others become children first.
                    with suppress(ChildProcessError):
                        os.waitpid(process, 0)
            if not killed:
                raise EnvironmentFault(
                    f"Processes {family} belong to another user and can't be killed."
                )
        # Others' orphans would wait here in vain for somebody to wait for them.
        syscalls.adopt_orphans(False)

    def _members(self) -> list[int]:
        return descendants(os.getpid(), self._older)


def descendants(process: int, but: Collection[int] = ()) -> list[int]:
    """Whoever descends from ``process``, without its children ``but`` and theirs.

    Those that ended and were not waited for are included.
    """
    found: list[int] = []
    parents = [process]
    while parents:
        children = _children(parents.pop())
        new = [each for each in children if each not in but]
        found += new
        parents += new
    return found


def _children(parent: int) -> list[int]:
    """Its children, those that ended and were not waited for included."""
    found = []
    for process in traces.processes():
        with suppress(ProcessLookupError):
            if traces.stat_fields(process)[1] == str(parent):
                found.append(process)
    return found
