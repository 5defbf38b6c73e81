"""Why a failure is no news, and rules that find out from its log. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import re2

from buildmaster.grants import is_below

#: Characters of a pattern, and how large RE2 may make it.
LONGEST_PATTERN, LARGEST_PROGRAM = 500, 5_000
#: Rules that a farm has at most.
MOST_RULES = 500
#: Bytes of a line that are looked at together.
LONGEST_LINE = 64 * 1024

# One set of patterns shares this much memory for its states.
_SET_SIZE, _MEMORY = 25, 16 * 1024 * 1024
# Colours and the like, which would stand between the words of a pattern.
_CONTROLS = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Classification(Enum):
    """What sort of failure it is."""

    KNOWN_ISSUE = "known_issue"  #: somebody knows of it; the link tells more
    INFRASTRUCTURE = "infrastructure"  #: of the farm, or of what builds fetch from
    FLAKY = "flaky"  #: chance: the same again may pass


class BadRule(ValueError):
    """Not a pattern, or not a link; the message says what is wrong with it."""


@dataclass(frozen=True)
class FailureRule:
    """What is looked for, where, and what a failure is if it is found."""

    id: int
    pattern: str  #: of RE2, for one line
    classification: Classification
    note: str = ""
    link: str = ""
    project: str | None = None  #: repositories below this address; None: all jobs
    name: str | None = None  #: of the job; None: any

    def concerns(self, repository: str | None, name: str) -> bool:
        """Whether failures of jobs of this name, from this repository, are looked at."""
        if self.name is not None and self.name != name:
            return False
        if self.project is None:
            return True
        return repository is not None and is_below(self.project, repository)


def check_pattern(pattern: str) -> None:
    """Return if ``pattern`` can be looked for; else `BadRule`."""
    if not 0 < len(pattern) <= LONGEST_PATTERN:
        raise BadRule(f"a pattern has 1 to {LONGEST_PATTERN} characters")
    try:
        program = re2.compile(pattern, _options())
    except re2.error as error:
        raise BadRule(f"this is no pattern that RE2 knows: {_said(error)}") from error
    if program.programsize > LARGEST_PROGRAM:
        raise BadRule("the pattern is too large: repeat less in it")
    if program.search("") is not None:
        raise BadRule("the pattern is found in an empty line, and so in every log")


def check_link(link: str) -> None:
    """Return if pages may lead to ``link``; else `BadRule`."""
    if link and not re.match(r"https?://[^\s/\\@]+(/\S*)?\Z", link):
        raise BadRule("a link is an address with https:// or http://")


class Search:
    """Looks for the patterns of rules in a log that is given piece by piece."""

    def __init__(self, rules: Sequence[FailureRule]) -> None:
        self._rules = sorted(rules, key=lambda rule: rule.id)
        self._sets = [
            _set(self._rules[place : place + _SET_SIZE])
            for place in range(0, len(self._rules), _SET_SIZE)
        ]
        self._found: set[int] = set()
        self._rest = b""

    @property
    def found(self) -> FailureRule | None:
        """The first rule, in the order of their ids, whose pattern was found so far."""
        return self._rules[min(self._found)] if self._found else None

    def feed(self, data: bytes) -> None:
        """Look through more of the log; what comes after its last line's end later."""
        whole, _, rest = (self._rest + data).rpartition(b"\n")
        while len(rest) > LONGEST_LINE:
            whole += b"\n" + rest[:LONGEST_LINE]
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        self._look(whole)

    def end(self) -> None:
        """Look at what is left: a last line without an end."""
        rest, self._rest = self._rest, b""
        self._look(rest)

    def _look(self, text: bytes) -> None:
        if not text:
            return
        plain = _CONTROLS.sub(b"", text).replace(b"\r", b"\n")
        # What is no UTF-8 would be no character for RE2.
        plain = plain.decode("utf-8", "replace").encode()
        for number, patterns in enumerate(self._sets):
            for place in patterns.Match(plain) or ():
                self._found.add(number * _SET_SIZE + place)


def first_line(pattern: str, data: bytes) -> tuple[int, str] | None:
    """The first line that ``pattern`` is found in: its number, from 1, and its text."""
    program = re2.compile(pattern, _options())
    text = _CONTROLS.sub(b"", data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        if program.search(line[:LONGEST_LINE]) is not None:
            return number, line[:LONGEST_LINE]
    return None


def _set(rules: Sequence[FailureRule]) -> re2.Set:
    patterns = re2.Set.SearchSet(_options())
    for rule in rules:
        # ^ and $ are those of a line.
        patterns.Add(f"(?m:{rule.pattern})")
    patterns.Compile()
    return patterns


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    # A pattern is for one line, whatever it says.
    options.never_nl = True
    return options


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
