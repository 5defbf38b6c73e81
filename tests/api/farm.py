"""A farm, as any program that speaks HTTP sees it."""

from __future__ import annotations

import json
import os
import unittest
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

URL = os.environ.get("HEADRACE_API_URL", "").rstrip("/")
TOKEN = os.environ.get("HEADRACE_API_TOKEN", "")


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@unittest.skipUnless(URL and TOKEN, "needs HEADRACE_API_URL and HEADRACE_API_TOKEN")
class ApiCase(unittest.TestCase):
    """Asks the farm."""

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        request = urllib.request.Request(
            URL + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {TOKEN}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str, **query: object) -> Any:
        """The document there."""
        answer = self.ask(path + (f"?{urlencode(query)}" if query else ""))
        self.assertEqual(answer.status, 200, answer.body)
        return answer.document

    def post(self, path: str, body: Any, status: int) -> Any:
        """What the farm says to ``body``."""
        answer = self.ask(path, body)
        self.assertEqual(answer.status, status, answer.body)
        return answer.document

    def problem(self, path: str, body: Any = None) -> tuple[int, str]:
        """How it refuses."""
        answer = self.ask(path, body)
        self.assertEqual(answer.headers.get_content_type(), "application/problem+json")
        told = answer.document
        self.assertEqual(told["status"], answer.status)
        for field in ("title", "detail", "code"):
            self.assertIsInstance(told[field], str)
        return answer.status, told["code"]

    def follow(self, path: str, headers: dict[str, str] | None = None) -> Iterator[Any]:
        """Server-sent events: (id, kind, document), until the caller has enough."""
        request = urllib.request.Request(
            URL + path,
            headers={
                "Authorization": f"Bearer {TOKEN}",
                "Accept": "text/event-stream",
                **(headers or {}),
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            told: dict[str, str] = {}
            for raw in response:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name:
                    told[name] = told.get(name, "") + value
                elif "data" in told:
                    yield told["id"], told["event"], json.loads(told["data"])
                    told = {}
                else:
                    told = {}

    def shape(self, document: Any, fields: dict[str, Any]) -> None:
        """The promised fields are there, each of one of its types; others may be, too."""
        for name, kinds in fields.items():
            self.assertIn(name, document)
            self.assertIsInstance(document[name], kinds, name)
