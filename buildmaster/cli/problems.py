"""How a command ends that did not do what it was asked for."""

from __future__ import annotations

#: Exit statuses: what was asked for did not succeed, and it was asked for wrongly.
FAILED = 1
MISUSED = 2
#: As a shell reports a program that an interrupt ended.
INTERRUPTED = 130


class CommandFailed(Exception):
    """Nothing more can be done; the message is a sentence for standard error."""

    status = FAILED


class CommandMisused(CommandFailed):
    """The command line asks for something that makes no sense."""

    status = MISUSED
