"""The workflows that this master has in memory, so that few steps replay a history."""

from __future__ import annotations

from collections import OrderedDict

from buildmaster.workflow.execution import Execution


class LiveWorkflows:
    """The executions used last, a limited number; any of them can be had by a replay."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._executions: OrderedDict[int, Execution] = OrderedDict()

    def __len__(self) -> int:
        return len(self._executions)

    def take(self, workflow: int) -> Execution | None:
        """The execution of a workflow, which is no longer kept: its step may fail."""
        return self._executions.pop(workflow, None)

    def keep(self, workflow: int, execution: Execution) -> Execution | None:
        """Keep one whose step is written; the one that has to go for it."""
        self._executions[workflow] = execution
        if len(self._executions) <= self._most:
            return None
        return self._executions.popitem(last=False)[1]
