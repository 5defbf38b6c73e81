"""What a workflow can be called."""

from __future__ import annotations

import unicodedata

LONGEST = 200


def name_problem(name: str) -> str | None:
    """Why a workflow cannot be called so, as half a sentence; None if it can."""
    if not 1 <= len(name) <= LONGEST:
        return f"a name has 1 to {LONGEST} characters"
    if name.isdigit():
        return "a name is no number"
    if any(unicodedata.category(each)[0] == "C" for each in name):
        return "a name has no control characters"
    return None


def is_number(name: str) -> bool:
    """Whether it is a workflow's number, and no name. Other scripts' digits are neither."""
    return name.isascii() and name.isdigit() and len(name) < 19
