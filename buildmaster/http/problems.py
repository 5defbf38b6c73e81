"""Errors as clients get them: problem documents with a sentence and a word for programs."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from buildmaster import requests


class Problem(Exception):
    """The request is answered with an error; whose fault it is shows in the status.

    ``detail`` is a sentence for people, ``code`` a word for programs, ``problems`` what
    is wrong with a configuration, ``headers`` go into the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        problems: tuple[requests.Problem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = problems
        self.headers = dict(headers or {})

    def document(self) -> bytes:
        """The body of the answer, application/problem+json."""
        told: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.problems:
            told["problems"] = self.problems
        return msgspec.json.encode(told)


def refused(refusal: requests.Refusal) -> Problem:
    """What the farm would not do, as an answer."""
    return Problem(refusal.status, refusal.code, str(refusal), problems=refusal.problems)


def not_found(what: str) -> Problem:
    """There is no ``what``."""
    return Problem(404, "not_found", f"this farm has no {what}")


def bad_request(code: str, detail: str) -> Problem:
    """The client's mistake."""
    return Problem(400, code, detail)
