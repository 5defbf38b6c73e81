"""The releases a farm has images of: names, versions and which is newer."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

import msgspec


class Series(msgspec.Struct, frozen=True):
    """A release that builds can run in."""

    name: str
    version: str  #: compared as Debian compares versions: 9.10 is older than 10.04
    architectures: frozenset[str] | None = None  #: None is every one

    def has(self, architecture: str) -> bool:
        """Whether there is an image for ``architecture``."""
        return self.architectures is None or architecture in self.architectures


#: What a farm has that was not told otherwise.
DEFAULT_SERIES = (
    Series("xenial", "16.04"),
    Series("bionic", "18.04"),
    Series("focal", "20.04"),
    Series("jammy", "22.04"),
    Series("noble", "24.04"),
    Series("bullseye", "11"),
    Series("bookworm", "12"),
    Series("trixie", "13"),
)


def newest(series: list[Series]) -> Series | None:
    """The one with the highest version; of equal versions the last name."""
    return max(series, key=lambda one: (_version_key(one.version), one.name), default=None)


_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def compare_versions(left: str, right: str) -> int:
    """Below, above or equal to 0, as Debian orders ``left`` and ``right``.

    Text and numbers alternate; ``~`` comes before everything, the end included.
    """
    for (text, number), (other_text, other_number) in zip_longest(
        _PARTS.findall(left), _PARTS.findall(right), fillvalue=("", "")
    ):
        for letter, other in zip_longest(text, other_text, fillvalue=""):
            if letter != other:
                return _rank(letter) - _rank(other)
        if int(number or 0) != int(other_number or 0):
            return int(number or 0) - int(other_number or 0)
    return 0


_version_key = cmp_to_key(compare_versions)


def _rank(letter: str) -> int:
    """Letters before other characters, ``~`` before the end of the text."""
    if letter == "~":
        return -1
    if not letter:
        return 0
    return ord(letter) if letter.isalpha() else ord(letter) + 0x110000
