"""Finds workflow classes, and knows which one a workflow is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.logger import Logger
from twisted.plugin import getPlugins

from buildmaster.orchestration.interface import IWorkflows
from buildmaster.workflow.definition import Definition, definition_of
from buildmaster.workflow.failures import BadWorkflow

log = Logger()


class UnknownClass(BadWorkflow):
    """No package here has a class of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"this master has no workflow class {name}; it has:"
            f" {', '.join(known) or 'none'}. Install the package that has it, and restart"
        )


class WorkflowClasses:
    """The workflow classes of a farm, by name and version."""

    def __init__(self, classes: Iterable[type[Any]] = ()) -> None:
        """A class that is none, or whose name and version are taken, is passed over."""
        self._versions: dict[str, dict[int, Definition]] = {}
        for cls in classes:
            try:
                found = definition_of(cls)
            except BadWorkflow as error:
                log.error("{error}", error=error)
                continue
            versions = self._versions.setdefault(found.name, {})
            if found.version in versions and versions[found.version].cls is not cls:
                log.error(
                    "two classes are version {version} of the workflow {name}: {one!r} is"
                    " left out",
                    version=found.version,
                    name=found.name,
                    one=cls,
                )
                continue
            versions[found.version] = found

    @classmethod
    def found(cls) -> WorkflowClasses:
        """Those of all packages that are installed; blocks while they are imported."""
        return cls(each for plugin in getPlugins(IWorkflows) for each in plugin.classes)

    def __iter__(self) -> Iterator[Definition]:
        """The newest version of each, by name."""
        return (self.newest(name) for name in sorted(self._versions))

    def newest(self, name: str) -> Definition:
        """What new workflows are of; `UnknownClass`."""
        if name not in self._versions:
            raise UnknownClass(name, sorted(self._versions))
        versions = self._versions[name]
        return versions[max(versions)]

    def find(self, name: str, version: int) -> Definition:
        """What a workflow that began with ``version`` goes on as; `UnknownClass`.

        That version where it is there, else the newest: what is different there it has to
        ask for with ``patched``.
        """
        newest = self.newest(name)
        return self._versions[name].get(version, newest)

    def webhooks(self, name: str) -> list[Callable[[Any], Any]]:
        """What makes signals of the messages of a webhook."""
        return [each.webhooks[name] for each in self if name in each.webhooks]
