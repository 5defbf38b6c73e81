"""How a native job ended, as a value, and how a call of Python becomes one."""

from __future__ import annotations

import json
import traceback
from typing import Any

import msgspec

from protocol.order import OBJECT_LIMIT, check_object
from protocol.results import Result
from worker.native.interface import Context, INativeJob, InfrastructureError
from worker.native.storing import CannotStore
from worker.supervisor.endings import sentence


class Outcome(msgspec.Struct, frozen=True):
    """What the end of an attempt tells."""

    result: Result
    reason: str = ""
    output: dict[str, Any] | None = None
    exit_status: int | None = None


PASSED = Outcome(Result.SUCCESS)


class BadOutput(Exception):
    """What a job returned cannot be told; its fault."""


class Interrupted(BaseException):
    """Raised inside a callable, from outside; no ``except Exception`` swallows it."""


def perform(native_job: INativeJob, arguments: dict[str, Any], context: Context) -> Outcome:
    """Call it; whatever it does, an outcome. Tracebacks go to standard errors."""
    try:
        returned = native_job.run(arguments, context)
        return PASSED if returned is None else returned_by_callable(returned)
    except (InfrastructureError, CannotStore) as error:
        traceback.print_exc()
        return Outcome(Result.ERROR, sentence(str(error) or "it gave no reason"))
    except SystemExit as error:
        return Outcome(Result.FAILURE, sentence(f"it called sys.exit({error.code!r})"))
    except (BadOutput, Interrupted) as error:
        return Outcome(Result.FAILURE, sentence(str(error)))
    except BaseException as error:
        traceback.print_exc()
        return Outcome(Result.FAILURE, sentence(last_line(error)))


def last_line(error: BaseException) -> str:
    """What Python writes below a traceback, on one line."""
    try:
        text = "".join(traceback.format_exception_only(error))
    except Exception:  # Its __str__ may be anything.
        text = type(error).__name__
    return " ".join(text.split()) or type(error).__name__


def returned_by_callable(returned: object) -> Outcome:
    """The success with that output, or `BadOutput`."""
    if not isinstance(returned, dict):
        kind = type(returned).__name__
        raise BadOutput(f"it returned a {kind}; only a dict or None will do")
    try:
        text = json.dumps(returned, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadOutput(f"what it returned is not JSON: {error}") from error
    return Outcome(Result.SUCCESS, output=_object(text.encode(), "what it returned"))


def printed_by_command(line: bytes) -> dict[str, Any] | None:
    """The output in the last line that a command printed, if it is meant to be one.

    `BadOutput` if it begins like a JSON object and is none.
    """
    if not line.startswith(b"{"):
        return None
    if len(line) > OBJECT_LIMIT:
        raise BadOutput(
            f"the last line it printed has more than the {OBJECT_LIMIT} bytes that an "
            "output may have"
        )
    return _object(line, "the last line it printed")


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        output = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadOutput(f"{what} is not a JSON object: {error}") from error
    try:
        check_object(output)
        msgspec.msgpack.encode(output)  # which has no integers of more than 64 bits
    except (ValueError, OverflowError) as error:
        raise BadOutput(f"{what} cannot be told: {error}") from error
    return output
