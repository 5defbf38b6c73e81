"""Which worker can run which class of jobs.

Pure. A class is a distinct requirement set (row of ``job_class``); a worker offers kinds
of environments, each with its architecture and series.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.messages import Offer

ANY_SERIES = "*"


@dataclass(frozen=True)
class JobClass:
    """What every job of a class needs."""

    id: int
    architecture: str  #: "" suits any
    isolation: str
    series: tuple[str, ...]  #: all of them
    tags: tuple[str, ...]  #: all of them


def suits(needed: JobClass, offers: Iterable[Offer], tags: Iterable[str]) -> bool:
    """Whether a worker with ``offers`` and ``tags`` can run jobs of the class."""
    return set(needed.tags) <= set(tags) and any(_fits(needed, offer) for offer in offers)


def _fits(needed: JobClass, offer: Offer) -> bool:
    return (
        offer.isolation == needed.isolation
        and needed.architecture in ("", offer.architecture)
        and (ANY_SERIES in offer.series or set(needed.series) <= set(offer.series))
    )
