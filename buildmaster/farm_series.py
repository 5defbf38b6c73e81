"""Which series the farm can run now, from what its workers offer. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from buildmaster.matching import ANY_SERIES
from buildmaster.series import Series
from protocol.messages import Offer

HOW_TO_MAP = (
    "The operator can map a series to an image in series_images of a worker's settings, "
    "and 'headrace run' in a farm of its own with --series-image SERIES=IMAGE"
)


@dataclass(frozen=True)
class Offering:
    """What a worker that the farm knows can run, connected or not."""

    name: str
    connected: bool
    offers: tuple[Offer, ...]
    tags: tuple[str, ...]


def series_offered(
    known: Iterable[Series], offerings: Sequence[Offering], isolation: str | None
) -> tuple[Series, ...]:
    """The known series, each with the architectures on which some worker offers it.

    In ``isolation``, or, with None, in any.
    """
    offers = [
        offer
        for offering in offerings
        for offer in offering.offers
        if isolation in (None, offer.isolation)
    ]
    return tuple(
        Series(
            series.name,
            series.version,
            frozenset(
                offer.architecture
                for offer in offers
                if ANY_SERIES in offer.series or series.name in offer.series
            ),
        )
        for series in known
    )


def lacking(
    needed: Collection[str],
    architecture: str,
    offerings: Sequence[Offering],
    isolation: str,
) -> list[str]:
    """Those of the ``needed`` series that no worker has beside the others, sorted.

    A build runs on one worker, so one must have all; the best one counts. Empty if there
    is such a worker.
    """
    wanted = set(needed)
    missing = [
        set() if ANY_SERIES in offer.series else wanted - set(offer.series)
        for offering in offerings
        for offer in offering.offers
        if offer.isolation == isolation and offer.architecture == architecture
    ]
    return min((sorted(one) for one in [wanted, *missing]), key=len)


def required(
    wanted: Collection[str],
    architecture: str,
    offerings: Sequence[Offering],
    isolation: str,
    known: Collection[str],
    wait: bool,
) -> set[str]:
    """Those of the ``wanted`` series that a worker must have to be given the build.

    Only series that the operator or a worker has named, or strangers could make as many
    classes of jobs as they like; and only those that some worker has, unless the build is
    to ``wait`` for one. The jobs of all others end with an error that names the image.
    """
    named = {*known, *(s for one in offerings for o in one.offers for s in o.series)}
    return {
        series
        for series in named.intersection(wanted)
        if wait or not lacking([series], architecture, offerings, isolation)
    }


def what_is_offered(offerings: Sequence[Offering], isolation: str) -> str:
    """A sentence on what this farm can run, for those whose wish it cannot fulfil."""
    if not any(offering.offers for offering in offerings):
        return "No worker has ever joined this farm: start one, or ask its operator."
    same = sorted(
        f"{offer.architecture}: "
        + (
            "any series"
            if ANY_SERIES in offer.series
            else ", ".join(offer.series) or "none"
        )
        for offering in offerings
        for offer in offering.offers
        if offer.isolation == isolation
    )
    if not same:
        others = sorted({offer.isolation for o in offerings for offer in o.offers})
        return (
            f"No worker offers the isolation {isolation}; there is {', '.join(others)}. "
            f"Ask for another isolation, or have the operator add it to a worker."
        )
    offered = "; ".join(sorted(set(same)))
    return f"In {isolation} the farm's workers offer {offered}. {HOW_TO_MAP}."
