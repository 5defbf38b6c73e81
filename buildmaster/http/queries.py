"""Query parameters, strictly: each known, given once, and within its bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from buildmaster.http.problems import Problem, bad_request

#: The largest id that PostgreSQL's bigint holds.
LARGEST_ID = 2**63 - 1

_NUMBER = re.compile(r"[0-9]{1,19}\Z")
_MOST_PARAMETERS = 20


class Query:
    """The parameters of one request; everything wrong with one is a `Problem`."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, str] = {}
        try:
            pairs = parse_qsl(
                text,
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_PARAMETERS,
            )
        except (ValueError, UnicodeDecodeError) as error:
            raise bad_request(
                "bad_query", "the query cannot be read: give NAME=VALUE&... in UTF-8"
            ) from error
        for name, value in pairs:
            if name in self._values:
                raise bad_request("bad_query", f"give the parameter {name!r} once")
            if "\0" in value:
                raise _bad(name, "has a character that no text here has")
            self._values[name] = value

    def allow(self, *names: str) -> None:
        """Refuse every parameter but ``names``."""
        for name in self._values:
            if name not in names:
                known = ", ".join(names) or "none"
                raise bad_request(
                    "unknown_parameter",
                    f"there is no parameter {name!r} here; there are: {known}",
                )

    @property
    def given(self) -> dict[str, str]:
        """All of them, as they were given."""
        return dict(self._values)

    def text(self, name: str) -> str | None:
        """The value of ``name`` as it is."""
        return self._values.get(name)

    def number(
        self, name: str, *, lowest: int = 1, highest: int = LARGEST_ID
    ) -> int | None:
        """The value of ``name`` as a whole number within its bounds."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _NUMBER.match(text) or not lowest <= int(text) <= highest:
            raise _bad(name, f"must be a whole number from {lowest} to {highest}")
        return int(text)

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """The value of ``name``, one of ``choices``."""
        text = self._values.get(name)
        if text is not None and text not in choices:
            raise _bad(name, f"must be one of {', '.join(choices)}")
        return text

    def flag(self, name: str) -> bool:
        """Whether ``name`` is 1."""
        return self.choice(name, ("0", "1")) == "1"


def _bad(name: str, why: str) -> Problem:
    return bad_request("bad_parameter", f"the parameter {name!r} {why}")
