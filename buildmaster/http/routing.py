"""Which handler answers: a table of paths and methods."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem, not_found
from buildmaster.http.queries import LARGEST_ID

Handler = Callable[[Call], Awaitable[Answer]]

_ID = re.compile(r"[1-9][0-9]{0,18}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Route:
    """A path, its variable parts in braces, and a handler for each method."""

    path: str
    handlers: Mapping[str, Handler]

    @property
    def allowed(self) -> tuple[str, ...]:
        """The methods that work here."""
        head = ("HEAD",) if "GET" in self.handlers else ()
        return tuple(sorted({*self.handlers, *head, "OPTIONS"}))

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The variable parts of the path, or None if it is another path."""
        pattern = self.path.strip("/").split("/")
        if len(pattern) != len(segments):
            return None
        found: dict[str, str] = {}
        for part, given in zip(pattern, segments, strict=True):
            if part.startswith("{"):
                found[part[1:-1]] = given
            elif part != given:
                return None
        return found


class Routes:
    """All paths of the interface."""

    def __init__(self, *routes: Route) -> None:
        self._routes = routes
        # Most requests are for these.
        self._plain = {route.path: route for route in routes if "{" not in route.path}

    def find(self, path: str) -> tuple[Route, dict[str, str]]:
        """The route of ``path`` as it stands in the request, and its variable parts.

        `Problem` 404 if there is none, or if a part cannot be what it has to be.
        """
        if (plain := self._plain.get(path)) is not None:
            return plain, {}
        segments = _segments(path)
        for route in self._routes:
            parts = route.match(segments)
            if parts is not None:
                _check_parts(parts)
                return route, parts
        raise Problem(404, "not_found", "there is nothing at this address")

    def handler(self, route: Route, method: str) -> Handler:
        """What answers ``method`` on ``route``, or `Problem` 405."""
        found = route.handlers.get("GET" if method == "HEAD" else method)
        if found is None:
            raise Problem(
                405,
                "method_not_allowed",
                f"this address does not take {method[:20]}",
                headers={"Allow": ", ".join(route.allowed)},
            )
        return found


def _segments(path: str) -> list[str]:
    # Split first: an encoded slash is part of a name, not a way up or down.
    try:
        parts = [unquote_to_bytes(part).decode() for part in path.split("/")[1:]]
    except UnicodeDecodeError:
        parts = ["\0"]
    if any("\0" in part for part in parts):
        raise Problem(404, "not_found", "there is nothing at this address")
    return parts


def _check_parts(parts: Mapping[str, str]) -> None:
    for name, text in parts.items():
        is_id = _ID.match(text) is not None and int(text) <= LARGEST_ID
        if name in ("job", "run", "rule") and not is_id:
            raise not_found(f"{name} of this id; ids are whole numbers")
        if name == "sha256" and not _SHA256.match(text):
            raise not_found("artifact of this name; names are 64 hexadecimal digits")
