"""Workflows: Python that waits on the outside world, and survives whatever happens.

What authors of workflows need stands here. Read `context` to see what one may ask for,
`execution` for how it is played, `history` for what is kept, `testing` to test one's own.
`docs/workflows.rst` tells what it is for; `buildmaster.orchestration` runs workflows on a
farm.

This package is a door for others on purpose, so its names are given here, too. It knows
neither Twisted nor the database, nor any clock, loop or thread.
"""

from buildmaster.workflow.actions import LocalCall, Retry, local
from buildmaster.workflow.context import Context
from buildmaster.workflow.definition import Delivery, query, signal, webhook, workflow
from buildmaster.workflow.ends import (
    BuildEnd,
    CollectionEnd,
    File,
    GraphEnd,
    JobEnd,
    Member,
)
from buildmaster.workflow.failures import (
    BadWorkflow,
    Cancelled,
    ChildFailed,
    JobRefused,
    LocalFailed,
    TimedOut,
    WorkflowFailed,
)

__all__ = [
    "BadWorkflow",
    "BuildEnd",
    "Cancelled",
    "ChildFailed",
    "CollectionEnd",
    "Context",
    "Delivery",
    "File",
    "GraphEnd",
    "JobEnd",
    "JobRefused",
    "LocalCall",
    "LocalFailed",
    "Member",
    "Retry",
    "TimedOut",
    "WorkflowFailed",
    "local",
    "query",
    "signal",
    "webhook",
    "workflow",
]
