"""What a plug-in with workflows says: a file in ``twisted/plugins`` makes one of these.

::

    from buildmaster.orchestration.interface import Workflows
    from my_package.handler import BuildHandler

    workflows = Workflows(BuildHandler)
"""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer


class IWorkflows(Interface):
    """Some workflow classes; a Twisted plug-in."""

    classes = Attribute("The classes, each with ``@workflow`` before it.")


@implementer(IPlugin, IWorkflows)
class Workflows:
    """The workflow classes of a package."""

    def __init__(self, *classes: type[Any]) -> None:
        self.classes = classes
