"""What goes wrong with a question: the same exceptions, whichever way it was asked."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


class StatusProblem(Exception):
    """The question is not answered; ``status`` says whose fault it is, as in HTTP.

    ``detail`` is a sentence for people, ``code`` a word for programs.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def document(self) -> bytes:
        """The problem document."""
        return msgspec.json.encode(
            ProblemDocument(
                title=HTTPStatus(self.status).phrase,
                status=self.status,
                detail=self.detail,
                code=self.code,
            )
        )


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str  #: a sentence: what is wrong, and what to do
    code: str  #: a word for programs


def problem_of(document: bytes) -> StatusProblem:
    """The problem that ``document`` tells of, for whoever got it from a farm."""
    told = msgspec.json.decode(document, type=ProblemDocument)
    return StatusProblem(told.status, told.code, told.detail)


def bad_parameter(name: str, why: str) -> StatusProblem:
    """The asker's mistake in one parameter."""
    return StatusProblem(400, "bad_parameter", f"the parameter {name!r} {why}")


def not_there(what: str) -> StatusProblem:
    """There is no ``what``."""
    return StatusProblem(404, "not_found", f"this farm has no {what}")
