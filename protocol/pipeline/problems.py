"""What is wrong with a configuration, where, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import msgspec

#: A file with more errors than this is not read for its errors.
PROBLEM_LIMIT = 1000
#: Comparing is slow for long words and long lists, and nobody mistypes those.
_COMPARABLE_LENGTH = 40
_COMPARABLE_NAMES = 200
_COMPARISONS = 200
_SHOWN = 60


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a configuration.

    ``where`` is a dotted location like ``jobs.unit.0.series``, empty for the whole file;
    ``line`` counts from 1; ``message`` is a sentence for people.
    """

    where: str
    line: int | None
    message: str


@dataclass
class Report:
    """Collects problems.

    A *doubt* is something that the reference implementation accepts and that cannot work:
    an error, or a warning where the reader is lenient.
    """

    lenient: bool = False
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    strays: int = 0  #: errors that are keys nobody knows
    _comparisons: int = 0

    def error(self, where: str, line: int | None, message: str) -> None:
        """Note an error; after `PROBLEM_LIMIT` of them only that there are more."""
        _append(self.errors, Problem(where, line, message))

    def stray(self, where: str, line: int | None, message: str) -> None:
        """Note a key that nobody knows; without it, the rest may still make sense."""
        if len(self.errors) < PROBLEM_LIMIT:
            self.strays += 1
        self.error(where, line, message)

    def warning(self, where: str, line: int | None, message: str) -> None:
        """Note something that works, though perhaps not as meant."""
        _append(self.warnings, Problem(where, line, message))

    def doubt(self, where: str, line: int | None, message: str) -> None:
        """Note what the reference accepts and what cannot work."""
        (self.warning if self.lenient else self.error)(where, line, message)

    def include(self, prefix: str, other: Report) -> None:
        """Take over what ``other`` found at places below ``prefix``."""
        for problems, found in (
            (self.errors, other.errors),
            (self.warnings, other.warnings),
        ):
            for problem in found:
                if len(problems) > PROBLEM_LIMIT:
                    break
                where = prefix + problem.where
                _append(problems, Problem(where, problem.line, problem.message))

        self.strays += other.strays

    @property
    def serious(self) -> int:
        """How many errors are more than a stray key."""
        return len(self.errors) - self.strays

    @property
    def full(self) -> bool:
        """Whether further errors would not be noted."""
        return len(self.errors) > PROBLEM_LIMIT

    def suggestion(self, word: str, known: Collection[str]) -> str:
        """``; did you mean x?`` when ``word`` looks like a slip for one of ``known``."""
        self._comparisons += 1
        if self._comparisons > _COMPARISONS:
            return ""
        return suggestion(word, known)


def _append(problems: list[Problem], problem: Problem) -> None:
    if len(problems) < PROBLEM_LIMIT:
        problems.append(problem)
    elif len(problems) == PROBLEM_LIMIT:
        problems.append(
            Problem("", problem.line, f"there are more than these {PROBLEM_LIMIT} problems")
        )


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the file, to which problems are pinned."""

    report: Report
    where: str
    line: int

    def at(self, step: str | int, line: int | None = None) -> Spot:
        """The place one step below this one."""
        where = f"{self.where}.{step}" if self.where else str(step)
        return Spot(self.report, where, self.line if line is None else line)

    def error(self, message: str) -> None:
        """Note an error here."""
        self.report.error(self.where, self.line, message)

    def stray(self, message: str) -> None:
        """Note that the key of this place is one that nobody knows."""
        self.report.stray(self.where, self.line, message)

    def warning(self, message: str) -> None:
        """Note a warning here."""
        self.report.warning(self.where, self.line, message)

    def doubt(self, message: str) -> None:
        """Note what the reference accepts and what cannot work."""
        self.report.doubt(self.where, self.line, message)


def suggestion(word: str, known: Collection[str]) -> str:
    """``; did you mean x?`` when ``word`` looks like a slip for one of ``known``."""
    if len(word) > _COMPARABLE_LENGTH or len(known) > _COMPARABLE_NAMES:
        return ""
    dashed = word.lower().replace("_", "-").strip()
    if dashed in known:
        return f"; did you mean {dashed}?"
    candidates = [name for name in known if len(name) <= _COMPARABLE_LENGTH]
    close = difflib.get_close_matches(dashed, candidates, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def quoted(text: str) -> str:
    """``text`` for a message: short, on one line, without control characters."""
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    if shown and shown.isprintable() and " " not in shown:
        return shown
    return ascii(shown) if not shown.isprintable() else f'"{shown}"'


def listed(words: Iterable[str]) -> str:
    """``a, b or c`` for a message."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
