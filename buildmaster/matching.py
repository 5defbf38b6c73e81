"""Which worker can run which class of jobs.

Pure. A class is a distinct requirement set (row of ``job_class``); a worker offers kinds
of environments, each with its architecture and series, and amounts of what jobs take. The
function ``suits`` of the database is the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.messages import Hello, Offer
from protocol.order import HANDED_FILES

ANY_SERIES = "*"
#: How tags begin that stand for what a worker takes of an order; nobody else gives such.
TAKES = "takes:"
#: What the worker of a node must have.
TAKES_HANDED_FILES = f"{TAKES}{HANDED_FILES}"


@dataclass(frozen=True)
class Needs:
    """What a job needs of its worker, and how much of it it takes."""

    architecture: str = ""  #: "" suits any
    isolation: str = "native"
    series: tuple[str, ...] = ()  #: all of them
    tags: tuple[str, ...] = ()  #: all of them
    performs: str = ""  #: the registered callable or command; "" is a build
    worker: str = ""  #: the only one that may run it; "" is any
    slots: int = 1
    cpu: int = 0  #: hundredths of a core
    memory: int = 0  #: MiB
    disk: int = 0  #: MiB


@dataclass(frozen=True)
class JobClass:
    """A requirement set, and its number in the database."""

    id: int
    needs: Needs


@dataclass(frozen=True)
class Amounts:
    """How much there is of what jobs take; None: it is not counted."""

    slots: int
    cpu: int | None = None  #: hundredths of a core
    memory: int | None = None  #: MiB
    disk: int | None = None  #: MiB

    def less(self, taken: Iterable[Needs]) -> Amounts:
        """What is left when jobs with these needs have taken their part."""
        slots, cpu, memory, disk = self.slots, self.cpu, self.memory, self.disk
        for needs in taken:
            slots -= needs.slots
            cpu = None if cpu is None else cpu - needs.cpu
            memory = None if memory is None else memory - needs.memory
            disk = None if disk is None else disk - needs.disk
        return Amounts(slots, cpu, memory, disk)

    def more(self, given_back: Needs) -> Amounts:
        """What is left when a job with these needs has given its part back."""
        return Amounts(
            self.slots + given_back.slots,
            None if self.cpu is None else self.cpu + given_back.cpu,
            None if self.memory is None else self.memory + given_back.memory,
            None if self.disk is None else self.disk + given_back.disk,
        )

    def hold(self, needs: Needs) -> bool:
        """Whether there is as much as ``needs`` takes."""
        return (
            needs.slots <= self.slots
            and (self.cpu is None or needs.cpu <= self.cpu)
            and (self.memory is None or needs.memory <= self.memory)
            and (self.disk is None or needs.disk <= self.disk)
        )


@dataclass(frozen=True)
class Leased:
    """A job that a worker has, as far as room is concerned."""

    needs: Needs
    is_native: bool  #: runs a callable or a command, and may end with one report
    lease: int = 0  #: its number: leases are numbered as they are given


@dataclass(frozen=True)
class Capability:
    """What a worker can run, and how much at a time."""

    worker: str
    offers: tuple[Offer, ...]
    tags: tuple[str, ...]
    restricted_tags: tuple[str, ...]  #: of the tags: only for jobs that ask for all of them
    performs: tuple[str, ...]
    amounts: Amounts


def tags_of(hello: Hello) -> list[str]:
    """The tags of a worker: those that its operator gave it, and what it takes."""
    given = {*hello.tags, *hello.restricted_tags}
    own = {tag for tag in given if not tag.startswith(TAKES)}
    return sorted(own | {f"{TAKES}{one}" for one in hello.takes})


def suits(needs: Needs, worker: Capability) -> bool:
    """Whether ``worker``, were it empty, could run a job with these ``needs``."""
    return (
        needs.worker in ("", worker.worker)
        and set(needs.tags) <= set(worker.tags)
        and set(worker.restricted_tags) <= set(needs.tags)
        and worker.amounts.hold(needs)
        and (needs.performs == "" or needs.performs in worker.performs)
        and any(_fits(needs, offer) for offer in worker.offers)
    )


def _fits(needs: Needs, offer: Offer) -> bool:
    return (
        offer.isolation == needs.isolation
        and needs.architecture in ("", offer.architecture)
        and (ANY_SERIES in offer.series or set(needs.series) <= set(offer.series))
    )
