"""The series that a farm has, asked of the farm; without Twisted, for quick commands."""

from __future__ import annotations

import urllib.error
import urllib.request

import msgspec

from buildmaster.cli.problems import CommandFailed
from buildmaster.farm_series import Offering, series_offered
from buildmaster.series import DEFAULT_SERIES, Series
from protocol.messages import Offer

#: Seconds that the farm may take to answer, and bytes that its answer may have.
_PATIENCE = 10.0
_LONGEST = 16 * 1024 * 1024


class _Worker(msgspec.Struct):
    name: str
    offers: tuple[Offer, ...] = ()
    tags: tuple[str, ...] = ()


class _Workers(msgspec.Struct):
    workers: list[_Worker]


def series_of_farm(url: str, isolation: str | None) -> tuple[Series, ...]:
    """What the workers of the farm at ``url`` offer, in ``isolation`` or in any.

    Raises `CommandFailed` if the farm does not say.
    """
    address = f"{url.rstrip('/')}/api/v1/workers?limit=1000"
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
            found = msgspec.json.decode(answer.read(_LONGEST), type=_Workers)
    except (OSError, ValueError, urllib.error.URLError, msgspec.DecodeError) as error:
        raise CommandFailed(
            f"The farm at {url} (HEADRACE_URL) does not say which series it has: {error}."
            " Start it, correct the address, or say with --series what to plan for."
        ) from error
    offerings = [
        Offering(worker.name, True, worker.offers, worker.tags) for worker in found.workers
    ]
    return series_offered(DEFAULT_SERIES, offerings, isolation)
