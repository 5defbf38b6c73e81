"""Amounts, spans and lists in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.matching import TAKES, Needs

#: Names that a sentence tells before it says how many more there are.
_TOLD = 5


def span(seconds: float) -> str:
    """A span of time as people say it: ``40 s``, ``12 min``, ``3.5 h``, ``2 days``."""
    if seconds < 100:
        return f"{max(0, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f}".removesuffix(".0") + " h"
    return f"{round(seconds / 86400)} days"


def size(mebibytes: int) -> str:
    """An amount of memory or disk: ``512M``, ``64G``."""
    if mebibytes >= 1024 and mebibytes % 1024 == 0:
        return f"{mebibytes // 1024}G"
    return f"{mebibytes}M" if mebibytes < 10240 else f"{mebibytes / 1024:.1f}G"


def cores(hundredths: int) -> str:
    """An amount of CPU in cores: ``4``, ``0.5``."""
    return f"{hundredths / 100:g}"


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 job``, ``3 jobs``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``; of many the first and how many more."""
    if len(names) > _TOLD + 1:
        names = [*names[:_TOLD], f"{len(names) - _TOLD} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def needs_in_words(needs: Needs) -> str:
    """``chroot on arm64, series noble, tag gpu, memory>=64G``."""
    words = [needs.isolation + (f" on {needs.architecture}" if needs.architecture else "")]
    if needs.performs:
        words[0] = f"{needs.performs} ({words[0]})"
    words += [f"series {one}" for one in needs.series]
    words += [_tag(one) for one in needs.tags]
    if needs.slots > 1:
        words.append(f"{needs.slots} slots")
    if needs.cpu:
        words.append(f"cpu>={cores(needs.cpu)}")
    if needs.memory:
        words.append(f"memory>={size(needs.memory)}")
    if needs.disk:
        words.append(f"disk>={size(needs.disk)}")
    if needs.worker:
        words.append(f"worker {needs.worker} and no other")
    return ", ".join(words)


def taken_in_words(tag: str) -> str | None:
    """What of an order a tag stands for: ``handed files``; None: it is the operator's."""
    if not tag.startswith(TAKES):
        return None
    return tag.removeprefix(TAKES).replace("-", " ")


def _tag(tag: str) -> str:
    taken = taken_in_words(tag)
    return f"tag {tag}" if taken is None else f"a worker that takes {taken}"


def moment(iso: str) -> str:
    """A time of a document as people read it, in UTC: ``2026-01-31 12:00``."""
    return iso[:16].replace("T", " ")
