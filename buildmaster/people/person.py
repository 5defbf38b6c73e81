"""A person, as somebody made sure of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How a person was made sure of. Equal to the type ``person_way`` of the database.
Way = Literal["htpasswd", "proxy", "oidc"]

#: Characters of a name, and groups of one person.
LONGEST_NAME = 200
MOST_GROUPS = 1000


@dataclass(frozen=True)
class Person:
    """Somebody with a name that is one of its way's."""

    name: str
    way: Way
    display: str
    groups: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """The name as it is noted. No token and no part of the farm is called so."""
        return f"person {self.name}"


def is_name(text: str) -> bool:
    """Whether ``text`` can be the name of a person or a group.

    It is shown to people and written to logs, so nothing in it may move a line or hide
    what stands beside it.
    """
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()


def shown(text: str) -> str:
    """Text of foreign origin as it may be noted: short, and without hidden characters."""
    cut = text[:LONGEST_NAME]
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut
    )
