"""What a worker lacks for a class of jobs, and which worker lacks least. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from buildmaster.explanation.words import cores, needs_in_words, size, taken_in_words
from buildmaster.matching import ANY_SERIES, Capability, Needs
from protocol.messages import Offer


@dataclass(frozen=True)
class Miss:
    """One thing that a worker lacks."""

    weight: float  #: how far it is from having it
    words: str  #: goes on after the worker's name: "has no tag gpu"


def misses(needs: Needs, worker: Capability) -> list[Miss]:
    """All that ``worker`` lacks: nothing if it suits, as `buildmaster.matching` says."""
    found: list[Miss] = []
    if needs.worker not in ("", worker.worker):
        found.append(Miss(1000.0, f"is not {needs.worker}"))
    found += min(
        (_of_offer(needs, offer) for offer in worker.offers),
        key=_weight,
        default=[Miss(200.0, "has never told what it offers")],
    )
    if needs.performs not in ("", *worker.performs):
        found.append(Miss(50.0, f"does not perform {needs.performs}"))
    lacking = sorted(set(needs.tags) - set(worker.tags))
    found += [Miss(5.0, _without(tag)) for tag in lacking]
    kept = sorted(set(worker.restricted_tags) - set(needs.tags))
    found += [Miss(5.0, f"is kept for jobs that ask for tag {tag}") for tag in kept]
    return found + _of_amounts(needs, worker)


def _of_offer(needs: Needs, offer: Offer) -> list[Miss]:
    found = []
    if needs.architecture not in ("", offer.architecture):
        found.append(Miss(100.0, f"is {offer.architecture}"))
    if needs.isolation != offer.isolation:
        found.append(Miss(50.0, f"offers no {needs.isolation}"))
    if ANY_SERIES not in offer.series:
        lacking = sorted(set(needs.series) - set(offer.series))
        found += [Miss(10.0, f"has no series {one}") for one in lacking]
    return found


def _of_amounts(needs: Needs, worker: Capability) -> list[Miss]:
    amounts = worker.amounts
    sides = (
        (needs.slots, amounts.slots, str, "slots"),
        (needs.cpu, amounts.cpu, cores, "cores"),
        (needs.memory, amounts.memory, size, "of memory"),
        (needs.disk, amounts.disk, size, "of disk"),
    )
    return [
        Miss(3.0 - has / wanted, f"has {shown(has)} {what}")
        for wanted, has, shown, what in sides
        if has is not None and has < wanted
    ]


def _without(tag: str) -> str:
    taken = taken_in_words(tag)
    if taken is None:
        return f"has no tag {tag}"
    return f"takes no {taken} (its release is an older one, or lpci runs its chroots)"


def _weight(found: Iterable[Miss]) -> float:
    return sum(miss.weight for miss in found)


def no_worker_could(needs: Needs, workers: Iterable[Capability]) -> str | None:
    """Why no worker could ever run it, the nearest named; None if one could."""
    known = list(workers)
    wanted = needs_in_words(needs)
    if needs.worker:
        known = [one for one in known if one.worker == needs.worker]
        if not known:
            return (
                f"it may run on worker {needs.worker} only, and there is none of this name"
            )
    if not known:
        return f"it needs {wanted}; the farm has no worker at all"
    lacking = {one.worker: misses(needs, one) for one in known}
    nearest = min(lacking, key=lambda name: (_weight(lacking[name]), name))
    if not lacking[nearest]:
        return None
    what = ", ".join(miss.words for miss in lacking[nearest])
    best = "worker" if needs.worker else "the best worker,"
    comma = "" if needs.worker else ","
    return f"it needs {wanted}; {best} {nearest}{comma} {what}"
