"""What a workflow and its engine can raise: whose fault it is shows in the type."""

from __future__ import annotations


class WorkflowFailed(Exception):
    """Raise it to end a workflow as a failure; everything else that is raised parks it."""


class LocalFailed(WorkflowFailed):
    """A local action failed as often as its retry policy allows.

    ``kind`` is the name of what the last try raised.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class ChildFailed(WorkflowFailed):
    """A child workflow ended, and not well; ``result`` says how."""

    def __init__(self, message: str, result: str = "failure") -> None:
        super().__init__(message)
        self.result = result


class JobRefused(WorkflowFailed):
    """The farm would not take a job that was asked for; the message says why."""


class TimedOut(WorkflowFailed):
    """What was waited for did not come in time."""


class Cancelled(BaseException):
    """Somebody cancelled the workflow, or the task: raised once, where it waits.

    Not an `Exception`, so that ``except Exception`` does not swallow it.
    """


class ContinueAsNew(BaseException):
    """Raised by ``continue_as_new``: the workflow goes on with a history of its own."""

    def __init__(self, arguments: tuple[object, ...]) -> None:
        super().__init__()
        self.arguments = arguments


class BadWorkflow(Exception):
    """A class cannot be a workflow, or its code did what none may: its author's to mend."""


class BadPayload(BadWorkflow):
    """A value cannot be kept as JSON, or is too large."""


class ReadOnly(BadWorkflow):
    """A query, or the condition of a wait, tried to change something."""


class Divergence(Exception):
    """The code does not do what the history says that it did.

    ``recorded`` and ``asked`` are the command of the history and that of the code; None
    where there is none.
    """

    def __init__(
        self, seq: int, recorded: dict[str, object] | None, asked: dict[str, object] | None
    ) -> None:
        self.seq = seq
        self.recorded = recorded
        self.asked = asked
        super().__init__(
            f"the code does not follow the history at command {seq}: the history has"
            f" {_shown(recorded)}, the code asks for {_shown(asked)}. Use patched() for"
            f" changes while workflows are under way, or put the old code back"
        )


class Unexpected(Exception):
    """The workflow's own code raised something that it did not declare."""

    def __init__(self, error: BaseException, trace: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error
        self.trace = trace


def _shown(command: dict[str, object] | None) -> str:
    if command is None:
        return "nothing"
    text = f"{command['kind']} {command['name']}{command['arguments']}"
    return text if len(text) <= 400 else f"{text[:400]}..."
